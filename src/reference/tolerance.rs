//! All tolerances of all tests and of the doctor, in one table, each with its reason.
//!
//! A kernel is measured against the error that a plain f32 program makes on the same data, so data
//! that is hard in itself is allowed for and a wrong kernel is not. Both must hold:
//!
//!   max |got - want|  ≤  factor · max |naive - want|  +  atol · max(1, max |want|)
//!   ‖got - want‖ / ‖want‖  ≤  factor · ‖naive - want‖ / ‖want‖  +  rtol
//!
//! The second is what fails a tensor whose every value is smaller than atol.

/// What a result may be off by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Of the naive program's error.
    pub factor: f64,
    /// Of the largest value, or of 1 where that is more.
    pub atol: f64,
    /// Of the norm.
    pub rtol: f64,
    /// Half a unit in the last place of what the results are stored in, as a share of the value.
    pub unit: f64,
    /// Why so much.
    pub reason: &'static str,
}

const F32: f64 = 1.0 / (1 << 24) as f64;
const F16: f64 = 1.0 / (1 << 11) as f64;

const fn row(factor: f64, atol: f64, rtol: f64, reason: &'static str) -> Tolerance {
    Tolerance {
        factor,
        atol,
        rtol,
        unit: F32,
        reason,
    }
}

/// A row for results stored in f16.
const fn half(factor: f64, atol: f64, rtol: f64, reason: &'static str) -> Tolerance {
    Tolerance {
        unit: F16,
        ..row(factor, atol, rtol, reason)
    }
}

/// f32 has 24 bits: one rounding is 6e-8 of the value.
pub const EXACT: Tolerance = row(0.0, 0.0, 0.0, "moves or chooses values, rounds nothing");
/// Functions and arithmetic of elements.
pub const ELEMENTWISE: Tolerance = row(
    2.0,
    1e-6,
    1e-6,
    "WGSL grants exp, log and tanh several ulp more than libm takes",
);
/// Functions and arithmetic of elements, backward.
pub const ELEMENTWISE_BWD: Tolerance = row(
    3.0,
    1e-6,
    2e-6,
    "as forward, with a second such function in the product",
);
/// Matrix products.
pub const MATMUL: Tolerance = row(2.0, 1e-6, 1e-6, "another order of the same sum");
/// Matrix products, backward.
pub const MATMUL_BWD: Tolerance = row(3.0, 1e-6, 1e-6, "another order of the same sum");
/// Results stored in f16.
pub const HALF: Tolerance = half(
    2.0,
    1e-3,
    6e-4,
    "a result of f32 rounded to f16, 11 bits: 4.9e-4 of each value at most",
);
/// Results added to in f16.
pub const HALF_CHAIN: Tolerance = half(
    2.0,
    2e-3,
    1.2e-3,
    "a result added to in f16, both terms from f16: up to four such roundings",
);
/// Results stored in f16, backward.
pub const HALF_BWD: Tolerance = half(
    3.0,
    2e-3,
    2e-3,
    "as forward, from results that were rounded so; once more where gradients add up",
);
/// Sums and means.
pub const REDUCE: Tolerance = row(
    2.0,
    1e-6,
    1e-6,
    "another order of the same sum, usually a better one",
);
/// Sums and means, backward.
pub const REDUCE_BWD: Tolerance = row(3.0, 1e-6, 1e-6, "one product an element");
/// Embedding, backward.
pub const EMBEDDING_BWD: Tolerance = row(3.0, 1e-6, 1e-6, "another order of the same sum");
/// Dropout.
pub const DROPOUT: Tolerance = row(
    2.0,
    1e-7,
    2e-7,
    "one product, 1/(1-p) rounded once before it",
);
/// Softmax with cross entropy.
pub const CROSS_ENTROPY: Tolerance = row(
    2.0,
    2e-6,
    2e-6,
    "exp and log at WGSL's accuracy, the maximum taken chunk by chunk",
);
/// Softmax with cross entropy, backward.
pub const CROSS_ENTROPY_BWD: Tolerance = row(
    3.0,
    2e-6,
    5e-6,
    "a softmax near 1 minus 1 keeps only the rounding of exp",
);
/// The LSTM.
pub const LSTM: Tolerance = row(
    2.0,
    2e-6,
    5e-6,
    "σ and tanh at WGSL's accuracy, carried through T steps that contract",
);
/// The LSTM, backward.
pub const LSTM_BWD: Tolerance = row(
    3.0,
    5e-6,
    1e-5,
    "as forward, then summed over T and B in another order",
);
/// Layer normalisation.
pub const LAYER_NORM: Tolerance = row(
    2.0,
    1e-6,
    2e-6,
    "another order of the same two sums; WGSL grants sqrt and division 2.5 ulp each",
);
/// Layer normalisation, backward.
pub const LAYER_NORM_BWD: Tolerance = row(
    3.0,
    2e-6,
    5e-6,
    "as forward, then a difference of means that may cancel",
);
/// Attention.
pub const ATTENTION: Tolerance = row(
    2.0,
    2e-6,
    5e-6,
    "scores in another order, 2^x at WGSL's accuracy, the sum rescaled tile by tile",
);
/// Attention, backward.
pub const ATTENTION_BWD: Tolerance = row(
    3.0,
    5e-6,
    1e-5,
    "the weights from a rounded logarithm; dp - delta cancels; sums over T in another order",
);
/// Attention over thousands of equal weights.
pub const LONG_MEAN: Tolerance = row(
    0.0,
    2e-6,
    1e-4,
    "one running sum of 8,192 terms: a mean of 0.01 carries the rounding of sums near 100",
);
/// Optimisers.
pub const OPTIMIZER: Tolerance = row(
    2.0,
    1e-6,
    1e-6,
    "a few roundings a step; WGSL grants sqrt and division 2.5 ulp",
);
/// The norm of all gradients.
pub const NORM: Tolerance = row(2.0, 1e-6, 1e-6, "another order of the same sum of squares");
/// Whole LSTM models.
pub const MODEL: Tolerance = row(
    2.0,
    5e-6,
    1e-5,
    "embedding, LSTM, linear: the rows above in turn",
);
/// Whole LSTM models, backward.
pub const MODEL_BWD: Tolerance = row(3.0, 1e-5, 3e-5, "the rows above in turn, backward");
/// Losses of a training run.
pub const TRAINING_LOSS: Tolerance = row(
    2.0,
    2e-5,
    2e-5,
    "ten steps of Adam: a change of 1e-3 each, of relative error 1e-3 at most",
);
/// Parameters after a training run.
pub const TRAINED_PARAMETER: Tolerance = row(
    3.0,
    5e-5,
    5e-5,
    "Adam divides by √v: where a gradient is nothing but rounding, its step of lr = 1e-3 is too",
);
/// Whole transformers.
pub const TRANSFORMER: Tolerance = row(
    2.0,
    1e-5,
    2e-5,
    "layer norms divide by what may be small; softmax; the rows above in turn",
);
/// Whole transformers, backward.
pub const TRANSFORMER_BWD: Tolerance = row(
    3.0,
    2e-5,
    5e-5,
    "as forward, each layer's rounding carried back through those below",
);
/// For the references at f64 against PyTorch at f64, rounded once to f32 on disk.
pub const FIXTURE: Tolerance = row(0.0, 1e-7, 1e-7, "one rounding to f32 in the file");
/// For gradients against central differences at f64.
pub const DIFFERENCES: Tolerance = row(
    0.0,
    1e-7,
    1e-7,
    "step 1e-5: truncation about 1e-10, cancellation about 1e-11",
);

