//! The attention kernels in both forms: what they write, and what they leave alone.

use super::support::*;
use melos::device::Groups;
use melos::kernels::Variant;
use melos::tensor::Tensor;

const BATCH: usize = 2;
const HEADS: usize = 2;
const QUERIES: usize = 37;
const KEYS: usize = 45;
const LENS: [u32; BATCH] = [45, 20];

/// Columns of q, k and v in rows that hold others too.
struct Rows {
    width: usize,
    row: usize,
    first: usize,
}

impl Rows {
    fn at(&self, rows: usize, b: usize, t: usize, h: usize, d: usize) -> usize {
        (b * rows + t) * self.row + self.first + h * self.width + d
    }
}

struct Expected {
    o: Vec<Want>,
    stats: Vec<Want>,
    dq: Vec<Want>,
    dk: Vec<Want>,
    dv: Vec<Want>,
}

/// The formulas of the contracts, causal, with what an accumulating kernel starts from.
fn expected(
    r: &Rows,
    [q, k, v]: [&[f32]; 3],
    dout: &[f32],
    scale: f64,
    accumulate: u32,
) -> Expected {
    let own = |values: &[f32], at: usize| f64::from(values[at]);
    let old = before(accumulate);
    // Outside of their columns the gradients stay as they were.
    let untouched = |rows: usize| {
        let value = if accumulate == 0 { f64::NAN } else { old };
        vec![near(value, 0.0); BATCH * rows * r.row]
    };
    let mut e = Expected {
        o: vec![],
        stats: vec![near(0.0, 0.0); BATCH * HEADS * QUERIES * 2],
        dq: untouched(QUERIES),
        dk: untouched(KEYS),
        dv: untouched(KEYS),
    };
    for (b, h) in (0..BATCH * HEADS).map(|i| (i / HEADS, i % HEADS)) {
        for d in 0..r.width {
            (0..QUERIES).for_each(|t| e.dq[r.at(QUERIES, b, t, h, d)] = near(old, 10.0));
            for s in 0..KEYS {
                e.dk[r.at(KEYS, b, s, h, d)] = near(old, 10.0);
                e.dv[r.at(KEYS, b, s, h, d)] = near(old, 10.0);
            }
        }
    }
    for (b, t, h) in
        (0..BATCH * QUERIES * HEADS).map(|i| (i / HEADS / QUERIES, i / HEADS % QUERIES, i % HEADS))
    {
        let valid = LENS[b] as usize;
        let seen = valid.min(valid.saturating_sub(QUERIES) + t + 1);
        let dot = |x: &[f32], xs: usize, xt: usize, y: &[f32], s: usize| -> f64 {
            (0..r.width)
                .map(|d| own(x, r.at(xs, b, xt, h, d)) * own(y, r.at(KEYS, b, s, h, d)))
                .sum()
        };
        let powers: Vec<f64> = (0..seen)
            .map(|s| (scale * dot(q, QUERIES, t, k, s)).exp())
            .collect();
        let sum: f64 = powers.iter().sum();
        let dense = ((b * QUERIES + t) * HEADS + h) * r.width;
        let mut delta = 0.0;
        for d in 0..r.width {
            let terms = powers.iter().enumerate();
            let o: f64 = terms
                .map(|(s, p)| p / sum * own(v, r.at(KEYS, b, s, h, d)))
                .sum();
            delta += o * own(dout, dense + d);
            e.o.push(near(o, 2.0));
        }
        let row = 2 * ((b * HEADS + h) * QUERIES + t);
        e.stats[row] = near(sum.log2(), 10.0);
        e.stats[row + 1] = near(delta, 10.0);
        for (s, power) in powers.iter().enumerate() {
            let p = power / sum;
            let dp: f64 = (0..r.width)
                .map(|d| own(dout, dense + d) * own(v, r.at(KEYS, b, s, h, d)))
                .sum();
            let ds = scale * p * (dp - delta);
            for d in 0..r.width {
                let (query, key) = (r.at(QUERIES, b, t, h, d), r.at(KEYS, b, s, h, d));
                e.dq[query].value += ds * own(k, key);
                e.dk[key].value += ds * own(q, query);
                e.dv[key].value += p * own(dout, dense + d);
            }
        }
    }
    e
}

