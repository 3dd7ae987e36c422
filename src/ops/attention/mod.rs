//! Attention in tiles with online softmax: the T × S matrix is stored neither on the way forward
//! nor back (Dao 2023, "FlashAttention-2").

mod form;

use super::kernel::lanes;
use super::operand::Operand;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::tensor::{Backward, DType, Sink, Tape, Tensor};
use form::{Flags, Form, Params, Stats};

const OP: &str = "attention";

/// How attention attends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionOptions {
    /// Number of heads (NH); divides the width C of queries into heads of width D = C / heads.
    pub heads: usize,
    /// Number of heads of keys and values (KH), each for NH / KH neighbouring heads of queries (Ainslie
    /// et al. 2023); as many as of queries if `None`.
    pub kv_heads: Option<usize>,
    /// A query sees no key after its own position: query t of row b is at the position
    /// max(lens\[b\] − T, 0) + t of the keys. So a batch padded on the right works (T = S), and so
    /// does a cache of capacity S whose first lens\[b\] keys count, those of the T queries last.
    pub causal: bool,
    /// With `causal`: how many keys a query sees at most, its own the last of them (Beltagy et al. 2020,
    /// sliding window).
    pub window: Option<usize>,
    /// Scores become cap · tanh(score / cap), for this cap (Gemma 2).
    pub softcap: Option<f32>,
    /// Probability with which a weight is dropped while training, rounded to a multiple of 2⁻¹⁶.
    pub dropout: f32,
    /// Factor of the scores; 1 / √D if `None`.
    pub scale: Option<f32>,
}

impl AttentionOptions {
    /// Of `heads` heads in which every query sees every key.
    pub fn new(heads: usize) -> AttentionOptions {
        AttentionOptions {
            heads,
            kv_heads: None,
            causal: false,
            window: None,
            softcap: None,
            dropout: 0.0,
            scale: None,
        }
    }

    /// KH
    fn kv_heads(&self) -> usize {
        self.kv_heads.unwrap_or(self.heads)
    }
}

/// Which keys queries see, beside what the options say.
#[derive(Clone, Copy, Default)]
pub struct Seen<'a> {
    /// (B) u32: how many keys of each row count, from the first on; what lies behind them is never used and
    /// may hold anything. All, if `None`.
    pub lens: Option<&'a Tensor>,
    /// (B·T) u32: the first key that each query sees, which does not fall within a row; causal only. Rows
    /// hold several sequences so, none of which sees another.
    pub starts: Option<&'a Tensor>,
}

impl<'a> From<Option<&'a Tensor>> for Seen<'a> {
    fn from(lens: Option<&'a Tensor>) -> Seen<'a> {
        Seen { lens, starts: None }
    }
}

/// Where queries, keys or values lie: columns of the rows of a tensor, from `first` on.
#[derive(Clone)]
struct Part {
    tensor: Tensor,
    first: usize,
}

impl Part {
    fn row(&self) -> u32 {
        self.tensor.shape().last() as u32
    }
}

/// softmax(scale · q·kᵀ)·v for every head: q (B, T, NH·D), k and v (B, S, KH·D) → (B, T, NH·D), all
/// f32 or all f16.
///
/// Head h has columns h·D..(h + 1)·D, and reads head h·KH/NH of k and v. `seen` is a [`Seen`], or its `lens`
/// alone. A query that sees no key has output and gradient 0. Memory for the backward: two numbers for each
/// query and head.
///
/// # Errors
/// [`Error::Argument`] unless the heads divide C and their number is a multiple of KH, 0 ≤ dropout < 1,
/// the scale is finite, the cap above 0 and the window causal and above 0;
/// [`Error::Shape`], [`Error::DType`]; [`Error::Kernel`] for more keys or queries than a software
/// adapter can loop over.
pub fn attention<'a>(
    tape: &Tape,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    seen: impl Into<Seen<'a>>,
    options: &AttentionOptions,
) -> Result<Tensor> {
    let [batch, queries, width] = dims(q, "q", "(B, T, C)")?;
    let [_, keys, _] = dims(k, "k", "(B, S, C)")?;
    q.expect_float(OP, "q")?;
    options.check(width)?;
    let kv_width = width / options.heads * options.kv_heads();
    k.expect(OP, "k", &[batch, keys, kv_width], q.dtype())?;
    v.expect(OP, "v", &[batch, keys, kv_width], q.dtype())?;
    let parts = [q, k, v].map(|tensor| Part {
        tensor: tensor.clone(),
        first: 0,
    });
    let sizes = [batch, queries, keys, width];
    attend(tape, parts, sizes, seen.into(), options)
}

