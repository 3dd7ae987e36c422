//! safetensors: what melos writes others read, and every way a file can be malformed.

use std::fs;
use std::path::Path;

use melos::hub::{Array, FloatType};
use melos::train::state::*;
use safetensors::SafeTensors;

fn array(shape: &[usize], values: &[f32]) -> Array<'static> {
    Array::new(shape, values.to_vec()).unwrap()
}

fn sample() -> TensorMap {
    TensorMap::from([
        (
            "lstm.weight".into(),
            array(&[2, 3], &[1.0, -2.0, 0.5, f32::INFINITY, 1e-30, -0.0]),
        ),
        ("step".into(), array(&[], &[7.0])),
        ("empty".into(), array(&[0, 5], &[])),
    ])
}

fn bytes_of(tensors: &TensorMap) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_tensors(&mut bytes, tensors).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<TensorMap, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    fs::write(&path, bytes).unwrap();
    read_tensors(&path).map_err(|e| {
        let text = e.to_string();
        assert!(
            text.contains("x.safetensors"),
            "the file is not named: {text}"
        );
        text
    })
}

/// A file with this header and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn the_safetensors_library_reads_what_we_write() {
    let tensors = sample();
    let bytes = bytes_of(&tensors);
    let theirs = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), tensors.len());
    for (name, ours) in &tensors {
        let view = theirs.tensor(name).unwrap();
        assert_eq!(view.shape(), ours.shape(), "{name}");
        assert_eq!(view.data(), &*ours.bytes(FloatType::F32), "{name}");
        assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
    }
}

#[test]
fn we_read_what_the_safetensors_library_writes() {
    let data: Vec<u8> = [1.5f32, -3.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let view =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2, 1], &data).unwrap();
    let bytes = safetensors::serialize(
        [("a", view)],
        Some([("format".to_string(), "pt".to_string())].into()),
    )
    .unwrap();
    let tensors = read(&bytes).unwrap();
    assert_eq!(*tensors["a"].values(), [1.5, -3.0]);
    assert_eq!(tensors["a"].shape(), [2, 1]);
}

#[test]
fn tensors_come_back_bit_for_bit() {
    assert_eq!(read(&bytes_of(&sample())).unwrap(), sample());
    assert_eq!(
        read(&bytes_of(&TensorMap::new())).unwrap(),
        TensorMap::new()
    );
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = bytes_of(&sample());
    for length in 0..bytes.len() {
        assert!(
            read(&bytes[..length]).is_err(),
            "cut to {length} of {} bytes",
            bytes.len()
        );
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(read(&longer).unwrap_err().contains("more or fewer bytes"));
}

#[test]
fn a_lying_header_length_allocates_nothing() {
    for claim in [9, 1 << 20, 100_000_001, u64::MAX] {
        let mut bytes = claim.to_le_bytes().to_vec();
        bytes.extend([b'{', b'}']);
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("its header claims more"), "{error}");
    }
}

#[test]
fn malformed_entries_are_refused() {
    let (header, shape) = ("its header cannot be read", "a tensor's shape does not fit");
    for (text, data, expected) in [
        ("[]", 0, header),
        ("{\"a\":1}", 0, header),
        (r#"{"a":{"dtype":"F32","shape":[1]}}"#, 4, header),
        (
            r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
            4,
            header,
        ),
        (
            r#"{"a":{"dtype":"F3","shape":[1],"data_offsets":[0,4]}}"#,
            4,
            header,
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            4,
            shape,
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,40]}}"#,
            4,
            shape,
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
            4,
            "overlaps its neighbour or leaves a gap",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#,
            4,
            shape,
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
            6,
            "tensor 'b': overlaps its neighbour or leaves a gap",
        ),
        // Either of two at the same place may be the one that is named.
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            4,
            "overlaps its neighbour or leaves a gap",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#,
            12,
            "tensor 'b': overlaps its neighbour or leaves a gap",
        ),
        (
            r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#,
            4,
            "tensor 'a': expected F32, found F16",
        ),
    ] {
        let error = read(&file(text, data)).unwrap_err();
        assert!(
            error.contains(expected),
            "{text}\n  gave {error}\n  expected {expected}"
        );
    }
}

#[test]
fn tensors_of_another_model_are_refused() {
    let shape: &[usize] = &[2, 3];
    let path = Path::new("model.safetensors");
    let expected = || [("lstm.weight", shape), ("step", &[]), ("empty", &[0, 5])];
    check_tensors(&sample(), expected(), path).unwrap();
    let check = |change: &dyn Fn(&mut TensorMap)| {
        let mut tensors = sample();
        change(&mut tensors);
        check_tensors(&tensors, expected(), path)
            .unwrap_err()
            .to_string()
    };
    let error = check(&|t| drop(t.remove("step")));
    assert!(
        error.starts_with("model.safetensors, tensor 'step': is missing"),
        "{error}"
    );
    let error = check(&|t| drop(t.insert("extra".into(), array(&[1], &[0.0]))));
    assert!(
        error.starts_with("model.safetensors, tensor 'extra': is unexpected"),
        "{error}"
    );
    let error = check(&|t| drop(t.insert("lstm.weight".into(), array(&[3, 2], &[0.0; 6]))));
    assert!(
        error.contains("expected shape [2, 3], found [3, 2]"),
        "{error}"
    );
}

#[test]
fn the_first_number_that_is_none_is_found() {
    let first = |values: &[f32]| array(&[values.len()], values).first_not_finite();
    assert_eq!(
        first(&[1.0, f32::NEG_INFINITY, f32::NAN]),
        Some(f32::NEG_INFINITY)
    );
    assert!(first(&[f32::NAN]).unwrap().is_nan());
    assert_eq!(first(&[f32::MAX, 0.0]), None);
}