/// All rows, by name.
pub const ALL: [(&str, Tolerance); 31] = [
    ("EXACT", EXACT),
    ("ELEMENTWISE", ELEMENTWISE),
    ("ELEMENTWISE_BWD", ELEMENTWISE_BWD),
    ("MATMUL", MATMUL),
    ("MATMUL_BWD", MATMUL_BWD),
    ("HALF", HALF),
    ("HALF_CHAIN", HALF_CHAIN),
    ("HALF_BWD", HALF_BWD),
    ("REDUCE", REDUCE),
    ("REDUCE_BWD", REDUCE_BWD),
    ("EMBEDDING_BWD", EMBEDDING_BWD),
    ("DROPOUT", DROPOUT),
    ("CROSS_ENTROPY", CROSS_ENTROPY),
    ("CROSS_ENTROPY_BWD", CROSS_ENTROPY_BWD),
    ("LSTM", LSTM),
    ("LSTM_BWD", LSTM_BWD),
    ("LAYER_NORM", LAYER_NORM),
    ("LAYER_NORM_BWD", LAYER_NORM_BWD),
    ("ATTENTION", ATTENTION),
    ("ATTENTION_BWD", ATTENTION_BWD),
    ("LONG_MEAN", LONG_MEAN),
    ("OPTIMIZER", OPTIMIZER),
    ("NORM", NORM),
    ("MODEL", MODEL),
    ("MODEL_BWD", MODEL_BWD),
    ("TRAINING_LOSS", TRAINING_LOSS),
    ("TRAINED_PARAMETER", TRAINED_PARAMETER),
    ("TRANSFORMER", TRANSFORMER),
    ("TRANSFORMER_BWD", TRANSFORMER_BWD),
    ("FIXTURE", FIXTURE),
    ("DIFFERENCES", DIFFERENCES),
];
