//! What steps say of their answers besides the loss, on its way back from the device.

use std::collections::VecDeque;

use crate::device::Readback;
use crate::error::Result;
use crate::objectives::criterion::{Criterion, OfBatch};
use crate::objectives::scores::Scores;
use crate::tensor::Tensor;

/// A batch's documents, and its numbers that are under way.
type UnderWay = (Vec<u32>, Vec<Readback>);

/// What has been asked for and has arrived.
#[derive(Default)]
pub(super) struct Said {
    /// By step, the last one still without an end.
    pending: VecDeque<(u64, Vec<UnderWay>)>,
    arrived: Vec<(u64, Scores)>,
}

impl Said {
    /// Asks for the numbers of one of a step's batches.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn ask(&mut self, step: u64, docs: &[u32], outputs: &[Tensor]) -> Result<()> {
        if outputs.is_empty() {
            return Ok(());
        }
        let under_way: Vec<Readback> = outputs.iter().map(Tensor::read).collect::<Result<_>>()?;
        let batch = (docs.to_vec(), under_way);
        match self.pending.back_mut().filter(|(own, _)| *own == step) {
            Some((_, batches)) => batches.push(batch),
            None => self.pending.push_back((step, vec![batch])),
        }
        Ok(())
    }

    /// Takes in what steps said whose losses have arrived: they were asked for earlier, and are there.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn take_in(&mut self, losses: &[(u64, f32)], criterion: &dyn Criterion) -> Result<()> {
        for (step, loss) in losses {
            let Some((_, batches)) = self.pending.pop_front_if(|(own, _)| own == step) else {
                continue;
            };
            let host = |(docs, under_way): UnderWay| -> Result<OfBatch> {
                let values = under_way.into_iter().map(Readback::wait::<f32>);
                Ok((docs, values.collect::<Result<_>>()?))
            };
            let said: Vec<OfBatch> = batches.into_iter().map(host).collect::<Result<_>>()?;
            // Of a step that came to nothing nothing is to be said.
            if loss.is_finite()
                && let Some(scores) = criterion.told(&said)?
            {
                self.arrived.push((*step, scores));
            }
        }
        Ok(())
    }

    /// What has arrived since the last call.
    pub fn arrived(&mut self) -> Vec<(u64, Scores)> {
        std::mem::take(&mut self.arrived)
    }
}
