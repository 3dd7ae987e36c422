//! Convolutions, pools and batch normalisation.

use crate::device::Gpu;
use crate::doctor::evidence::{Evidence, Way};
use crate::doctor::proof::{Input, Op, input};
use crate::error::Result;
use crate::ops::{self, ConvForm, RunningStatistics, Statistics, Window};
use crate::reference::batch_norm::{moments, normalise, normalise_bwd, running};
use crate::reference::compare::compare;
use crate::reference::conv::{Adaptive, Slide};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, cast};
use crate::tensor::{Tape, Tensor};

/// The same window as the operators have it.
fn window(slide: &Slide) -> Window {
    Window {
        kernel: slide.kernel,
        stride: slide.stride,
        padding: slide.padding,
        dilation: slide.dilation,
    }
}

/// A slide of a square window over pictures.
pub fn slide(
    [n, height, width, c]: [usize; 4],
    [side, stride, padding, dilation]: [usize; 4],
) -> Slide {
    Slide {
        n,
        size: [height, width],
        c,
        kernel: [side; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [dilation; 2],
    }
}

/// Inputs x and w, and a bias where there is a third.
pub struct Conv {
    pub slide: Slide,
    pub groups: usize,
    pub form: Option<ConvForm>,
}

impl Conv {
    /// Its inputs, for so many outputs.
    pub fn inputs(&self, outputs: usize, bias: bool) -> Vec<Input> {
        let Slide {
            n, size, c, kernel, ..
        } = self.slide;
        let mut data = Data::new((size[0] * c + outputs) as u64);
        let mut of = |dims: &[usize], peak| {
            let values = data.peaked(dims.iter().product(), 1.0, peak);
            input(dims, values)
        };
        let mut inputs = vec![
            of(&[n, size[0], size[1], c], 10.0),
            of(&[outputs, kernel[0], kernel[1], c / self.groups], 3.0),
        ];
        inputs.extend(bias.then(|| of(&[outputs], 1.0)));
        inputs
    }
}

impl Op for Conv {
    fn name(&self) -> String {
        format!(
            "conv2d {:?}, {} groups, {:?}",
            self.slide, self.groups, self.form
        )
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (x, w, window) = (&inputs[0], &inputs[1], window(&self.slide));
        let window = (&window, self.groups);
        let y = ops::conv2d_as(tape, x, w, inputs.get(2), window, self.form)?;
        Ok(vec![y])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let bias = inputs.get(2).map(|b| &b[..]);
        vec![self.slide.conv(&inputs[0], &inputs[1], bias, self.groups)]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let all = self
            .slide
            .conv_bwd(&inputs[0], &inputs[1], self.groups, &dy[0]);
        all.into_iter().take(inputs.len()).collect()
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::MATMUL, tolerance::MATMUL_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["conv_", "matmul_", "sum_cols"]
    }
}

/// A pool.
pub enum Pool {
    /// The largest of each window.
    Max(Slide),
    /// The mean of each window.
    Mean(Slide),
    /// The means of windows that share the picture out.
    Shared(Adaptive),
}

impl Op for Pool {
    fn name(&self) -> String {
        match self {
            Pool::Max(slide) => format!("max_pool2d {slide:?}"),
            Pool::Mean(slide) => format!("avg_pool2d {slide:?}"),
            Pool::Shared(windows) => format!("adaptive_avg_pool2d {windows:?}"),
        }
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let x = &inputs[0];
        Ok(vec![match self {
            Pool::Max(slide) => ops::max_pool2d(tape, x, &window(slide))?,
            Pool::Mean(slide) => ops::avg_pool2d(tape, x, &window(slide))?,
            Pool::Shared(shared) => ops::adaptive_avg_pool2d(tape, x, shared.windows)?,
        }])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let x = &inputs[0];
        vec![match self {
            Pool::Max(slide) => slide.max_pool(x),
            Pool::Mean(slide) => slide.avg_pool(x),
            Pool::Shared(shared) => shared.avg_pool(x),
        }]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![match self {
            Pool::Max(slide) => slide.max_pool_bwd(&inputs[0], &dy[0]),
            Pool::Mean(slide) => slide.avg_pool_bwd(&dy[0]),
            Pool::Shared(shared) => shared.avg_pool_bwd(&dy[0]),
        }]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        let forward = match self {
            Pool::Max(_) => tolerance::EXACT,
            Pool::Mean(_) | Pool::Shared(_) => tolerance::REDUCE,
        };
        (forward, tolerance::REDUCE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        match self {
            Pool::Max(_) => &["max_pool_bwd"],
            Pool::Mean(_) => &["avg_pool"],
            Pool::Shared(_) => &["adaptive_avg_pool_bwd"],
        }
    }
}

/// Pixels of a picture whose channels are as `input` has them.
pub fn pixels(data: &mut Data, dims: [usize; 4]) -> Input {
    input(&dims, data.peaked(dims.iter().product(), 1.0, 20.0))
}

const EPS: f32 = 1e-5;

/// Inputs gamma, beta and x, normalised by its own statistics or by running ones.
pub struct BatchNorm {
    own: bool,
    seen: [Vec<f32>; 2],
    device: RunningStatistics,
}

impl BatchNorm {
    /// Of so many channels.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(gpu: &Gpu, data: &mut Data, channels: usize, own: bool) -> Result<BatchNorm> {
        let seen = [data.normal(channels, 1.0), data.uniform(channels, 0.1, 3.0)];
        let tensor = |values: &[f32]| Tensor::from_slice(gpu, [values.len()], values);
        let device = RunningStatistics {
            mean: tensor(&seen[0])?,
            var: tensor(&seen[1])?,
            tracked: Tensor::from_slice(gpu, [], &[3.0f32])?,
        };
        Ok(BatchNorm { own, seen, device })
    }

    fn statistics<F: Float>(&self, x: &[F]) -> [Vec<F>; 2] {
        match self.own {
            true => moments(x, self.seen[0].len()),
            false => [cast(&self.seen[0]), cast(&self.seen[1])],
        }
    }

    /// That a batch changes the running statistics as it should where it counts, and not where not.
    ///
    /// # Errors
    /// Those of the device.
    pub fn prove_running(&self, gpu: &Gpu, x: &Input) -> Result<Evidence> {
        const MOMENTUM: f32 = 0.3;
        let channels = self.seen[0].len();
        let mut evidence = Evidence::of(format!("running statistics, {:?}", x.dims));
        let tensor = |values: &[f32]| Tensor::from_slice(gpu, [values.len()], values);
        let mut run = |by: Statistics| -> Result<[Vec<f32>; 3]> {
            let seen = RunningStatistics {
                mean: tensor(&self.seen[0])?,
                var: tensor(&self.seen[1])?,
                tracked: Tensor::from_slice(gpu, [], &[3.0f32])?,
            };
            let (ones, x) = (
                tensor(&vec![1.0; channels])?,
                Tensor::from_slice(gpu, &x.dims[..], &x.values)?,
            );
            let forward =
                || ops::batch_norm(&Tape::inference(gpu), &x, [&ones, &ones], &seen, by, EPS);
            let (recording, _) = gpu.record(forward)?;
            gpu.replay(&recording)?;
            evidence.ran(Way::Forward, recording.kernels());
            Ok([
                seen.mean.to_vec()?,
                seen.var.to_vec()?,
                seen.tracked.to_vec()?,
            ])
        };
        let by = Statistics::Batch { momentum: MOMENTUM };
        let (got, again) = (run(by)?, run(by)?);
        let kept = run(Statistics::Running)?;
        let seen = [&self.seen[0][..], &self.seen[1]];
        let want = {
            let own: [Vec<f64>; 2] = seen.map(cast);
            running(
                &cast::<f64, _>(&x.values),
                [&own[0], &own[1]],
                MOMENTUM.into(),
            )
        };
        let naive = running(&x.values, seen, MOMENTUM.into());
        for (i, what) in ["running_mean", "running_var"].into_iter().enumerate() {
            let row = tolerance::LAYER_NORM;
            evidence.add(
                Way::Forward,
                what,
                compare(&got[i], &want[i], &naive[i], row),
            );
            evidence.same(Way::Forward, what, &got[i], &again[i]);
        }
        // Recorded and replayed: it has run twice, unless recording does not run.
        if kept[..2] != self.seen || kept[2] != [3.0] {
            evidence.wrong(
                Way::Forward,
                "running statistics change where they are frozen".into(),
            );
        }
        if got[2] != [4.0] {
            evidence.wrong(
                Way::Forward,
                format!("{} batches counted as 1", got[2][0] - 3.0),
            );
        }
        Ok(evidence)
    }
}

impl Op for BatchNorm {
    fn name(&self) -> String {
        let by = if self.own { "its own" } else { "running" };
        format!("batch_norm by {by} statistics")
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let by = match self.own {
            true => Statistics::Batch { momentum: 0.1 },
            false => Statistics::Running,
        };
        let weights = [&inputs[0], &inputs[1]];
        let y = ops::batch_norm(tape, &inputs[2], weights, &self.device, by, EPS)?;
        Ok(vec![y])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let [mean, var] = self.statistics(&inputs[2]);
        let weights = [&inputs[0][..], &inputs[1]];
        vec![normalise(&inputs[2], [&mean, &var], weights, EPS.into())]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let [mean, var] = self.statistics(&inputs[2]);
        let (x, gamma) = (&inputs[2], &inputs[0]);
        let [dx, dgamma, dbeta] =
            normalise_bwd(x, [&mean, &var], gamma, EPS.into(), self.own, &dy[0]);
        vec![dgamma, dbeta, dx]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::LAYER_NORM, tolerance::LAYER_NORM_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["batch_norm_bwd", "sum_cols", "axpy"]
    }
}

/// Gamma, beta and x.
pub fn norm_inputs(data: &mut Data, dims: [usize; 4]) -> Vec<Input> {
    let channels = dims[3];
    vec![
        input(&[channels], data.normal(channels, 1.0)),
        input(&[channels], data.normal(channels, 1.0)),
        pixels(data, dims),
    ]
}
