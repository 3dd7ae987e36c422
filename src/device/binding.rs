//! What kernels read and write.

use std::sync::Arc;

use super::memory::{Buffer, Image};

/// What one binding of a dispatch is bound to.
#[derive(Clone, Copy)]
pub struct Bound<'a> {
    pub(crate) resource: Resource<'a>,
    /// Bytes bound.
    pub(crate) size: u64,
}

#[derive(Clone, Copy)]
pub(crate) enum Resource<'a> {
    /// A buffer from this byte on, a multiple of the adapter's storage alignment.
    Buffer(&'a Arc<Buffer>, u64),
    Image(&'a Arc<Image>),
}

impl Bound<'_> {
    /// For a bind group.
    pub(super) fn raw(&self) -> wgpu::BindingResource<'_> {
        match self.resource {
            Resource::Buffer(buffer, offset) => {
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: buffer.raw(),
                    offset,
                    size: wgpu::BufferSize::new(self.size),
                })
            }
            Resource::Image(image) => wgpu::BindingResource::TextureView(image.view()),
        }
    }
}

impl Image {
    /// The image, for a dispatch.
    pub(crate) fn binding(self: &Arc<Self>) -> Bound<'_> {
        Bound {
            resource: Resource::Image(self),
            size: self.lines().bytes(),
        }
    }
}
