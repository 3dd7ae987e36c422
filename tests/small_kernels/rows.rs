//! Chosen rows, means of rows, losses against targets.

use super::reference::loss::{TargetLoss, target_loss};
use super::reference::rows::{mean_pool, mean_pool_bwd, select_rows};
use super::support::*;
use melos::device::Groups;
use melos::kernels::Variant;

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

#[test]
fn gathered_rows() {
    for (n, width) in [(1, 1), (3, 63), (65, 3), (9, 257), (7, 260)] {
        let x = noise(n * width, 1, 2.0);
        // The last first, one twice, one beyond, one marked as none.
        let rows = [n as u32 - 1, 0, n as u32 - 1, n as u32, u32::MAX];
        let (vec4, values) = wide(width);
        for accumulate in [0, 1] {
            let dev = Dev::new();
            let y = dev.out_for(rows.len() * width, accumulate);
            let params = [rows.len(), width / values, n].map(|v| v as u32);
            let params = [params[0], params[1], params[2], accumulate];
            let bound = [&dev.u32(&rows), &dev.f32(&x), &y.tensor];
            let variant = Variant::new().with("VEC4", vec4);
            let groups = Groups::Linear(rows.len() as u64);
            dev.run("gather_rows", &variant, params, &bound, groups);
            let want = select_rows(&f64s(&x), width, &rows).into_iter();
            let want: Vec<_> = want.map(|v| exactly(v + before(accumulate))).collect();
            dev.check(&format!("gather_rows {n} x {width}"), &y, &want);
        }
    }
}

#[test]
fn mean_pooling() {
    for (batch, steps, width) in [(1, 1, 1), (5, 63, 3), (4, 3, 65), (5, 17, 257), (6, 5, 260)] {
        let dev = Dev::new();
        // Full, none, one, more than there is, and what comes.
        let lens: Vec<u32> = [steps as u32, 0, 1, 1000, 2, 3][..batch].to_vec();
        let mut x = noise(batch * steps * width, 2, 2.0);
        if batch > 2 {
            x[(steps + steps / 2) * width] = f32::NAN; // padding is not read
        }
        let (vec4, values) = wide(width);
        let variant = Variant::new().with("VEC4", vec4);
        let columns = (width / values) as u32;
        let y = dev.out(batch * width);
        let tlens = dev.u32(&lens);
        let bound = [&tlens, &dev.f32(&x), &y.tensor];
        let grid = Groups::Grid([columns.div_ceil(64), batch as u32, 1]);
        let params = [steps as u32, columns];
        dev.run("mean_pool_fwd", &variant, params, &bound, grid);
        let want = mean_pool(&f64s(&x), steps, width, &lens).into_iter();
        let what = format!("{batch} x {steps} x {width}");
        let want: Vec<_> = want.map(|v| near(v, 4.0)).collect();
        dev.check(&format!("mean_pool_fwd {what}"), &y, &want);

        let dy = noise(batch * width, 3, 1.0);
        for accumulate in [0, 1] {
            let dx = dev.out_for(batch * steps * width, accumulate);
            let bound = [&tlens, &dev.f32(&dy), &dx.tensor];
            let rows = (batch * steps) as u32;
            let params = [rows, steps as u32, columns, accumulate];
            let groups = Groups::Linear(u64::from(rows));
            dev.run("mean_pool_bwd", &variant, params, &bound, groups);
            let want = mean_pool_bwd(steps, width, &lens, &f64s(&dy)).into_iter();
            let want: Vec<_> = want.map(|v| exactly(v + before(accumulate))).collect();
            dev.check(&format!("mean_pool_bwd {what}"), &dx, &want);
        }
    }
}

#[test]
fn losses_against_targets() {
    for (op, f) in [
        (0, TargetLoss::BinaryCrossEntropy),
        (1, TargetLoss::SquaredError),
    ] {
        for (rows, width) in [(1, 1), (7, 3), (65, 1), (5, 63), (4, 257), (3, 260)] {
            let dev = Dev::new();
            let mut z = noise(rows * width, 4, 6.0);
            let targets: Vec<f32> = noise(rows * width, 5, 1.0)
                .iter()
                .map(|t| t.abs())
                .collect();
            let mut weights: Vec<f32> = (0..rows).map(|r| 0.25 + r as f32 / 4.0).collect();
            if rows > 2 {
                z[..3].copy_from_slice(&[300.0, -300.0, 12.0]);
                weights[1] = 0.0;
                z[width] = f32::NAN; // rows without weight are not read
            }
            let variant = Variant::new().with("OP", op);
            let (tz, tt, tw) = (dev.f32(&z), dev.f32(&targets), dev.f32(&weights));
            let loss = dev.out(rows);
            let bound = [&tz, &tt, &tw, &loss.tensor];
            let params = [rows as u32, width as u32];
            let groups = Groups::Linear(rows as u64);
            dev.run("target_loss_fwd", &variant, params, &bound, groups);
            let row = |r: usize| {
                let cells = r * width..(r + 1) * width;
                let (z, t) = (f64s(&z[cells.clone()]), f64s(&targets[cells]));
                target_loss(f, &z, &t, &[weights[r].into()])
            };
            let want: Vec<_> = (0..rows).map(|r| exactly(row(r).0)).collect();
            dev.check(&format!("{f:?} {rows} x {width}"), &loss, &want);
            for accumulate in [0, 1] {
                let dz = dev.out_for(rows * width, accumulate);
                let bound = [&tz, &tt, &tw, &dev.f32(&[-2.5]), &dz.tensor];
                let params = [rows as u32, width as u32, accumulate];
                let groups = Groups::cover(rows * width, 256);
                dev.run("target_loss_bwd", &variant, params, &bound, groups);
                let grads = (0..rows).flat_map(|r| row(r).1);
                let want: Vec<_> = grads
                    .map(|g| near(-2.5 * g + before(accumulate), 2.5 * g.abs() + 2.0))
                    .collect();
                dev.check(&format!("{f:?} backward {rows} x {width}"), &dz, &want);
            }
        }
    }
}

#[test]
fn a_sure_label_keeps_its_small_loss() {
    // ln(1 + e⁻²⁰) = 2e-9: the plain form in f32 gives 0.
    let dev = Dev::new();
    let loss = dev.out(1);
    let bound = [20.0, 1.0, 1.0].map(|v| dev.f32(&[v]));
    let bound = [&bound[0], &bound[1], &bound[2], &loss.tensor];
    let variant = Variant::new().with("OP", 0);
    dev.run(
        "target_loss_fwd",
        &variant,
        [1, 1],
        &bound,
        Groups::Linear(1),
    );
    let (got, want) = (f64::from(dev.read(&loss)[0]), (-20.0f64).exp());
    // WGSL lets exp(-20) err by 3 + 2·20 units in the last place.
    assert!((got - want).abs() < 6e-6 * want, "{got} should be {want}");
}
