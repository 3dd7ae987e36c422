//! The comparison by what it must refuse, its tolerances, and the data of the tests.

use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, assert_near, assert_same_bits, compare};

#[test]
fn the_comparison_refuses_what_is_wrong() {
    let table = Tolerance {
        factor: 2.0,
        atol: 1e-6,
        rtol: 1e-3,
        unit: 1e-6,
        reason: "test",
    };
    let compared =
        |got: &[f32], want: &[f64], naive: &[f32]| compare::compare(got, want, naive, table);
    let check = |got: &[f32], want: &[f64], naive: &[f32]| match compared(got, want, naive).fault {
        Some(fault) => Err(fault),
        None => Ok(()),
    };
    let (want, naive) = ([1.0, 2.0, 3.0], [1.0, 2.0, 3.001]);
    assert!(check(&[1.0, 2.0, 3.0015], &want, &naive).is_ok());
    // In errors of the naive program, or in roundings where that makes none.
    let over = |got: f32, naive: f32| compared(&[got], &[2.0], &[naive]).over_naive;
    assert!((over(2.0015, 2.001) - 1.5).abs() < 1e-3);
    assert!((over(2.000_004, 2.0) - 2.0).abs() < 0.1);
    assert_eq!(over(2.0, 2.001), 0.0);
    assert!(over(f32::NAN, 2.0).is_infinite());
    // A NaN, an infinity, a missing value.
    assert!(
        check(&[1.0, f32::NAN, 3.0], &want, &naive)
            .unwrap_err()
            .contains("[1] is NaN")
    );
    assert!(check(&[1.0, 2.0, f32::INFINITY], &want, &naive).is_err());
    assert!(check(&[1.0, 2.0], &want, &naive).is_err());
    // Absolutely wrong though relatively small; the worst element is named.
    let mut large = vec![1.0; 1000];
    let (want_large, naive_large) = (vec![1.0; 1000], vec![1.0; 1000]);
    large[7] = 1.001;
    let fault = check(&large, &want_large, &naive_large).unwrap_err();
    assert!(
        fault.contains("absolute") && fault.contains("[7]"),
        "{fault}"
    );
    // Relatively wrong though every value is below atol.
    let fault = check(&[1e-8, 2e-8], &[1e-8, 1e-8], &[1e-8, 1e-8]).unwrap_err();
    assert!(fault.starts_with("relative"), "{fault}");
    // A reference that is itself not finite proves nothing.
    assert!(check(&[1.0], &[f64::NAN], &[1.0]).is_err());
}

#[test]
#[should_panic(
    expected = "again: tools/with-vulkan cargo test --release --test reference_check \
                           comparison::a_failure_says_how_to_run_it_again"
)]
fn a_failure_says_how_to_run_it_again() {
    assert_near("values", &[1.0], &[2.0], tolerance::MATMUL);
}

#[test]
#[should_panic(expected = "[1]")]
fn bits_that_differ_are_refused() {
    assert_same_bits("NaN equals itself", &[f32::NAN], &[f32::NAN]);
    assert_same_bits("0 and -0", &[0.0, 0.0], &[0.0, -0.0]);
}

#[test]
fn every_tolerance_is_strict_and_has_a_reason() {
    for (name, row) in tolerance::ALL {
        assert!(row.reason.len() > 10, "{name}");
        assert!((0.0..=3.0).contains(&row.factor), "{name}");
        assert!(row.atol <= 2e-3 && row.rtol <= 2e-3, "{name}");
    }
}

#[test]
fn data_is_the_same_everywhere() {
    let mut data = Data::new(42);
    assert_eq!(
        data.uniform(3, -1.0, 1.0),
        [0.48312977, -0.68017924, -0.44279775]
    );
    let peaked = data.peaked(1000, 1.0, 50.0);
    assert!(peaked.iter().any(|x| x.abs() > 50.0));
    let lengths = data.lengths(8, 9);
    assert!(lengths.iter().all(|l| (1..=9).contains(l)), "{lengths:?}");
    assert_eq!((lengths[0], lengths[7]), (9, 1));
    assert!(data.ids(50, 10).iter().all(|id| *id < 10));
    assert!(data.targets(50, 3).contains(&-1));
}
