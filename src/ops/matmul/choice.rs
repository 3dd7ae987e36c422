//! Which forms of a product are worth timing, and on what: arithmetic, no device.

use std::fmt;

use super::candidate::Candidate;
use super::image;
use super::sizes::{Hardware, Sizes};
use super::split;
use super::vec;
use crate::device::Rung;

/// Products that share a choice: equal transpositions, sizes equal when rounded up to powers of
/// two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeClass {
    /// Rows of C.
    pub m: u32,
    /// Columns of C.
    pub n: u32,
    /// Inner size.
    pub k: u32,
    /// Number of products.
    pub batch: u32,
    /// A is read transposed.
    pub trans_a: bool,
    /// B is read transposed.
    pub trans_b: bool,
    /// A and B hold f16.
    pub half: bool,
    /// Images of A and B are among the forms.
    pub image: bool,
    /// Parts of k are among the forms.
    pub split: bool,
    /// `matmul_vec` is among the forms.
    pub vec: bool,
}

impl SizeClass {
    /// The class of a product.
    pub fn of(p: &Sizes, caps: &Hardware) -> SizeClass {
        let round = |size: u32| size.max(1).checked_next_power_of_two().unwrap_or(1 << 31);
        SizeClass {
            m: round(p.m),
            n: round(p.n),
            k: round(p.k),
            batch: round(p.batch),
            trans_a: p.a.extent == 1 && p.a.k > 1,
            trans_b: p.b.k == 1 && p.b.extent > 1,
            half: p.half == [true; 2],
            image: caps.cpu && has_image_form(p, caps),
            split: !caps.cpu && split::parts(p).is_some(),
            vec: vec::form(p, caps.cpu).is_some(),
        }
    }

    /// A product of this class or, where that would take long, a smaller one of its shape: the
    /// order of the forms no longer changes at such sizes.
    #[must_use]
    pub fn sample(mut self, cpu: bool) -> SizeClass {
        // Some milliseconds on 2 CPU cores and on an integrated GPU.
        let most = if cpu { 1u64 << 25 } else { 1 << 32 };
        loop {
            let small = work(&[self.m, self.n, self.k, self.batch]) <= most;
            let sizes = [&mut self.m, &mut self.n, &mut self.k, &mut self.batch];
            let Some(largest) = sizes.into_iter().max_by_key(|s| **s) else {
                return self;
            };
            if small || *largest <= 256 {
                return self;
            }
            *largest /= 2;
        }
    }
}

impl fmt::Display for SizeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |transposed: bool| if transposed { 'T' } else { 'N' };
        let (a, b) = (letter(self.trans_a), letter(self.trans_b));
        write!(f, "{a}{b} {}x{}x{}", self.m, self.n, self.k)?;
        if self.batch > 1 {
            write!(f, " x{}", self.batch)?;
        }
        if self.half {
            write!(f, " f16")?;
        }
        if self.image {
            write!(f, " image")?;
        }
        if self.split {
            write!(f, " split")?;
        }
        if self.vec {
            write!(f, " vec")?;
        }
        Ok(())
    }
}

/// Multiplications of a product of such sizes.
fn work(sizes: &[u32]) -> u64 {
    let times = |all: u64, &size: &u32| all.saturating_mul(size.into());
    sizes.iter().fold(1, times)
}

/// Whether images are among the forms of a product on a CPU adapter.
fn has_image_form(p: &Sizes, caps: &Hardware) -> bool {
    // Compiling that takes half a second, which small products never win back; less for few rows.
    let least = if p.m <= 8 { 1 << 22 } else { 1 << 23 };
    let large = work(&[p.m, p.n, p.k, p.batch]) >= least;
    caps.image_rows > 0 && large && image::suits(p, caps.images)
}

