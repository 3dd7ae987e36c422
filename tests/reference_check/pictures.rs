//! Operators on pictures: by central differences, and against PyTorch's (`tools/make_picture_fixtures.py`).

use serde_json::Value;

use crate::reference::batch_norm::{moments, normalise, normalise_bwd, running};
use crate::reference::conv::{Adaptive, Slide};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, assert_near, cast};
use crate::{assert_gradient, differences, dot, normal};

fn slide(size: [usize; 2], c: usize) -> Slide {
    Slide {
        n: 2,
        size,
        c,
        kernel: [3, 2],
        stride: [2, 1],
        padding: [1, 1],
        dilation: [1, 2],
    }
}

#[test]
fn gradients_by_differences() {
    let mut data = Data::new(4);
    let s = slide([5, 4], 4);
    let x = normal(&mut data, 2 * 5 * 4 * 4);
    for groups in [1, 2, 4] {
        let w = normal(&mut data, 4 * 6 * 4 / groups);
        let b = normal(&mut data, 4);
        let dy = normal(&mut data, s.conv(&x, &w, None, groups).len());
        let of = |x: &[f64], w: &[f64], b: &[f64]| dot(&s.conv(x, w, Some(b), groups), &dy);
        let [dx, dw, db] = s.conv_bwd(&x, &w, groups, &dy);
        assert_gradient("conv x", &dx, &differences(&x, |x| of(x, &w, &b)));
        assert_gradient("conv w", &dw, &differences(&w, |w| of(&x, w, &b)));
        assert_gradient("conv b", &db, &differences(&b, |b| of(&x, &w, b)));
    }
    let dy = normal(&mut data, s.max_pool(&x).len());
    let want = differences(&x, |x| dot(&s.max_pool(x), &dy));
    assert_gradient("max", &s.max_pool_bwd(&x, &dy), &want);
    let want = differences(&x, |x| dot(&s.avg_pool(x), &dy));
    assert_gradient("avg", &s.avg_pool_bwd(&dy), &want);
    let a = Adaptive {
        n: 2,
        size: [5, 4],
        c: 4,
        windows: [3, 6],
    };
    let dy = normal(&mut data, a.avg_pool(&x).len());
    let want = differences(&x, |x| dot(&a.avg_pool(x), &dy));
    assert_gradient("adaptive", &a.avg_pool_bwd(&dy), &want);

    let [gamma, beta] = [0, 1].map(|_| normal(&mut data, 4));
    let dy = normal(&mut data, x.len());
    for own in [true, false] {
        let fixed = moments(&x, 4);
        let y = |x: &[f64], gamma: &[f64], beta: &[f64]| {
            let [mean, var] = if own { moments(x, 4) } else { fixed.clone() };
            dot(&normalise(x, [&mean, &var], [gamma, beta], 1e-5), &dy)
        };
        let [mean, var] = &fixed;
        let [dx, dgamma, dbeta] = normalise_bwd(&x, [mean, var], &gamma, 1e-5, own, &dy);
        assert_gradient("norm x", &dx, &differences(&x, |x| y(x, &gamma, &beta)));
        assert_gradient("gamma", &dgamma, &differences(&gamma, |g| y(&x, g, &beta)));
        assert_gradient("beta", &dbeta, &differences(&beta, |b| y(&x, &gamma, b)));
    }
}

/// 64-bit FNV-1a.
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn uniform(name: &str, count: usize, low: f64, high: f64) -> Vec<f64> {
    cast(&Data::new(seed_of(name)).uniform(count, low, high))
}

fn numbers(json: &Value) -> Vec<f64> {
    let all = json.as_array().expect("a list").iter();
    all.map(|v| v.as_f64().expect("a number")).collect()
}

fn pair(json: &Value) -> [usize; 2] {
    let both = numbers(json);
    [both[0] as usize, both[1] as usize]
}

#[test]
fn as_pytorch_has_them() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/pictures/operators.json"
    );
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in cases.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let shapes: Vec<Vec<usize>> = case["shapes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|shape| numbers(shape).iter().map(|v| *v as usize).collect())
            .collect();
        let count = |n: usize| shapes[n].iter().product();
        let inputs: Vec<Vec<f64>> = (0..shapes.len())
            .map(|n| uniform(&format!("{name}/{n}"), count(n), -1.0, 1.0))
            .collect();
        let x = &inputs[0];
        let [n, height, width, c] = shapes[0][..] else {
            panic!("{name}: x is not (N, H, W, C)")
        };
        let size = [height, width];
        let sides = |kernel: [usize; 2]| Slide {
            n,
            size,
            c,
            kernel,
            stride: pair(&case["stride"]),
            padding: pair(&case["padding"]),
            dilation: pair(&case["dilation"]),
        };
        let upstream = |y: &[f64]| uniform(&format!("{name}/dy"), y.len(), -1.0, 1.0);
        let found: Vec<Vec<f64>> = match case["kind"].as_str().unwrap() {
            "conv" => {
                let s = sides([shapes[1][1], shapes[1][2]]);
                let groups = case["groups"].as_u64().unwrap() as usize;
                let y = s.conv(x, &inputs[1], Some(&inputs[2]), groups);
                let grads = s.conv_bwd(x, &inputs[1], groups, &upstream(&y));
                [y].into_iter().chain(grads).collect()
            }
            "max" => {
                let s = sides(pair(&case["kernel"]));
                let y = s.max_pool(x);
                let dx = s.max_pool_bwd(x, &upstream(&y));
                vec![y, dx]
            }
            "avg" => {
                let s = sides(pair(&case["kernel"]));
                let y = s.avg_pool(x);
                let dx = s.avg_pool_bwd(&upstream(&y));
                vec![y, dx]
            }
            "adaptive" => {
                let windows = pair(&case["windows"]);
                let a = Adaptive {
                    n,
                    size,
                    c,
                    windows,
                };
                let y = a.avg_pool(x);
                let dx = a.avg_pool_bwd(&upstream(&y));
                vec![y, dx]
            }
            "norm" => {
                let own = case["own"] == true;
                let seen = [
                    uniform("norm/mean", c, -1.0, 1.0),
                    uniform("norm/var", c, 0.5, 2.0),
                ];
                let [mean, var] = if own { moments(x, c) } else { seen.clone() };
                let after = match own {
                    true => running(x, [&seen[0], &seen[1]], 0.3),
                    false => seen,
                };
                let after: Vec<f32> = cast(&after.concat());
                let want = numbers(&case["running"]);
                assert_near(name, &after, &want, tolerance::FIXTURE);
                let (statistics, gamma) = ([&mean[..], &var], &inputs[1]);
                let y = normalise(x, statistics, [gamma, &inputs[2]], 1e-5);
                let grads = normalise_bwd(x, statistics, gamma, 1e-5, own, &upstream(&y));
                [y].into_iter().chain(grads).collect()
            }
            kind => panic!("{kind}"),
        };
        assert_eq!(
            found.len(),
            case["seen"].as_array().unwrap().len(),
            "{name}"
        );
        for (at, values) in found.iter().enumerate() {
            let what = match at {
                0 => format!("{name}/y"),
                _ => format!("{name}/d{}", at - 1),
            };
            let drawn = |n: usize| uniform(&format!("{what}#{n}"), values.len(), -1.0, 1.0);
            let seen = [
                dot(values, values).sqrt(),
                dot(values, &drawn(1)),
                dot(values, &drawn(2)),
            ];
            let row = Tolerance {
                atol: 2e-7,
                ..tolerance::FIXTURE
            };
            assert_near(&what, &cast(&seen), &numbers(&case["seen"][at]), row);
        }
    }
}