/// As [`attention`], with queries, keys and values side by side: qkv (B, T, (NH + 2 KH)·D), which is
/// (B, T, 3C) with as many heads of each. The gradient has the same layout; nothing is copied.
///
/// # Errors
/// As [`attention`]; [`Error::Shape`] unless the last axis holds so many heads.
pub fn attention_packed<'a>(
    tape: &Tape,
    qkv: &Tensor,
    seen: impl Into<Seen<'a>>,
    options: &AttentionOptions,
) -> Result<Tensor> {
    let [batch, queries, columns] = dims(qkv, "qkv", "(B, T, (NH + 2 KH) D)")?;
    qkv.expect_float(OP, "qkv")?;
    let heads = options.heads + 2 * options.kv_heads();
    if heads == 0 || !columns.is_multiple_of(heads) {
        let expected = format!("(B, T, C) with C a multiple of {heads} heads");
        return Err(qkv.wrong_shape(OP, "qkv", expected));
    }
    let [width, kv_width] = [options.heads, options.kv_heads()].map(|h| h * (columns / heads));
    options.check(width)?;
    let parts = [0, width, width + kv_width].map(|first| Part {
        tensor: qkv.clone(),
        first,
    });
    let sizes = [batch, queries, queries, width];
    attend(tape, parts, sizes, seen.into(), options)
}

fn dims(tensor: &Tensor, arg: &'static str, expected: &str) -> Result<[usize; 3]> {
    let dims = tensor.dims().try_into();
    dims.map_err(|_| tensor.wrong_shape(OP, arg, expected))
}