/// The forms worth timing for `product` on an adapter, best guess first; never empty.
pub fn candidates(product: &Sizes, caps: &Hardware) -> Vec<Candidate> {
    let direct = Candidate::Direct {
        wg: if caps.cpu { 16 } else { 64 },
    };
    let mut out = Vec::new();
    let vec = vec::form(product, caps.cpu);
    if caps.cpu {
        // It goes through B for each four rows.
        out.extend(vec.filter(|_| product.m <= 4));
        if caps.broadcasts {
            if has_image_form(product, caps) {
                out.push(Candidate::Image {
                    rows: image::rows(product.m, caps.image_rows),
                });
            }
            // 32 rows an invocation reuse B most, but pad few rows to many.
            let rows = if product.m <= 16 { 8 } else { 32 };
            out.push(Candidate::Subgroup { rows, wg: 16 });
        }
        out.extend(vec.filter(|_| product.m > 4));
        // Below this, two dispatches more cost as much as the product.
        let tiny = work(&[product.m, product.n, product.k]) < 1 << 15;
        out.insert(if tiny { 0 } else { out.len() }, direct);
        return out;
    }
    let fits = |bm: u32, bn: u32| {
        caps.tiles && bm * bn / 64 <= caps.invocations && (bm + bn + 8) * 32 <= caps.workgroup_bytes
    };
    let tiles = |bm: u32, bn: u32| {
        let count = |extent: u32, by: u32| u64::from(extent.div_ceil(by));
        count(product.m, bm) * count(product.n, bn) * u64::from(product.batch)
    };
    let units = caps.matrix.filter(|_| product.half == [true; 2]);
    if let Some(parts) = split::parts(product).filter(|_| units.is_some() || fits(64, 64)) {
        out.push(Candidate::Split { parts, units });
    }
    out.extend(units.map(Candidate::Coop));
    // Large tiles reuse more but need enough of them to fill the device.
    let large = fits(128, 128) && tiles(128, 128) >= 128;
    if large {
        out.push(Candidate::Tile { bm: 128, bn: 128 });
    }
    out.extend(vec);
    if product.m <= 8 {
        out.push(direct);
    }
    if fits(64, 64) {
        out.push(Candidate::Tile { bm: 64, bn: 64 });
    }
    if caps.broadcasts && product.m > 8 {
        out.push(Candidate::Subgroup { rows: 8, wg: 64 });
    }
    if !out.contains(&direct) {
        out.push(direct);
    }
    out
}

/// On CPU adapters a form this much slower by estimate is not timed: compiling it alone takes
/// longer than tens of training steps could win.
const HOPELESS: f64 = 2.0;

/// The forms to choose among, best guess first; never empty. `forced` leaves its own only.
pub fn forms(product: &Sizes, caps: &Hardware, forced: Option<Rung>) -> Vec<Candidate> {
    let mut forms = candidates(product, caps);
    if let Some(rung) = forced {
        forms.retain(|form| form.rung() == rung);
        if forms.is_empty() {
            forms.push(match rung {
                Rung::Portable => Candidate::Direct { wg: 64 },
                // Images' for what no copy makes one of.
                Rung::Subgroup | Rung::Image => Candidate::Subgroup { rows: 8, wg: 64 },
                // The matrix units' for what they cannot multiply.
                Rung::Tile | Rung::Matrix => Candidate::Tile { bm: 64, bn: 64 },
            });
        }
        return forms;
    }
    if caps.cpu {
        // The same loop with dearer loads.
        if forms.iter().any(|form| form.rung() == Rung::Image) {
            forms.retain(|form| form.rung() != Rung::Subgroup);
        }
        forms.sort_by(|a, b| estimate(product, *a).total_cmp(&estimate(product, *b)));
    }
    forms
}

/// The first of [`forms`], those that may well be the fastest; never empty.
pub fn worth_timing(product: &Sizes, caps: &Hardware, forced: Option<Rung>) -> Vec<Candidate> {
    let mut forms = forms(product, caps, forced);
    if caps.cpu && forced.is_none() {
        let best = forms.first().map_or(0.0, |form| estimate(product, *form));
        forms.retain(|form| estimate(product, *form) < HOPELESS * best);
    }
    forms
}

