//! How long things take on a device, and what is chosen by that.

use std::time::{Duration, Instant};

use super::gpu::Gpu;
use super::profile::{Profile, Timing};
use super::tuning::Tuning;
use crate::error::{Error, Result};

/// One sample lasts at least this long, so that the wait for the device does not count.
const SAMPLE: Duration = Duration::from_millis(2);
/// Odd, for a median; the first run, which compiles, is not one of them.
const SAMPLES: usize = 5;
/// Measurements beyond this are announced.
const NOTICEABLE: Duration = Duration::from_millis(200);

impl Gpu {
    /// Times every command that this context sends while `run` runs, by timestamps where the
    /// adapter has them, else one by one.
    ///
    /// # Errors
    /// Those of `run`, and [`Error::Device`].
    pub fn profile<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<(Profile, T)> {
        // Around passes and between them.
        let wanted =
            wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS;
        let timing = if self.driver().device.features().contains(wanted) {
            Timing::Timestamps
        } else {
            Timing::OneByOne
        };
        self.profile_by(timing, run)
    }

    /// As [`Gpu::profile`], timed in the given way.
    ///
    /// # Errors
    /// As [`Gpu::profile`].
    #[doc(hidden)]
    pub fn profile_by<T>(
        &self,
        timing: Timing,
        run: impl FnOnce() -> Result<T>,
    ) -> Result<(Profile, T)> {
        self.wait()?;
        self.sender().start_profile(timing);
        let ran = run().and_then(|out| self.wait().map(|()| out));
        let profiler = self.sender().end_profile();
        let out = ran?;
        let profile = match profiler {
            Some(profiler) => profiler.finish(self.driver())?,
            None => Profile {
                timing,
                commands: Vec::new(),
            },
        };
        Ok((profile, out))
    }

    /// The index in `names` of the fastest form for a `class` of sizes: as chosen before on this
    /// adapter and driver, or as melos brings it along, else as measured now by `seconds`. Only the
    /// first `worth`, best guess first, are measured then. `seconds` is given a context of its own so
    /// that nothing enters this one's commands or recordings. It must not ask for another choice.
    ///
    /// # Errors
    /// Those of `seconds`.
    pub(crate) fn fastest(
        &self,
        class: &str,
        names: &[String],
        worth: usize,
        mut seconds: impl FnMut(&Gpu, usize) -> Result<f64>,
    ) -> Result<usize> {
        let began = Instant::now();
        // What a forced rung leaves to choose is no choice for all other runs.
        let class = match self.rung() {
            Some(rung) => format!("{class}, {rung:?} alone"),
            None => class.to_string(),
        };
        let chosen = self
            .tuning()
            .choose(&class, names, worth, |i| seconds(&self.fork(), i))?;
        if began.elapsed() > NOTICEABLE {
            log::info!(
                "prepared kernels for {class}: {} of {worth} forms is fastest ({:.1} s, once for this adapter)",
                names.get(chosen).map_or("", String::as_str),
                began.elapsed().as_secs_f64()
            );
        }
        Ok(chosen)
    }

    /// The measured choices of this device.
    pub fn tuning(&self) -> &Tuning {
        &self.shared().tuning
    }

    /// Seconds that the commands `queue` queues take: the median of a few samples.
    ///
    /// # Errors
    /// Those of `queue`, and [`Error::Device`].
    pub(crate) fn seconds(&self, queue: impl Fn() -> Result<()>) -> Result<f64> {
        let sample = |repeats: u32| {
            self.wait()?;
            let began = Instant::now();
            for _ in 0..repeats {
                queue()?;
            }
            self.wait()?;
            Ok::<Duration, Error>(began.elapsed())
        };
        sample(1)?;
        // What compiles meanwhile would count.
        self.settle();
        let once = sample(1)?;
        let repeats = (SAMPLE.as_nanos() / once.as_nanos().max(1)).clamp(1, 64) as u32;
        let mut samples = (0..SAMPLES)
            .map(|_| sample(repeats))
            .collect::<Result<Vec<_>>>()?;
        samples.sort();
        Ok(samples[SAMPLES / 2].as_secs_f64() / f64::from(repeats))
    }
}