impl AttentionOptions {
    fn check(&self, width: usize) -> Result<()> {
        let bad = |arg, value: String, expected| Err(Error::argument(OP, arg, value, expected));
        if self.heads == 0 || !width.is_multiple_of(self.heads) {
            let value = format!("{} for a width of {width}", self.heads);
            return bad("heads", value, "a divisor of the width");
        }
        let kv_heads = self.kv_heads();
        if kv_heads == 0 || !self.heads.is_multiple_of(kv_heads) {
            let value = format!("{kv_heads} for {} heads of queries", self.heads);
            return bad("kv_heads", value, "a divisor of the number of heads");
        }
        match self.window {
            Some(0) => return bad("window", "0".into(), "1 or more keys"),
            Some(window) if !self.causal => {
                return bad("window", window.to_string(), "none unless causal");
            }
            _ => {}
        }
        if let Some(cap) = self.softcap
            && !(cap > 0.0 && cap.is_finite())
        {
            return bad("softcap", cap.to_string(), "a finite number above 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("dropout", self.dropout.to_string(), "0 <= p < 1");
        }
        match self.scale {
            Some(scale) if !scale.is_finite() => bad("scale", scale.to_string(), "a finite number"),
            _ => Ok(()),
        }
    }
}

/// Of checked inputs; B, T, S, C.
fn attend(
    tape: &Tape,
    parts: [Part; 3],
    [batch, queries, keys, width]: [usize; 4],
    seen: Seen<'_>,
    options: &AttentionOptions,
) -> Result<Tensor> {
    let [q, k, v] = &parts;
    if let Some(lens) = seen.lens {
        lens.expect(OP, "lens", &[batch], DType::U32)?;
    }
    if let Some(starts) = seen.starts {
        starts.expect(OP, "starts", &[batch * queries], DType::U32)?;
        if !options.causal {
            return Err(Error::argument(OP, "starts", "given", "none unless causal"));
        }
    }
    let gpu = tape.gpu();
    let head_width = width / options.heads;
    // Dropped weights are counted in 65,536ths; the factor of the others fits that number.
    let threshold = ((options.dropout * 65_536.0).round() as u32).min(65_535);
    let state = tape.step_state().filter(|_| threshold > 0);
    let tensors = [&q.tensor, &k.tensor, &v.tensor];
    let flags = Flags {
        vec4: lanes(head_width) == 4,
        dropout: state.is_some(),
        half: q.tensor.is_half(),
        image: form::images(gpu, &tensors, head_width)?,
        softcap: options.softcap.is_some(),
        lens: seen.lens.is_some(),
        starts: seen.starts.is_some(),
    };
    let group = options.heads / options.kv_heads();
    let form = Form::of(gpu, [head_width, group], queries.max(keys), flags)?;
    let (control, [lens_at, starts_at]) = control(gpu, state, seen)?;
    // Without any of them nothing is read of it.
    let control = control.unwrap_or_else(|| q.tensor.clone());
    let params = Params {
        queries: queries as u32,
        keys: keys as u32,
        heads: options.heads as u32,
        group: group as u32,
        width: head_width as u32,
        q_row: q.row(),
        q_first: q.first as u32,
        k_row: k.row(),
        k_first: k.first as u32,
        v_row: v.row(),
        v_first: v.first as u32,
        blocks: form.blocks(),
        causal: u32::from(options.causal),
        window: options.window.map_or(u32::MAX, |w| w as u32),
        lens_at,
        starts_at,
        layer: state.map_or(0, |_| tape.next_layer()),
        threshold,
        scale: options.scale.unwrap_or(1.0 / (head_width as f32).sqrt()),
        cap: options.softcap.unwrap_or(0.0),
        keep: 65_536.0 / (65_536 - threshold) as f32,
        ..Params::default()
    };
    let out = Tensor::empty(gpu, [batch, queries, width], q.tensor.dtype())?;
    let needed = tensors.iter().any(|t| tape.needs_grad(t));
    let shape = [batch, options.heads, queries, 2];
    let stats = needed.then(|| Tensor::empty(gpu, shape, DType::F32));
    let stats = stats.transpose()?.map(Stats);
    let read = sources(form, &parts, &control)?;
    form.forward(&params, &read, &out, stats.as_ref())?;
    let Some(stats) = stats else {
        return Ok(out);
    };
    let (parts, output) = (parts.clone(), out.clone());
    tape.record_one(OP, &tensors, &out, move |cx, dout| {
        let read = sources(form, &parts, &control)?;
        form.delta(&params, &output, dout, &stats)?;
        let dout = form.source(&dout.reshaped([batch, queries, width])?)?;
        let [dq, dk, dv] = sinks(cx, &parts)?;
        if let Some(dq) = dq {
            let params = Params {
                accumulate: dq.flag(),
                ..params
            };
            form.queries(&params, &read, &dout, &stats, &dq.grad)?;
        }
        if dk.is_none() && dv.is_none() {
            return Ok(());
        }
        // One kernel makes both; what nobody wants goes nowhere.
        let or_scratch = |sink: Option<Sink>, like: &Tensor| match sink {
            Some(sink) => Ok::<Sink, Error>(sink),
            None => Ok(Sink {
                grad: Tensor::empty(cx.gpu(), like.shape().clone(), like.dtype())?,
                accumulate: false,
            }),
        };
        let [_, k, v] = &parts;
        let (dk, dv) = (or_scratch(dk, &k.tensor)?, or_scratch(dv, &v.tensor)?);
        let params = Params {
            accumulate: dk.flag(),
            accumulate_v: dv.flag(),
            ..params
        };
        form.keys(&params, &read, &dout, &stats, [&dk.grad, &dv.grad])
    });
    Ok(out)
}

/// What the kernels read beside the upstream gradient. Parts of one tensor share what is made of it.
fn sources(form: Form, parts: &[Part; 3], control: &Tensor) -> Result<[Operand; 4]> {
    let [q, k, v] = parts.each_ref().map(|part| &part.tensor);
    let of_q = form.source(q)?;
    let of_k = match k.id() {
        id if id == q.id() => of_q.clone(),
        _ => form.source(k)?,
    };
    let of_v = match v.id() {
        id if id == q.id() => of_q.clone(),
        id if id == k.id() => of_k.clone(),
        _ => form.source(v)?,
    };
    Ok([of_q, of_k, of_v, Operand::Tensor(control.clone())])
}

/// Where the gradients go. Parts side by side in one tensor share its sink: each fills columns of
/// its own. Parts that are one and the same add up there.
fn sinks(cx: &mut Backward, parts: &[Part; 3]) -> Result<[Option<Sink>; 3]> {
    let mut sinks: [Option<Sink>; 3] = [const { None }; 3];
    for i in 0..3 {
        let beside = |j: &usize| {
            parts[*j].tensor.id() == parts[i].tensor.id() && parts[*j].first != parts[i].first
        };
        sinks[i] = match (0..i).find(beside) {
            Some(j) => sinks[j].clone(),
            None => cx.sink(&parts[i].tensor)?,
        };
    }
    Ok(sinks)
}

/// The kernels' words: the step state while dropping, then `lens`, then `starts`; and where the two begin.
/// One binding for all keeps the backward within eight.
fn control(
    gpu: &Gpu,
    state: Option<&Tensor>,
    seen: Seen<'_>,
) -> Result<(Option<Tensor>, [u32; 2])> {
    let parts = [state, seen.lens, seen.starts];
    let [state, lens, starts] = parts.map(|part| part.map_or(0, Tensor::len));
    let places = [state, state + lens].map(|at| at as u32);
    let mut given = parts.into_iter().flatten();
    let (first, second) = (given.next(), given.next());
    if second.is_none() {
        return Ok((first.cloned(), places));
    }
    let all = Tensor::empty(gpu, [state + lens + starts], DType::U32)?;
    let mut at = 0;
    for part in parts.into_iter().flatten() {
        all.set_range(at, part.len(), Some(part))?;
        at += part.len();
    }
    Ok((Some(all), places))
}