/// NaN where nothing may be written, else near.
fn check(dev: &Dev, what: &str, out: &Out, want: &[Want]) {
    let got = dev.read(out);
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*g) - w.value).abs();
        let untouched = g.is_nan() && w.value.is_nan();
        assert!(
            untouched || error <= 2e-6 * w.scale || f64::from(*g) == w.value,
            "{what}: element {i} is {g}, should be {}",
            w.value
        );
    }
}

#[test]
fn attention_in_both_forms() {
    let forms: &[&str] = if Dev::new().gpu.caps().broadcasts() {
        &["", "_subgroup"]
    } else {
        &[""]
    };
    for form in forms {
        for (width, accumulate) in [(5, 0), (8, 0), (8, 1), (3, 1)] {
            one(form, width, accumulate);
        }
    }
}

fn one(form: &str, width: usize, accumulate: u32) {
    let dev = Dev::new();
    let r = Rows {
        width,
        row: HEADS * width + 8,
        first: 4,
    };
    let scale = 0.6f32;
    let of = |rows: usize, seed| noise(BATCH * rows * r.row, seed, 1.0);
    let [q, k, v] = [of(QUERIES, 1), of(KEYS, 2), of(KEYS, 3)];
    let dout = noise(BATCH * QUERIES * HEADS * width, 4, 1.0);
    let want = expected(&r, [&q, &k, &v], &dout, scale.into(), accumulate);
    let vec4 = wide(width).0;
    let cols = if form.is_empty() { 32u32 } else { 8 };
    let plain = Variant::new().with("VEC4", vec4);
    let variant = plain.clone().with("COLS", cols).with("LENS", true);
    let (row, first) = (r.row as u32, r.first as u32);
    let params = [
        QUERIES as u32,
        KEYS as u32,
        HEADS as u32,
        1,
        width as u32,
        row,
        first,
        row,
        first,
        row,
        first,
        1,
        1,
        u32::MAX,
        0,
        0,
        0,
        0,
        accumulate,
        accumulate,
        bits(scale),
        0,
        bits(1.0),
        0,
        0,
    ];
    let [q, k, v, dout_at] = [&q, &k, &v, &dout].map(|x| dev.f32(x));
    let lens = dev.u32(&LENS);
    let o = dev.out(BATCH * QUERIES * HEADS * width);
    let stats = dev.out(BATCH * HEADS * QUERIES * 2);
    let inputs = [&q, &k, &v, &lens];
    let run = |name: &str, variant: &Variant, others: &[&Tensor], rows: usize| {
        let all = [&inputs[..], others].concat();
        // A dispatch for each tile, the last one first.
        for start in (0..rows).step_by(32).rev() {
            let mut params = params;
            params[23..].copy_from_slice(&[start as u32, (rows - start).min(32) as u32]);
            let grid = Groups::Grid([1, HEADS as u32, BATCH as u32]);
            dev.run(
                &format!("attention_{name}{form}"),
                variant,
                params,
                &all,
                grid,
            );
        }
    };
    let ahead = variant.clone().with("LSE", true);
    run("fwd", &ahead, &[&o.tensor, &stats.tensor], QUERIES);
    let n = (BATCH * QUERIES * HEADS) as u32;
    dev.run(
        "attention_delta",
        &plain,
        [n, QUERIES as u32, HEADS as u32, width as u32],
        &[&o.tensor, &dout_at, &stats.tensor],
        Groups::cover(n as usize, 64),
    );
    let [dq, dk, dv] =
        [QUERIES, KEYS, KEYS].map(|rows| dev.out_for(BATCH * rows * r.row, accumulate));
    run(
        "dq",
        &variant,
        &[&dout_at, &stats.tensor, &dq.tensor],
        QUERIES,
    );
    let others = [&dout_at, &stats.tensor, &dk.tensor, &dv.tensor];
    run("dkv", &variant, &others, KEYS);
    let what = |name: &str| format!("attention_{name}{form}, D {width}, accumulate {accumulate}");
    for (name, out, want) in [
        ("fwd", &o, &want.o),
        ("fwd and delta", &stats, &want.stats),
        ("dq", &dq, &want.dq),
        ("dk", &dk, &want.dk),
        ("dv", &dv, &want.dv),
    ] {
        check(&dev, &what(name), out, want);
    }
}
