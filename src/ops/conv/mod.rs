//! The convolution of pictures.

mod direct;
mod form;
mod product;

pub use form::ConvForm;

use form::{Conv, Way};

use super::linear::{WeightLayout, linear_as};
use super::reduce::sum_columns;
use super::window::{Picture, Window, pictures};
use crate::device::{Gpu, Rung};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "conv2d";

impl Conv {
    /// Whether it is a product of matrices.
    fn is_product(&self, gpu: &Gpu) -> bool {
        let own = match self.form {
            Some(form) => form == ConvForm::Direct,
            None => !gpu.caps().tiles || gpu.rung() == Some(Rung::Portable),
        };
        self.groups == 1 && !own
    }

    /// Whether so few channels go in, or come out, that a product's tiles would be mostly empty: software drivers are
    /// faster without.
    fn is_thin(&self, gpu: &Gpu, way: Way) -> bool {
        let [inner, outer] = self.channels(way);
        gpu.caps().is_cpu && self.form.is_none() && (inner < 4 || outer < 8)
    }

    /// Queues what goes through the weights, or back.
    fn apply(
        &self,
        way: Way,
        tensors: [&Tensor; 3],
        bias: Option<&Tensor>,
        accumulate: bool,
    ) -> Result<()> {
        let gpu = tensors[0].gpu();
        match self.is_product(gpu) && !self.is_thin(gpu, way) {
            true => product::apply(self, way, tensors, bias, accumulate),
            false => direct::apply(self, way, tensors, bias, accumulate),
        }
    }

    /// Queues the gradient of the weights, from x and dy.
    fn weights(&self, tensors: [&Tensor; 3], accumulate: bool) -> Result<()> {
        match self.is_product(tensors[0].gpu()) {
            true => product::weights(self, tensors, accumulate),
            false => direct::weights(self, tensors, accumulate),
        }
    }
}

/// `y[n, p, q, o] = Σ x[n, h, w, i] · w[o, u, v, i] + b[o]` over the taps (u, v) of a window and the channels i
/// of o's group. (The convolution of `torch.nn.functional.conv2d`, pictures and weights with their
/// channels last.)
///
/// x (N, H, W, C) f32 or f16, w (O, kernel, kernel, C / groups), b (O) f32; y holds what x does.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`]; [`Error::Argument`] for a window without sides or groups that do not
/// divide the channels.
pub fn conv2d(
    tape: &Tape,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    window: &Window,
    groups: usize,
) -> Result<Tensor> {
    conv2d_as(tape, x, w, b, (window, groups), None)
}

/// The same, made by what is asked for.
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_as(
    tape: &Tape,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    (window, groups): (&Window, usize),
    form: Option<ConvForm>,
) -> Result<Tensor> {
    let [n, height, width, inputs] = pictures(OP, x)?;
    w.expect_float(OP, "w")?;
    let outputs = w.dims().first().copied().unwrap_or(0);
    if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
        let expected = "a number that divides the channels of x and of the result";
        return Err(Error::argument(OP, "groups", groups, expected));
    }
    let [down, across] = window.kernel;
    let w_dims = [outputs, down, across, inputs / groups];
    w.expect(OP, "w", &w_dims, w.dtype())?;
    if let Some(b) = b {
        b.expect(OP, "b", &[outputs], DType::F32)?;
    }
    let positions = window.positions(OP, [height, width])?;
    let y_dims = [n, positions[0], positions[1], outputs];
    if groups == 1 && window.is_pixel() && form.is_none() {
        let w = w.reshaped([outputs, inputs])?;
        return linear_as(tape, x, &w, b, WeightLayout::OutIn);
    }
    let y = Tensor::empty(tape.gpu(), y_dims, x.dtype())?;
    let conv = Conv {
        pixels: n * height * width,
        rows: n * positions[0] * positions[1],
        inputs,
        outputs,
        groups,
        taps: window.taps(),
        window: *window,
        size: [height, width],
        picture: Picture::forward(window, [height, width], positions, inputs),
        form,
    };
    conv.apply(Way::Forward, [x, w, &y], b, false)?;

    let inputs: Vec<&Tensor> = [x, w].into_iter().chain(b).collect();
    let saved_x = if tape.needs_grad(w) {
        x.clone()
    } else {
        x.without_values()
    };
    let (saved_w, saved_b) = (w.clone(), b.map(Tensor::without_values));
    tape.record_one(OP, &inputs, &y, move |cx, dy| {
        if let Some(dx) = cx.sink(&saved_x)? {
            let tensors = [dy, &saved_w, &dx.grad];
            conv.apply(Way::Backward, tensors, None, dx.accumulate)?;
        }
        if let Some(dw) = cx.sink(&saved_w)? {
            conv.weights([&saved_x, dy, &dw.grad], dw.accumulate)?;
        }
        if let Some(b) = &saved_b
            && let Some(db) = cx.sink(b)?
        {
            sum_columns(
                &dy.reshaped([conv.rows, conv.outputs])?,
                &db.grad,
                db.accumulate,
            )?;
        }
        Ok(())
    });
    Ok(y)
}
