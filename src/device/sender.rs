//! How commands are sent: in submissions that take no longer than a system allows.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::command::{Command, encode};
use super::driver::Driver;
use super::lock::lock;
use super::pace::{Pace, parts};
use super::profile::{Profiler, Timing};
use crate::error::Result;

/// The most operations of one dispatch on a GPU, where it can be made in parts. A second of a slow
/// integrated GPU, milliseconds of a fast one, which notices nothing.
const DISPATCH: f64 = (1u64 << 36) as f64;
/// Submissions of less are not measured.
const NOTHING: f64 = 1e7;

/// What a context has sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sent {
    /// Dispatches, copies and clears.
    pub commands: u64,
    /// Submissions that they were sent in.
    pub submissions: u64,
    /// Seconds the host spent on encoding them.
    pub encoding: f64,
    /// Seconds it spent on submitting them. Mesa's software driver runs them meanwhile.
    pub submitting: f64,
}

/// Sends the commands of one context.
pub(super) struct Sender {
    driver: Arc<Driver>,
    /// Shared by all contexts of a device.
    pace: Arc<Mutex<Pace>>,
    profiler: Mutex<Option<Profiler>>,
    sent: Mutex<Sent>,
    /// The most work of a submission or a product, if not as measured.
    most_work: Mutex<Option<f64>>,
}

impl Sender {
    pub fn new(driver: Arc<Driver>, pace: Arc<Mutex<Pace>>) -> Sender {
        Sender {
            driver,
            pace,
            profiler: Mutex::default(),
            sent: Mutex::default(),
            most_work: Mutex::default(),
        }
    }

    pub fn sent(&self) -> Sent {
        *lock(&self.sent)
    }

    pub fn limit_work(&self, operations: Option<f64>) {
        *lock(&self.most_work) = operations;
    }

    /// The most operations of one dispatch, where there is a bound: nobody takes a CPU for a device
    /// that hangs.
    pub fn most_of_dispatch(&self) -> Option<f64> {
        let forced = *lock(&self.most_work);
        forced.or((!self.driver.caps.is_cpu).then_some(DISPATCH))
    }

    /// Times what is sent from now on.
    pub fn start_profile(&self, timing: Timing) {
        *lock(&self.profiler) = Some(Profiler::new(timing));
    }

    pub fn end_profile(&self) -> Option<Profiler> {
        lock(&self.profiler).take()
    }

    /// Sends commands, in several submissions where they take long.
    pub fn submit(&self, commands: &[Command]) -> Result<()> {
        let forced = *lock(&self.most_work);
        let most = forced.unwrap_or_else(|| lock(&self.pace).submission());
        let parts = parts(commands, most, |command| command.counts().total());
        if parts.len() > 1 {
            log::debug!("{} commands in {} submissions", commands.len(), parts.len());
        }
        parts
            .into_iter()
            .try_for_each(|part| self.submit_part(part))
    }

    /// Sends commands in one submission, which will say when it is finished.
    fn submit_part(&self, commands: &[Command]) -> Result<()> {
        let began = Instant::now();
        let mut encoded = began;
        if let Some(profiler) = &mut *lock(&self.profiler) {
            profiler.submit(&self.driver, commands)?;
        } else {
            let work = commands.iter().map(|c| c.counts().total()).sum::<f64>();
            let mut encoder = self.driver.encoder();
            encode(&mut encoder, commands);
            let buffer = encoder.finish();
            encoded = Instant::now();
            self.driver.submit(buffer)?;
            if work >= NOTHING {
                let pace = self.pace.clone();
                let finished = move || lock(&pace).finished(work, encoded, Instant::now());
                self.driver.queue.on_submitted_work_done(finished);
            }
        }
        let sent = &mut lock(&self.sent);
        sent.commands += commands.len() as u64;
        sent.submissions += 1;
        sent.encoding += (encoded - began).as_secs_f64();
        sent.submitting += encoded.elapsed().as_secs_f64();
        self.driver.check()
    }
}
