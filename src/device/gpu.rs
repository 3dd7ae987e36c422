//! One context on a device: its commands and its memory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::adapter::{self, AdapterChoice, Caps};
use super::binding::Bound;
use super::command::{self, Command, Groups, Recording};
use super::driver::Driver;
use super::image::Lines;
use super::kernel::{Kernel, KernelCache};
use super::left_out::Findings;
use super::lock::lock;
use super::memory::{Buffer, Image, MemoryStats, NoMemory, Pool, Scope};
use super::pace::Pace;
use super::readback::Readback;
use super::rung::Rung;
use super::sender::{Sender, Sent};
use super::tuning::Tuning;
use super::uniforms::Uniforms;
use crate::error::{Error, Result};
use crate::kernels::Variant;

/// What all contexts on one device share.
pub(super) struct Shared {
    driver: Arc<Driver>,
    kernels: Arc<KernelCache>,
    pub tuning: Tuning,
    rung: Option<Rung>,
    uniforms: Mutex<Uniforms>,
    pace: Arc<Mutex<Pace>>,
    /// Which kernels of experimental features have been seen to give right results.
    proven: Mutex<HashMap<&'static str, bool>>,
}

/// Commands that were not sent.
#[derive(Default)]
struct Stream {
    commands: Vec<Command>,
    recording: bool,
}

/// The commands and the memory of one context.
struct Context {
    stream: Mutex<Stream>,
    pool: Pool,
    sender: Sender,
}

/// A device opened for compute: cheap to clone, every clone the same context.
#[derive(Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
    context: Arc<Context>,
}

impl Gpu {
    /// Opens the adapter that `choice` names, with all the limits it has.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::UnknownAdapter`], or [`Error::Device`] when the driver
    /// refuses; [`Error::ConfigValue`] when `MELOS_KERNELS` names no rung it has.
    pub fn open(choice: &AdapterChoice) -> Result<Gpu> {
        let driver = Driver::open(&adapter::choose(choice)?)?;
        if choice.checked {
            return Gpu::of(driver, true);
        }
        let findings = Findings::kept(&driver.caps);
        findings.announce(Rung::from_env(&driver.caps)?)?;
        let caps = findings.without(&driver.caps);
        Gpu::of(driver.with_caps(caps), false)
    }

    /// As [`Gpu::open`], with all that the adapter has, whatever `melos doctor` found before.
    pub(crate) fn open_whole(choice: &AdapterChoice) -> Result<Gpu> {
        Gpu::of(Driver::open(&adapter::choose(choice)?)?, choice.checked)
    }

    fn of(driver: Driver, checked: bool) -> Result<Gpu> {
        log::info!("adapter: {}", driver.caps);
        Ok(Gpu::on(Arc::new(Shared {
            kernels: Arc::new(KernelCache::new(checked)),
            tuning: Tuning::new(&driver.caps, !checked),
            rung: Rung::from_env(&driver.caps)?,
            driver: Arc::new(driver),
            uniforms: Mutex::default(),
            pace: Arc::default(),
            proven: Mutex::default(),
        })))
    }

    /// Nothing wrong with this adapter.
    pub(crate) fn findings(&self) -> Findings {
        Findings::of(self.caps())
    }

    /// Keeps what is wrong with this adapter for all that open it later.
    pub(crate) fn keep(&self, findings: &Findings) -> Result<Option<PathBuf>> {
        findings.keep(self.caps())
    }

