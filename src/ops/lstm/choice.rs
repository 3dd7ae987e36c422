//! Which form of an LSTM's step kernels an adapter runs.

use super::form::{Form, LstmForm};
use super::steps::{LstmOptions, Run};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::matmul::reads_images;
use crate::ops::operand::can_be_image;
use crate::tensor::Tensor;

/// The widest layer whose weights, 4 MiB, stay in a GPU's cache from one time step to the next.
const WIDEST_PERSISTENT: usize = 512;

/// The form for a layer with these weights: as `MELOS_KERNELS` forces; by broadcast on CPU
/// adapters (lavapipe, B = 32, H = 512: 3 ms of CPU time a step, 9 without); else the fastest as
/// measured.
pub(super) fn choose(gpu: &Gpu, batch: usize, w_hh: &Tensor) -> Result<Form> {
    use LstmForm::{ImageSteps, Persistent, Steps, SubgroupSteps};
    let hidden = w_hh.shape().last();
    let caps = gpu.caps();
    let form = |kind| Form::new(caps.is_cpu, kind, batch as u32, hidden as u32);
    let steps = |broadcasts| if broadcasts { SubgroupSteps } else { Steps };
    let able = caps.broadcasts();
    if can_be_image(w_hh) && reads_images(gpu)? {
        return Ok(form(ImageSteps));
    }
    match gpu.rung() {
        Some(rung) => return Ok(form(steps(rung.broadcasts()))),
        None if caps.is_cpu => return Ok(form(steps(able))),
        None => {}
    }
    let (b, h) = (batch.next_power_of_two(), hidden.next_power_of_two());
    let mut kinds = vec![("portable", Steps)];
    kinds.extend(able.then_some(("subgroup", SubgroupSteps)));
    kinds.extend((h <= WIDEST_PERSISTENT).then_some(("persistent", Persistent)));
    if let [(_, only)] = kinds[..] {
        return Ok(form(only));
    }
    let names: Vec<String> = kinds.iter().map(|(name, _)| name.to_string()).collect();
    let chosen = gpu.fastest(
        &format!("lstm B {b} H {h}"),
        &names,
        names.len(),
        |gpu, index| {
            let form = Form::new(false, kinds[index].1, b as u32, h as u32);
            seconds(gpu, form, b, h)
        },
    )?;
    Ok(form(kinds[chosen].1))
}

/// Seconds of some steps forward and backward in the given form, on zeros.
fn seconds(gpu: &Gpu, form: Form, batch: usize, hidden: usize) -> Result<f64> {
    const STEPS: usize = 8;
    let run = Run {
        form,
        steps: STEPS,
        batch,
        hidden,
        options: LstmOptions::default(),
    };
    let zeros = |shape: &[usize]| Tensor::zeros(gpu, shape);
    let w_hh = zeros(&[4 * hidden, hidden])?;
    let gates = zeros(&[STEPS, batch, 4 * hidden])?;
    let states = [STEPS + 1, batch, hidden];
    let (hs, cs) = (zeros(&states)?, zeros(&states)?);
    let (carry_h, carry_c) = (zeros(&[batch, hidden])?, zeros(&[batch, hidden])?);
    let lens = Tensor::from_slice(gpu, [batch], &vec![STEPS as u32; batch])?;
    let ahead = form.pack_forward(gpu, &w_hh)?;
    let back = form.pack_backward(gpu, &w_hh)?;
    let shared = [&lens, &cs, &gates, &carry_h, &carry_c];
    gpu.seconds(|| {
        run.forward(gpu, &ahead, [&lens, &gates, &hs, &cs])?;
        run.backward(gpu, &back, Some(&hs), shared, false)
    })
}
