//! Reading results back without stopping the device.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use super::driver::Driver;
use super::memory::Buffer;
use crate::error::{Error, Result};

/// Values on their way from the device.
pub struct Readback {
    driver: Arc<Driver>,
    staging: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    done: Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl Readback {
    pub(super) fn start(
        driver: &Arc<Driver>,
        from: (&Arc<Buffer>, u64),
        bytes: u64,
    ) -> Result<Readback> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = driver.buffer("readback", bytes, usage);
        let mut encoder = driver.encoder();
        encoder.copy_buffer_to_buffer(from.0.raw(), from.1, &staging, 0, bytes);
        let submission = driver.submit(encoder.finish())?;
        let (sender, done) = channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone when nobody wants the values any more.
            let _ = sender.send(result);
        });
        Ok(Readback {
            driver: driver.clone(),
            staging,
            submission,
            done,
        })
    }

    /// The values, if they have arrived. Never blocks.
    ///
    /// # Errors
    /// [`Error::Device`] when the device failed.
    pub fn try_get<T: bytemuck::Pod>(&self) -> Result<Option<Vec<T>>> {
        self.driver.poll(wgpu::PollType::Poll)?;
        match self.done.try_recv() {
            Ok(result) => self.take(result).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(self.lost()),
        }
    }

    /// The values; waits for them.
    ///
    /// # Errors
    /// [`Error::Device`] when the device failed.
    pub fn wait<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        self.driver.wait(Some(self.submission.clone()))?;
        match self.done.recv() {
            Ok(result) => self.take(result),
            Err(_) => Err(self.lost()),
        }
    }

    fn take<T: bytemuck::Pod>(&self, mapped: Result<(), wgpu::BufferAsyncError>) -> Result<Vec<T>> {
        mapped.map_err(|e| self.driver.error(e.to_string()))?;
        let view = self.staging.get_mapped_range(..);
        let view = view.map_err(|e| self.driver.error(e.to_string()))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }

    fn lost(&self) -> Error {
        self.driver
            .error("values read back were lost or already taken".into())
    }
}