/// Seconds on one core of a CPU adapter, from rates measured on lavapipe.
fn estimate(p: &Sizes, form: Candidate) -> f64 {
    let up = |size: u32, to: u32| f64::from(size.div_ceil(to)) * f64::from(to);
    let (k, batch) = (f64::from(p.k), f64::from(p.batch));
    match form {
        // Whole subgroups of eight lanes, eight rows by four columns each.
        Candidate::Direct { .. } => 2.0 * up(p.m, 8) * up(p.n, 32) * k * batch / DIRECT + DISPATCH,
        // B goes by for each four rows.
        Candidate::Vec { .. } | Candidate::VecSubgroup => {
            let rows = up(p.m, 4) / 4.0 * VEC_LOAD + f64::from(p.m) * VEC_ROW;
            rows * up(p.n, 8) * k * batch + DISPATCH
        }
        Candidate::Subgroup { rows, wg } => {
            let rate = if rows > 8 { SUBGROUP_32 } else { SUBGROUP_8 };
            let (m, n) = (up(p.m, rows), up(p.n, 4 * wg));
            let packed = 4.0 * k * batch * (m + n);
            2.0 * m * n * k * batch / rate + packed / PACK + 3.0 * DISPATCH
        }
        Candidate::Image { rows } => {
            let (m, n) = (up(p.m, rows), up(p.n, 64));
            let copied = 4.0 * k * batch * (f64::from(p.m) + f64::from(p.n));
            2.0 * m * n * k * batch / image::rate(rows) + copied / COPY + 3.0 * DISPATCH
        }
        Candidate::Tile { .. } | Candidate::Coop(_) | Candidate::Split { .. } => {
            2.0 * up(p.m, 64) * up(p.n, 64) * k * batch / TILE + DISPATCH
        }
    }
}