    /// Opens the best adapter there is, or the one that `MELOS_ADAPTER` names.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn open_best() -> Result<Gpu> {
        Gpu::open(&AdapterChoice::default())
    }

    /// A context of its own.
    fn on(shared: Arc<Shared>) -> Gpu {
        let context = Context {
            stream: Mutex::default(),
            pool: Pool::default(),
            sender: Sender::new(shared.driver.clone(), shared.pace.clone()),
        };
        Gpu {
            shared,
            context: Arc::new(context),
        }
    }

    /// A second context on the same device: own commands and memory, shared kernels.
    pub fn fork(&self) -> Gpu {
        Gpu::on(self.shared.clone())
    }

    /// Waits until no kernel is being compiled. Dropping the device's last context does so too; a
    /// process that keeps one to its end, as in a `static`, calls this first, or ends under the
    /// feet of a thread in the driver.
    pub fn settle(&self) {
        self.shared.kernels.settle();
    }

    /// A context on the same device that knows of no optional feature, so that operators choose
    /// the kernels that run anywhere.
    #[doc(hidden)]
    pub fn portable(&self) -> Gpu {
        self.without_features(false)
    }

    /// As [`Gpu::portable`], with the 16-bit floats that the adapter has.
    #[doc(hidden)]
    pub fn portable_f16(&self) -> Gpu {
        self.without_features(self.caps().f16)
    }

    /// A context on the same device with this rung forced.
    pub(crate) fn forced(&self, rung: Rung) -> Gpu {
        Gpu::on(Arc::new(Shared {
            kernels: self.shared.kernels.clone(),
            tuning: Tuning::new(self.caps(), false),
            rung: Some(rung),
            driver: self.shared.driver.clone(),
            uniforms: Mutex::default(),
            pace: self.shared.pace.clone(),
            proven: Mutex::default(),
        }))
    }

    fn without_features(&self, f16: bool) -> Gpu {
        let caps = Caps {
            subgroup: false,
            f16,
            matrix: None,
            ..self.caps().clone()
        };
        Gpu::on(Arc::new(Shared {
            kernels: Arc::new(KernelCache::new(self.is_checked())),
            tuning: Tuning::new(&caps, false),
            rung: Some(Rung::Portable),
            driver: Arc::new(self.driver().with_caps(caps)),
            uniforms: Mutex::default(),
            pace: self.shared.pace.clone(),
            proven: Mutex::default(),
        }))
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn driver(&self) -> &Driver {
        &self.shared.driver
    }

    pub(super) fn sender(&self) -> &Sender {
        &self.context.sender
    }

    /// The rung that `MELOS_KERNELS` forces.
    pub fn rung(&self) -> Option<Rung> {
        self.shared.rung
    }

    /// Whether kernels are compiled with bounds checks.
    pub(crate) fn is_checked(&self) -> bool {
        self.shared.kernels.checked()
    }

    /// Whether `check` finds the results of `kernel` right; asked once for a device, in a context of
    /// its own. A kernel that fails altogether is not right.
    pub(crate) fn proven(
        &self,
        kernel: &'static str,
        check: impl FnOnce(&Gpu) -> Result<bool>,
    ) -> bool {
        // Not held while checking, which asks for kernels and for nothing else.
        if let Some(&known) = lock(&self.shared.proven).get(kernel) {
            return known;
        }
        let right = check(&self.fork()).unwrap_or_else(|error| {
            log::warn!("{kernel} fails on {}: {error}", self.caps());
            false
        });
        if !right {
            log::warn!("{kernel} is wrong on {} and will not be used", self.caps());
        }
        *lock(&self.shared.proven).entry(kernel).or_insert(right)
    }

    /// What the adapter can do.
    pub fn caps(&self) -> &Caps {
        &self.driver().caps
    }

    /// Refuses an adapter without 16-bit floats.
    ///
    /// # Errors
    /// [`Error::NoHalf`].
    pub fn require_f16(&self) -> Result<()> {
        if self.caps().f16 {
            return Ok(());
        }
        Err(Error::NoHalf {
            adapter: self.caps().to_string(),
        })
    }

    /// Bytes held by this context's tensors and pool.
    pub fn memory(&self) -> MemoryStats {
        self.context.pool.stats()
    }

    /// The kernel `name` in the given variant, compiled once per device: by another thread, until the
    /// first of its commands is sent or its recording ends.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the catalogue has no such kernel or variant, or the adapter lacks
    /// a feature it needs. What the driver refuses, [`Gpu::flush`] and [`Gpu::record`] return.
    pub fn kernel(&self, name: &str, variant: &Variant) -> Result<Arc<Kernel>> {
        let kernel = self.shared.kernels.get(self.driver(), name, variant)?;
        self.driver().check()?;
        Ok(kernel)
    }

    /// Memory for `bytes` bytes, contents unspecified, from the pool.
    pub(crate) fn alloc(&self, bytes: u64, what: &str) -> Result<Arc<Buffer>> {
        let limits = &self.caps().limits;
        if bytes > limits.max_buffer_size {
            return Err(Error::TooLarge {
                what: what.to_string(),
                bytes,
                limit: limits.max_buffer_size,
                limit_name: "one buffer",
            });
        }
        let device = &self.driver().device;
        let buffer = self.context.pool.take(device, bytes.max(4), self.scope());
        self.driver().check()?;
        buffer.map_err(|none| self.out_of_memory(none))
    }

    /// New memory that holds `bytes`, a multiple of 4 of them, whatever is queued or recorded.
    pub(crate) fn alloc_filled(&self, bytes: &[u8]) -> Result<Arc<Buffer>> {
        let buffer = self.context.pool.filled(&self.driver().device, bytes);
        self.driver().check()?;
        buffer.map_err(|none| self.out_of_memory(none))
    }

    fn scope(&self) -> Scope {
        if self.is_recording() {
            Scope::Recording
        } else {
            Scope::Eager
        }
    }

    fn out_of_memory(&self, none: NoMemory) -> Error {
        Error::OutOfMemory {
            adapter: self.caps().name.clone(),
            bytes: none.bytes,
            held: none.held,
        }
    }

    /// Lets this context allocate no more than so many bytes.
    pub fn limit_memory(&self, bytes: Option<u64>) {
        self.context.pool.limit(bytes);
    }

    /// Writes host bytes into a buffer, after everything queued so far.
    pub(crate) fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        if !self.stream().commands.is_empty() {
            // A queue write overtakes commands that are not submitted yet.
            if self.is_recording() {
                let message = "host data cannot be written while a step is being recorded; \
                               write inputs before it";
                return Err(self.driver().error(message.into()));
            }
            self.flush()?;
        }
        let queue = &self.driver().queue;
        queue.write_buffer(buffer.raw(), offset, bytes);
        Ok(())
    }

    /// What this context has sent so far.
    pub fn sent(&self) -> Sent {
        self.sender().sent()
    }

    /// Whether commands are being recorded instead of sent.
    pub fn is_recording(&self) -> bool {
        self.stream().recording
    }

    /// Queues one dispatch. Bindings follow the contract's order from binding 1; binding 0 is
    /// the uniform `params`.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the number of bindings is not the contract's, a binding exceeds the
    /// adapter's limit, or the grid is empty or too large.
    pub fn dispatch<P: bytemuck::Pod>(
        &self,
        kernel: &Arc<Kernel>,
        params: &P,
        bindings: &[Bound<'_>],
        groups: Groups,
    ) -> Result<()> {
        self.dispatch_bytes(kernel, bytemuck::bytes_of(params), bindings, groups)
    }

    /// As [`Gpu::dispatch`], with the uniform's bytes.
    ///
    /// # Errors
    /// As [`Gpu::dispatch`].
    pub fn dispatch_bytes(
        &self,
        kernel: &Arc<Kernel>,
        params: &[u8],
        bindings: &[Bound<'_>],
        groups: Groups,
    ) -> Result<()> {
        let grid = groups.resolve(kernel.name(), &self.caps().limits)?;
        let uniform = lock(&self.shared.uniforms).place(self.driver(), params);
        let uniform = (&uniform, params);
        let command = Command::dispatch(self.driver(), kernel, uniform, bindings, grid)?;
        self.push(command);
        Ok(())
    }

    /// Queues a copy of `bytes` bytes between two buffers.
    pub(crate) fn copy(
        &self,
        from: (&Arc<Buffer>, u64),
        to: (&Arc<Buffer>, u64),
        bytes: u64,
    ) -> Result<()> {
        if Arc::ptr_eq(from.0, to.0) {
            return Err(Error::kernel(
                "copy",
                "source and destination are the same buffer",
            ));
        }
        self.push(Command::copy(from, to, bytes));
        Ok(())
    }

    /// Queues a copy of lines of a buffer, from byte `offset` on, into an image of their own.
    ///
    /// # Errors
    /// [`Error::Kernel`] beyond the adapter's images.
    pub(crate) fn image(&self, from: (&Arc<Buffer>, u64), lines: &Lines) -> Result<Arc<Image>> {
        let most = self.caps().image_limits();
        if !lines.fit(most) {
            return Err(Error::Kernel {
                kernel: "image".into(),
                message: format!("{lines:?} is beyond this adapter's {most:?}"),
            });
        }
        let device = &self.driver().device;
        let image = self.context.pool.image(device, *lines, self.scope());
        self.driver().check()?;
        let image = image.map_err(|none| self.out_of_memory(none))?;
        self.push(Command::image(from, &image));
        Ok(image)
    }

    /// Queues zeroing of `bytes` bytes.
    pub(crate) fn clear(&self, buffer: &Arc<Buffer>, offset: u64, bytes: u64) {
        self.push(Command::clear(buffer, offset, bytes));
    }

    /// Sends everything queued to the device. Does not wait.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver reported a failure since the last call, [`Error::Kernel`]
    /// where it refused a kernel.
    pub fn flush(&self) -> Result<()> {
        let commands = {
            let mut stream = self.stream();
            if stream.recording || stream.commands.is_empty() {
                return self.driver().check();
            }
            std::mem::take(&mut stream.commands)
        };
        command::compiled(&commands)?;
        self.sender().submit(&commands)
    }

    /// Runs `build` and keeps the commands it queues, instead of sending them.
    ///
    /// Memory that `build` allocates and drops is shared with other recordings of this context,
    /// since they run one after another; what `build` returns stays its own.
    ///
    /// # Errors
    /// Those of `build`, and [`Error::Kernel`] where the driver refuses a kernel; the commands are
    /// then discarded.
    pub fn record<T>(&self, build: impl FnOnce() -> Result<T>) -> Result<(Recording, T)> {
        self.flush()?;
        self.stream().recording = true;
        let built = build();
        let commands = {
            let mut stream = self.stream();
            stream.recording = false;
            std::mem::take(&mut stream.commands)
        };
        let built = built?;
        command::compiled(&commands)?;
        Ok((Recording::new(commands), built))
    }

    /// Sends a recording once more. Does not wait.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver reported a failure.
    pub fn replay(&self, recording: &Recording) -> Result<()> {
        self.flush()?;
        self.sender().submit(recording.commands())
    }

    /// Waits until the device has finished all that was sent.
    ///
    /// # Errors
    /// [`Error::Device`] when it is lost or failed.
    pub fn wait(&self) -> Result<()> {
        self.flush()?;
        self.driver().wait(None)
    }

    /// Starts reading `bytes` bytes back; the result arrives later.
    pub(crate) fn read(&self, from: (&Arc<Buffer>, u64), bytes: u64) -> Result<Readback> {
        self.flush()?;
        let readback = Readback::start(&self.shared.driver, from, bytes)?;
        self.driver().check()?;
        Ok(readback)
    }

    /// Bounds the work of this context's submissions, and of products that it will record or send,
    /// instead of leaving both to the device's speed. The bits of results do not depend on it.
    #[doc(hidden)]
    pub fn limit_work(&self, operations: Option<f64>) {
        self.sender().limit_work(operations);
    }

    /// The most operations of one dispatch, where there is a bound.
    pub(crate) fn most_of_dispatch(&self) -> Option<f64> {
        self.sender().most_of_dispatch()
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        lock(&self.context.stream)
    }

    fn push(&self, command: Command) {
        self.stream().commands.push(command);
    }
}
