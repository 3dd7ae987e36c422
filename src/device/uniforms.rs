//! The parameters of dispatches, in uniform buffers.

use std::collections::HashMap;
use std::sync::Arc;

use super::driver::Driver;

/// Where a dispatch's parameters lie.
#[derive(Clone)]
pub(super) struct UniformSlot {
    pub slab: Arc<wgpu::Buffer>,
    pub offset: u64,
    pub size: u64,
}

/// Parameters of dispatches, one place for equal contents. A place is written once and never
/// again, so any number of recordings may refer to it.
#[derive(Default)]
pub(super) struct Uniforms {
    slots: HashMap<Box<[u8]>, UniformSlot>,
    slab: Option<Arc<wgpu::Buffer>>,
    used: u64,
}

/// The largest alignment any adapter asks of a uniform's offset.
const UNIFORM_ALIGN: u64 = 256;
const UNIFORM_SLAB: u64 = 64 * 1024;

impl Uniforms {
    pub(super) fn place(&mut self, driver: &Driver, bytes: &[u8]) -> UniformSlot {
        if let Some(slot) = self.slots.get(bytes) {
            return slot.clone();
        }
        let size = bytes.len() as u64;
        let slab = match &self.slab {
            Some(slab) if self.used + size <= slab.size() => slab.clone(),
            _ => {
                self.used = 0;
                let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
                let slab = Arc::new(driver.buffer("uniforms", UNIFORM_SLAB, usage));
                self.slab = Some(slab.clone());
                slab
            }
        };
        let slot = UniformSlot {
            slab,
            offset: self.used,
            size,
        };
        driver.queue.write_buffer(&slot.slab, slot.offset, bytes);
        self.used += size.next_multiple_of(UNIFORM_ALIGN);
        self.slots.insert(bytes.into(), slot.clone());
        slot
    }
}
