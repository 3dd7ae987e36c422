//! Whether a stage fits its adapter, and the largest batch that would.
//!
//! What a stage needs is the estimate of [`Estimate`]. What there is to have: the adapter's largest
//! binding and buffer, as its driver reports them; the run file's `memory_limit`; on software
//! adapters, whose memory is the machine's, what the system says is free. Of a GPU's memory wgpu
//! tells nothing: there the first allocation that fails says how much it was.

use serde::Serialize;

use super::config::RunConfig;
use super::estimate::{Estimate, mebibytes};
use super::machine;
use crate::device::Gpu;
use crate::error::{Error, Result};

/// What an adapter allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdapterLimits {
    /// The adapter, for messages.
    pub name: String,
    /// Largest storage binding, bytes.
    pub max_binding: u64,
    /// Largest buffer, bytes.
    pub max_buffer: u64,
    /// Memory in all, where it is known.
    pub memory: Option<Memory>,
}

/// Device memory to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Bytes.
    pub bytes: u64,
    /// Who says so.
    pub source: MemorySource,
}

/// How the memory to be had is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemorySource {
    /// `memory_limit` of the run file.
    MemoryLimit,
    /// The system: free memory of the machine or of its container, for an adapter that runs on its CPU.
    Machine,
    /// The device: what it had given when it refused more.
    Device,
}

impl Memory {
    /// "memory_limit allows 2048.0 MiB", with the adapter's name where it is the device that says so.
    fn sentence(self, adapter: &str) -> String {
        let bytes = mebibytes(self.bytes);
        match self.source {
            MemorySource::MemoryLimit => format!("memory_limit allows {bytes}"),
            MemorySource::Machine => format!("this machine has {bytes} free"),
            MemorySource::Device => format!("{adapter} had {bytes} to give"),
        }
    }
}

impl AdapterLimits {
    /// Those of a run on this device, now.
    pub fn of(gpu: &Gpu, config: &RunConfig) -> AdapterLimits {
        let caps = gpu.caps();
        let limit = config.memory_limit.map(|limit| Memory {
            bytes: limit.as_u64(),
            source: MemorySource::MemoryLimit,
        });
        let machine = caps.is_cpu.then(machine::free_memory).flatten();
        let machine = machine.map(|bytes| Memory {
            bytes,
            source: MemorySource::Machine,
        });
        AdapterLimits {
            name: caps.name.clone(),
            max_binding: caps.limits.max_storage_buffer_binding_size,
            max_buffer: caps.limits.max_buffer_size,
            memory: limit.into_iter().chain(machine).min_by_key(|m| m.bytes),
        }
    }

    fn largest_tensor(&self) -> u64 {
        self.max_binding.min(self.max_buffer)
    }

    /// The limits in a line.
    pub fn sentence(&self) -> String {
        let memory = self
            .memory
            .map_or("memory not known".into(), |m| m.sentence(&self.name));
        format!(
            "{}: largest binding {}, largest buffer {}, {memory}",
            self.name,
            mebibytes(self.max_binding),
            mebibytes(self.max_buffer),
        )
    }
}

impl Estimate {
    /// The largest batch that fits; 0 where not even one text does.
    pub fn largest_batch(&self, limits: &AdapterLimits) -> u64 {
        let tensor = limits.largest_tensor();
        let by_tensor = if self.largest_fixed <= tensor {
            tensor / self.largest_per_text.max(1)
        } else {
            0
        };
        let memory = limits.memory.map_or(u64::MAX, |m| m.bytes);
        let left = memory.checked_sub(self.weights + self.optimizer);
        let by_memory = left.map_or(0, |left| left / (self.activations / self.batch).max(1));
        by_tensor.min(by_memory)
    }

    /// Checks the estimate against an adapter.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`] with both numbers, and the largest batch that would fit.
    pub fn check(&self, stage: &str, limits: &AdapterLimits) -> Result<()> {
        let tensor = limits.largest_tensor();
        if self.largest > tensor {
            let (needs, allows) = (mebibytes(self.largest), mebibytes(tensor));
            let message = format!(
                "its largest tensor needs {needs}, {} allows {allows}",
                limits.name
            );
            return Err(self.refusal(stage, message, limits));
        }
        match limits.memory {
            Some(memory) if self.total() > memory.bytes => {
                let message = format!(
                    "as estimated it {}; {}",
                    self.sentence(),
                    memory.sentence(&limits.name)
                );
                Err(self.refusal(stage, message, limits))
            }
            _ => Ok(()),
        }
    }

