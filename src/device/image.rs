//! Images: copies of matrices in the form that some drivers read fastest.

/// What the lines of a buffer must be a multiple of to be copied into an image, in bytes.
pub(crate) const LINE_BYTES: u32 = wgpu::COPY_BYTES_PER_ROW_ALIGNMENT;

/// Matrices in a buffer that become layers of an image, four floats a texel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lines {
    /// How many matrices, without gaps between them.
    pub batch: u32,
    /// Lines of a matrix.
    pub count: u32,
    /// Texels of a line that are copied.
    pub texels: u32,
    /// Texels from one line to the next in the buffer.
    pub stride: u32,
    /// Layers that take turns in receiving lines, where only so many lines are a multiple of 256
    /// bytes apart; else 1.
    pub fold: u32,
    /// Whether each matrix is cut into layers of 16 texels of each line, instead of one layer.
    pub panels: bool,
    /// Whether they hold f16 in place of f32.
    pub half: bool,
}

/// How large an adapter's images may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Most lines, and texels of a line.
    pub side: u32,
    /// Most layers.
    pub layers: u32,
}

/// Texels of a panel's lines: 64 floats.
const PANEL: u32 = 16;
/// Texels that other lines are longer than needed, so that lines of a power of two do not all meet
/// in the same places of a cache.
const PADDING: u32 = 4;

pub(super) fn image_format(half: bool) -> wgpu::TextureFormat {
    if half {
        wgpu::TextureFormat::Rgba16Float
    } else {
        wgpu::TextureFormat::Rgba32Float
    }
}

impl Lines {
    fn texel_bytes(&self) -> u64 {
        if self.half { 8 } else { 16 }
    }

    fn parts(&self) -> u32 {
        if self.panels {
            self.texels.div_ceil(PANEL)
        } else {
            1
        }
    }

    /// Layers of one matrix: `fold` for each of its panels.
    pub(crate) fn layers(&self) -> u32 {
        self.parts().saturating_mul(self.fold)
    }

    /// Width, lines and layers of the image.
    fn extent(&self) -> wgpu::Extent3d {
        let (width, lines) = if self.panels {
            // Steps of k go by fours: lines of zeros, as images are made, fill up the last.
            (PANEL, self.count.next_multiple_of(4))
        } else {
            (self.texels.saturating_add(PADDING), self.count)
        };
        wgpu::Extent3d {
            width,
            height: lines.div_ceil(self.fold),
            depth_or_array_layers: self.batch.saturating_mul(self.layers()),
        }
    }

    /// Whether copies make such an image, and it is no larger than that.
    pub(crate) fn fit(&self, most: ImageLimits) -> bool {
        let extent = self.extent();
        let bytes = u64::from(self.stride) * u64::from(self.fold) * self.texel_bytes();
        bytes.is_multiple_of(LINE_BYTES.into())
            && self.texels <= self.stride
            && extent.width.max(extent.height) <= most.side
            && extent.depth_or_array_layers <= most.layers
    }

    /// Bytes copied.
    pub(super) fn bytes(&self) -> u64 {
        let texels = u64::from(self.count) * u64::from(self.texels);
        u64::from(self.batch) * texels * self.texel_bytes()
    }

    /// Bytes of the image.
    pub(super) fn image_bytes(&self) -> u64 {
        let extent = self.extent();
        let texels = u64::from(extent.width) * u64::from(extent.height);
        texels * u64::from(extent.depth_or_array_layers) * self.texel_bytes()
    }

    pub(super) fn create(&self, device: &wgpu::Device) -> wgpu::Texture {
        device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: self.extent(),
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: image_format(self.half),
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        })
    }

    /// Copies the matrices at byte `offset` of a buffer into their image.
    pub(super) fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        (buffer, offset): (&wgpu::Buffer, u64),
        image: &wgpu::Texture,
    ) {
        let mut copy = |texel: u64, layer: u32, size: wgpu::Extent3d| {
            encoder.copy_buffer_to_texture(
                wgpu::TexelCopyBufferInfo {
                    buffer,
                    layout: wgpu::TexelCopyBufferLayout {
                        offset: offset + texel * self.texel_bytes(),
                        bytes_per_row: Some(self.stride * self.fold * self.texel_bytes() as u32),
                        rows_per_image: Some(size.height),
                    },
                },
                wgpu::TexelCopyTextureInfo {
                    origin: wgpu::Origin3d {
                        z: layer,
                        ..wgpu::Origin3d::ZERO
                    },
                    ..image.as_image_copy()
                },
                size,
            );
        };
        if self.layers() == 1 {
            let size = wgpu::Extent3d {
                width: self.texels,
                height: self.count,
                depth_or_array_layers: self.batch,
            };
            return copy(0, 0, size);
        }
        let [count, stride] = [self.count, self.stride].map(u64::from);
        let width = if self.panels { PANEL } else { self.texels };
        for z in 0..self.batch {
            for part in 0..self.parts() {
                let first = part * width;
                // Fewer lines than layers leave some of those empty.
                for turn in 0..self.fold.min(self.count) {
                    let line = u64::from(z) * count + u64::from(turn);
                    let size = wgpu::Extent3d {
                        width: width.min(self.texels - first),
                        height: (self.count - turn).div_ceil(self.fold),
                        depth_or_array_layers: 1,
                    };
                    let layer = z * self.layers() + part * self.fold + turn;
                    copy(line * stride + u64::from(first), layer, size);
                }
            }
        }
    }
}
