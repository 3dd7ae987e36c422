//! The opened device itself, and what its driver reports.

use std::sync::{Arc, Mutex};

use super::adapter::{Caps, caps_of};
use super::lock::lock;
use crate::bounded::guarded;
use crate::error::{Error, Result};

/// A device with its queue.
pub(super) struct Driver {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub caps: Caps,
    /// First error the driver reported outside of any call that could return it.
    failure: Arc<Mutex<Option<String>>>,
}

impl Driver {
    /// Opens an adapter with all the limits it has and the optional features that kernels use.
    pub fn open(adapter: &wgpu::Adapter) -> Result<Driver> {
        let caps = caps_of(adapter);
        let mut useful = wgpu::Features::SUBGROUP
            | wgpu::Features::SHADER_F16
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS;
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if caps.matrix.is_some() {
            useful |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
            // SAFETY: what is experimental is not checked as well as the rest. Cooperative matrices are
            // used by one kernel, whose loads and stores stay in its own workgroup memory, and only
            // after it has been seen to give right results on this device.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("melos"),
            required_features: adapter.features() & useful,
            experimental_features,
            required_limits: caps.limits.clone(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let opened = guarded(|| pollster::block_on(adapter.request_device(&descriptor)));
        let (device, queue) = opened
            .and_then(|opened| opened.map_err(|e| e.to_string()))
            .map_err(|message| Error::Device {
                adapter: caps.name.clone(),
                message,
            })?;
        // wgpu panics on errors that nobody captures; keep the first and return it from the next call.
        let failure = Arc::new(Mutex::new(None));
        let seen = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&seen).get_or_insert_with(|| error.to_string());
        }));
        let lost = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                lock(&lost).get_or_insert_with(|| format!("device lost ({reason:?}): {message}"));
            }
        });
        Ok(Driver {
            device,
            queue,
            caps,
            failure,
        })
    }

    /// The same device, as if its adapter could do no more than that.
    pub fn with_caps(&self, caps: Caps) -> Driver {
        Driver {
            device: self.device.clone(),
            queue: self.queue.clone(),
            caps,
            failure: self.failure.clone(),
        }
    }

    pub fn error(&self, message: String) -> Error {
        // wgpu panics when it takes down a device whose driver has failed: it stays until the program
        // ends.
        std::mem::forget(self.device.clone());
        Error::Device {
            adapter: self.caps.name.clone(),
            message,
        }
    }

    /// What the driver has reported, if anything.
    pub fn check(&self) -> Result<()> {
        match lock(&self.failure).clone() {
            Some(message) => Err(self.error(message)),
            None => Ok(()),
        }
    }

    /// Waits until a submission is finished, or all of them are.
    pub fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let wait = wgpu::PollType::Wait {
            submission_index,
            timeout: None,
        };
        self.poll(wait)?;
        self.check()
    }

    /// Lets the device report what has happened.
    pub fn poll(&self, how: wgpu::PollType) -> Result<()> {
        let polled = guarded(|| self.device.poll(how)).map_err(|panic| self.error(panic))?;
        polled.map_err(|e| self.error(e.to_string()))?;
        Ok(())
    }

    /// Sends commands to the device.
    pub fn submit(&self, commands: wgpu::CommandBuffer) -> Result<wgpu::SubmissionIndex> {
        let sent = guarded(|| self.queue.submit([commands]));
        sent.map_err(|panic| self.error(panic))
    }

    pub fn buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    pub fn encoder(&self) -> wgpu::CommandEncoder {
        let plain = wgpu::CommandEncoderDescriptor::default();
        self.device.create_command_encoder(&plain)
    }
}