/// Operations a second of the forms.
const DIRECT: f64 = 3.8e9;
const SUBGROUP_8: f64 = 15e9;
const SUBGROUP_32: f64 = 27e9;
/// Seconds that `matmul_vec` takes to load a number of B, and to multiply it.
const VEC_LOAD: f64 = 0.65e-9;
const VEC_ROW: f64 = 0.1e-9;
const TILE: f64 = 4.7e9;
/// Bytes a second that packing writes.
const PACK: f64 = 2e9;
/// Bytes a second that copies into images write.
const COPY: f64 = 10e9;
/// Seconds to start a dispatch.
const DISPATCH: f64 = 20e-6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{ImageLimits, MatrixUnits};

    const NO_IMAGES: ImageLimits = ImageLimits { side: 0, layers: 0 };
    const IMAGES: ImageLimits = ImageLimits {
        side: 16_384,
        layers: 2048,
    };

    const LAVAPIPE: Hardware = Hardware {
        cpu: true,
        broadcasts: true,
        tiles: true,
        images: NO_IMAGES,
        image_rows: 0,
        workgroup_bytes: 32 << 10,
        invocations: 1024,
        matrix: None,
    };

    #[test]
    fn sizes_of_one_class_share_a_choice() {
        let class =
            |m, n, k, ta, tb| SizeClass::of(&Sizes::new(m, n, k, ta, tb), &LAVAPIPE).to_string();
        assert_eq!(class(2048, 10_000, 512, false, true), "NT 2048x16384x512");
        assert_eq!(class(2000, 8200, 300, false, true), "NT 2048x16384x512");
        assert_eq!(class(5, 7, 9, true, false), "TN 8x8x16");
        let batched = Sizes::new(5, 7, 9, false, false).batched(12);
        assert_eq!(
            SizeClass::of(&batched, &LAVAPIPE).to_string(),
            "NN 8x8x16 x16"
        );
    }

    #[test]
    fn samples_are_small_and_keep_few_rows_few() {
        let class = SizeClass::of(&Sizes::new(8, 10_000, 512, false, true), &LAVAPIPE);
        let sample = class.sample(true);
        assert_eq!((sample.m, sample.k), (8, 512));
        assert!(sample.n < 16_384 && sample.n >= 512);
    }

    #[test]
    fn large_products_on_a_cpu_are_not_timed_and_a_rung_leaves_its_own() {
        let large = Sizes::new(512, 2048, 512, false, true);
        let forms = worth_timing(&large, &LAVAPIPE, None);
        assert_eq!(forms, [Candidate::Subgroup { rows: 32, wg: 16 }]);
        let able = Hardware {
            images: IMAGES,
            image_rows: 40,
            ..LAVAPIPE
        };
        let forms = worth_timing(&large, &able, None);
        assert_eq!(forms, [Candidate::Image { rows: 40 }]);
        for rung in [Rung::Portable, Rung::Subgroup, Rung::Image, Rung::Tile] {
            let forms = worth_timing(&large, &able, Some(rung));
            assert!(!forms.is_empty() && forms.iter().all(|form| form.rung() == rung));
        }
        // Forced, but no copy makes an image of its operands.
        let odd = Sizes::new(512, 2048, 510, false, true);
        let forms = worth_timing(&odd, &able, Some(Rung::Image));
        assert_eq!(forms, [Candidate::Subgroup { rows: 8, wg: 64 }]);
        let gpu = Hardware {
            cpu: false,
            broadcasts: true,
            tiles: true,
            ..LAVAPIPE
        };
        assert!(worth_timing(&large, &gpu, None).len() > 1);
        let units = MatrixUnits {
            size: 16,
            subgroup: 32,
        };
        let with_units = Hardware {
            matrix: Some(units),
            ..gpu
        };
        let half = Sizes {
            half: [true; 2],
            ..large
        };
        let best = |product| worth_timing(product, &with_units, None)[0];
        assert_eq!(best(&half), Candidate::Coop(units));
        assert_ne!(best(&large), Candidate::Coop(units));
        let forms = worth_timing(&large, &with_units, Some(Rung::Matrix));
        assert_eq!(forms, [Candidate::Tile { bm: 64, bn: 64 }]);
    }

    #[test]
    fn the_first_candidate_fits_size_and_adapter() {
        let able = Hardware {
            images: IMAGES,
            image_rows: 40,
            ..LAVAPIPE
        };
        let first = |m, n, k| candidates(&Sizes::new(m, n, k, false, true), &able)[0];
        assert!(matches!(first(1, 2, 512), Candidate::Direct { .. }));
        assert_eq!(first(1, 2048, 512), Candidate::Vec { wg: 8 });
        assert_eq!(first(8, 2048, 512), Candidate::Image { rows: 8 });
        assert_eq!(first(512, 512, 512), Candidate::Image { rows: 40 });
        assert_eq!(
            first(512, 512, 102),
            Candidate::Subgroup { rows: 32, wg: 16 }
        );
        let bare = Hardware {
            broadcasts: false,
            ..able
        };
        let all = candidates(&Sizes::new(512, 512, 512, false, false), &bare);
        assert!(matches!(all[..], [Candidate::Direct { .. }]));
    }

    #[test]
    fn few_tiles_of_a_long_k_are_made_in_parts() {
        let gpu = Hardware {
            cpu: false,
            broadcasts: true,
            tiles: true,
            invocations: 1024,
            ..LAVAPIPE
        };
        let first = |p: &Sizes| candidates(p, &gpu)[0];
        let split = |parts| Candidate::Split { parts, units: None };
        // A gradient of LoRA's: 12 tiles, 16 for the class.
        let lora = Sizes::new(8, 768, 1000, true, false);
        assert_eq!(first(&lora), split(4));
        assert_eq!(first(&Sizes::new(64, 64, 100_000, false, true)), split(128));
        let bias = Sizes {
            has_bias: true,
            ..lora
        };
        for p in [
            bias,
            lora.batched(2),
            Sizes { ldc: 800, ..lora },
            Sizes {
                half_c: true,
                ..lora
            },
        ] {
            assert!(!matches!(first(&p), Candidate::Split { .. }), "{p:?}");
        }
        let large = Sizes::new(2048, 2048, 4096, false, true);
        assert!(!matches!(first(&large), Candidate::Split { .. }));
        assert!(SizeClass::of(&lora, &gpu).to_string().ends_with(" split"));
        assert!(!SizeClass::of(&lora, &LAVAPIPE).split);
    }
}
