//! Device memory: a pool that hands buffers and images back out, so that memory stays flat over a
//! run.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Weak};

use super::image::Lines;
use super::lock::lock;

/// Where a buffer may be handed out again.
///
/// A recording refers to its buffers for as long as it lives. Buffers it dropped may serve other
/// recordings, which run before or after it and write before they read; they must never hold a
/// value that is kept between steps, so the two kinds of memory do not mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    Eager,
    Recording,
}

const USAGES: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// Bytes of device memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Allocated from the driver, in use or waiting in the pool.
    pub reserved: u64,
    /// In use by tensors.
    pub in_use: u64,
    /// The most that was ever reserved.
    pub peak: u64,
}

#[derive(Default)]
struct Shelves {
    /// Of each scope by size.
    free: HashMap<Scope, BTreeMap<u64, Vec<wgpu::Buffer>>>,
    free_images: HashMap<(Scope, Lines), Vec<wgpu::Texture>>,
    stats: MemoryStats,
    /// The most that may be reserved.
    limit: Option<u64>,
}

/// No memory: bytes that were asked for, and bytes reserved before.
pub(super) struct NoMemory {
    pub bytes: u64,
    pub held: u64,
}

#[derive(Default)]
pub(super) struct Pool(Arc<Mutex<Shelves>>);

/// A piece of device memory; goes back to its pool when the last owner drops it.
pub struct Buffer {
    raw: Option<wgpu::Buffer>,
    size: u64,
    scope: Scope,
    home: Weak<Mutex<Shelves>>,
}

/// Sizes are rounded up to an eighth of their power of two, so that nearly equal requests meet.
fn size_class(bytes: u64) -> u64 {
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.div_ceil(step) * step
}

impl Pool {
    pub(super) fn take(
        &self,
        device: &wgpu::Device,
        bytes: u64,
        scope: Scope,
    ) -> Result<Arc<Buffer>, NoMemory> {
        let size = size_class(bytes);
        let mut shelves = lock(&self.0);
        let reused = shelves.best_fit(scope, size);
        let size = reused.as_ref().map_or(size, wgpu::Buffer::size);
        let raw = shelves.hand_out(device, size, reused, || {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: USAGES,
                mapped_at_creation: false,
            })
        })?;
        Ok(Arc::new(Buffer {
            raw: Some(raw),
            size,
            scope,
            home: Arc::downgrade(&self.0),
        }))
    }

    /// New memory that holds `bytes` from the start. It never belongs to recordings, which hold on to it.
    pub(super) fn filled(
        &self,
        device: &wgpu::Device,
        bytes: &[u8],
    ) -> Result<Arc<Buffer>, NoMemory> {
        let size = size_class(bytes.len() as u64);
        let raw = lock(&self.0).hand_out(device, size, None, || {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: USAGES,
                mapped_at_creation: true,
            })
        })?;
        match raw.slice(..bytes.len() as u64).get_mapped_range_mut() {
            Ok(mut view) => view.copy_from_slice(bytes),
            // What could not be mapped was not allocated.
            Err(_) => {
                return Err(NoMemory {
                    bytes: size,
                    held: 0,
                });
            }
        }
        raw.unmap();
        Ok(Arc::new(Buffer {
            raw: Some(raw),
            size,
            scope: Scope::Eager,
            home: Arc::downgrade(&self.0),
        }))
    }

    pub(super) fn limit(&self, bytes: Option<u64>) {
        lock(&self.0).limit = bytes;
    }

    /// An image for lines of exactly this kind: few kinds occur, and many times each.
    pub(super) fn image(
        &self,
        device: &wgpu::Device,
        lines: Lines,
        scope: Scope,
    ) -> Result<Arc<Image>, NoMemory> {
        let mut shelves = lock(&self.0);
        let shelf = shelves.free_images.get_mut(&(scope, lines));
        let reused = shelf.and_then(Vec::pop);
        let size = lines.image_bytes();
        let raw = shelves.hand_out(device, size, reused, || lines.create(device))?;
        let view = raw.create_view(&wgpu::TextureViewDescriptor {
            dimension: Some(wgpu::TextureViewDimension::D2Array),
            ..Default::default()
        });
        Ok(Arc::new(Image {
            raw,
            view,
            lines,
            scope,
            home: Arc::downgrade(&self.0),
        }))
    }

    pub(super) fn stats(&self) -> MemoryStats {
        lock(&self.0).stats
    }
}