    /// The refusal of a stage that ran out of memory on the way, with the largest batch that the
    /// memory it had would have done for; other errors as they are.
    pub fn explain(&self, stage: &str, error: Error) -> Error {
        let Error::OutOfMemory {
            adapter,
            bytes,
            held,
        } = &error
        else {
            return error;
        };
        let had = Memory {
            bytes: *held,
            source: MemorySource::Device,
        };
        let message = format!(
            "{}, and {} more were needed; it was estimated that the stage {}",
            had.sentence(adapter),
            mebibytes(*bytes),
            self.sentence()
        );
        // A stage that needs more than its estimate needs as much more with another batch.
        let short = ((held + bytes) as f64 / self.total() as f64).max(1.0);
        let limits = AdapterLimits {
            name: adapter.clone(),
            max_binding: u64::MAX,
            max_buffer: u64::MAX,
            memory: Some(Memory {
                bytes: (*held as f64 / short) as u64,
                ..had
            }),
        };
        self.refusal(stage, message, &limits)
    }

    fn refusal(&self, stage: &str, message: String, limits: &AdapterLimits) -> Error {
        let batch = match self.largest_batch(limits) {
            0 => "not even one text would fit".into(),
            n => format!("a batch of {n} would fit, this one is {}", self.batch),
        };
        let recomputed = self.checkpointed.map(|activations| Estimate {
            activations,
            checkpointed: None,
            ..*self
        });
        let hint = match recomputed.map(|other| other.largest_batch(limits)) {
            Some(n) if n >= self.batch => ", and this one with checkpointing = true".into(),
            Some(n) if n > 0 => format!(", {n} with checkpointing = true"),
            _ => String::new(),
        };
        Error::DoesNotFit {
            stage: stage.into(),
            message: format!("{message} ({batch}{hint})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 bytes whatever the batch, 10 a text.
    const ESTIMATE: Estimate = Estimate {
        parameters: 10,
        trainable: 10,
        weights: 80,
        optimizer: 20,
        activations: 400,
        batch: 40,
        checkpointed: Some(80),
        largest: 120,
        largest_fixed: 30,
        largest_per_text: 3,
    };

    fn limits(tensor: u64, memory: Option<u64>) -> AdapterLimits {
        AdapterLimits {
            name: "toy".into(),
            max_binding: tensor,
            max_buffer: 2 * tensor,
            memory: memory.map(|bytes| Memory {
                bytes,
                source: MemorySource::MemoryLimit,
            }),
        }
    }

    #[test]
    fn the_largest_batch_is_that_of_the_tightest_limit() {
        let largest = |tensor, memory| ESTIMATE.largest_batch(&limits(tensor, memory));
        assert_eq!(largest(120, None), 40);
        assert_eq!(largest(119, None), 39);
        assert_eq!(largest(29, None), 0);
        assert_eq!(largest(120, Some(500)), 40);
        assert_eq!(largest(120, Some(499)), 39);
        assert_eq!(largest(60, Some(499)), 20);
        assert_eq!(largest(120, Some(109)), 0);
        assert_eq!(largest(120, Some(99)), 0);
    }

    #[test]
    fn a_refusal_names_the_largest_batch_and_it_fits() {
        assert!(ESTIMATE.check("a", &limits(120, Some(500))).is_ok());
        for tight in [
            limits(119, None),
            limits(120, Some(499)),
            limits(60, Some(180)),
        ] {
            let error = ESTIMATE.check("a", &tight).unwrap_err().to_string();
            let batch = ESTIMATE.largest_batch(&tight);
            let named = format!("a batch of {batch} would fit, this one is 40");
            assert!(error.contains(&named), "{error}");
            let with = |batch| Estimate {
                batch,
                activations: 10 * batch,
                largest: 30.max(3 * batch),
                ..ESTIMATE
            };
            assert!(with(batch).check("a", &tight).is_ok());
            assert!(with(batch + 1).check("a", &tight).is_err());
        }
        let none = ESTIMATE.check("a", &limits(120, Some(99))).unwrap_err();
        assert!(none.to_string().contains("not even one text"), "{none}");
    }

    #[test]
    fn checkpointing_is_named_where_it_helps() {
        let error = |memory| {
            let limits = limits(120, Some(memory));
            ESTIMATE.check("a", &limits).unwrap_err().to_string()
        };
        assert!(error(180).contains("and this one with checkpointing"));
        assert!(
            error(140).contains("(a batch of 4 would fit, this one is 40, 20 with checkpointing")
        );
        assert!(!error(101).contains("checkpointing"));
    }

    #[test]
    fn running_out_of_memory_becomes_a_refusal_with_a_smaller_batch() {
        let out = |bytes, held| Error::OutOfMemory {
            adapter: "toy".into(),
            bytes,
            held,
        };
        // 300 of the 500 estimated: 200 for activations.
        let error = ESTIMATE.explain("a", out(100, 300));
        assert!(matches!(error, Error::DoesNotFit { .. }));
        assert!(
            error.to_string().contains("a batch of 20 would fit"),
            "{error}"
        );
        // Needs twice the estimate: 900 are like 450 of it.
        let error = ESTIMATE.explain("a", out(100, 900)).to_string();
        assert!(error.contains("a batch of 35 would fit"), "{error}");
        let other = ESTIMATE.explain(
            "a",
            Error::NoAdapter {
                looked_for: "x".into(),
            },
        );
        assert!(matches!(other, Error::NoAdapter { .. }));
    }
}