impl Shelves {
    /// The smallest free buffer that holds `size` bytes and wastes no more than half as many: batches of
    /// other lengths need nearly the same.
    fn best_fit(&mut self, scope: Scope, size: u64) -> Option<wgpu::Buffer> {
        let shelves = self.free.get_mut(&scope)?;
        let (&size, shelf) = shelves.range_mut(size..=size + size / 2).next()?;
        let buffer = shelf.pop();
        if shelf.is_empty() {
            shelves.remove(&size);
        }
        buffer
    }

    /// What is reused, else what `create` allocates within the limit.
    fn hand_out<T>(
        &mut self,
        device: &wgpu::Device,
        size: u64,
        reused: Option<T>,
        create: impl FnOnce() -> T,
    ) -> Result<T, NoMemory> {
        if let Some(raw) = reused {
            self.stats.in_use += size;
            return Ok(raw);
        }
        let held = self.stats.reserved;
        let none = NoMemory { bytes: size, held };
        if self.limit.is_some_and(|limit| held + size > limit) {
            return Err(none);
        }
        // What the driver refuses would else be an error of whichever call comes next.
        let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let raw = create();
        if pollster::block_on(scope.pop()).is_some() {
            return Err(none);
        }
        self.stats.in_use += size;
        self.stats.reserved += size;
        self.stats.peak = self.stats.peak.max(self.stats.reserved);
        Ok(raw)
    }
}

impl Buffer {
    /// Memory that is not there, for tensors that only stand for others.
    pub(crate) fn none() -> Arc<Buffer> {
        Arc::new(Buffer {
            raw: None,
            size: 0,
            scope: Scope::Eager,
            home: Weak::new(),
        })
    }

    pub(super) fn raw(&self) -> &wgpu::Buffer {
        // `raw` is taken in `drop`, after which nobody can call this, and missing only in what
        // `Tensor::without_values` gives, which no operator dispatches.
        self.raw.as_ref().expect("a live buffer")
    }

    /// Whether a recording must hold on to this buffer itself: eager memory that its owner drops
    /// would otherwise be handed out and overwritten by the next replay.
    pub(super) fn outlives_recordings(&self) -> bool {
        self.scope == Scope::Eager
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let (Some(home), Some(raw)) = (self.home.upgrade(), self.raw.take()) {
            let mut shelves = lock(&home);
            shelves.stats.in_use -= self.size;
            let shelves = shelves.free.entry(self.scope).or_default();
            shelves.entry(self.size).or_default().push(raw);
        }
    }
}

/// Matrices as an image; goes back to its pool when the last owner drops it.
pub struct Image {
    raw: wgpu::Texture,
    view: wgpu::TextureView,
    lines: Lines,
    scope: Scope,
    home: Weak<Mutex<Shelves>>,
}

impl Image {
    pub(super) fn raw(&self) -> &wgpu::Texture {
        &self.raw
    }

    pub(super) fn view(&self) -> &wgpu::TextureView {
        &self.view
    }

    pub(super) fn lines(&self) -> Lines {
        self.lines
    }

    /// Whether a recording must hold on to it; see [`Buffer`].
    pub(super) fn outlives_recordings(&self) -> bool {
        self.scope == Scope::Eager
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            let mut shelves = lock(&home);
            shelves.stats.in_use -= self.lines.image_bytes();
            let kind = (self.scope, self.lines);
            let shelf = shelves.free_images.entry(kind).or_default();
            shelf.push(self.raw.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_hold_the_request_and_waste_little() {
        for bytes in [
            1,
            4,
            255,
            256,
            257,
            1000,
            4097,
            1 << 20,
            (1 << 20) + 1,
            123_456_789,
        ] {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(256));
            assert!(class - bytes <= (bytes / 4).max(256), "{bytes} -> {class}");
        }
    }
}
