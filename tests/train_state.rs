//! safetensors: what melos writes others read, and every way a file can be malformed.

use std::fs;
use std::path::Path;

use melos::train::state::*;
use safetensors::SafeTensors;

fn sample() -> TensorMap {
    TensorMap::from([
        (
            "lstm.weight".into(),
            HostTensor::f32(&[2, 3], &[1.0, -2.0, 0.5, 4.0, 1e-30, 6.0]),
        ),
        ("step".into(), HostTensor::u32(&[], &[7])),
        (
            "half".into(),
            HostTensor {
                dtype: HostDtype::F16,
                shape: vec![3],
                bytes: vec![0, 60, 0, 64, 1, 2],
            },
        ),
        ("empty".into(), HostTensor::f32(&[0, 5], &[])),
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
        assert_eq!(view.shape(), ours.shape, "{name}");
        assert_eq!(view.data(), ours.bytes, "{name}");
        assert_eq!(
            format!("{:?}", view.dtype()),
            ours.dtype.to_string(),
            "{name}"
        );
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
    assert_eq!(tensors["a"].to_f32().unwrap(), [1.5, -3.0]);
    assert_eq!(tensors["a"].shape, [2, 1]);
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
    assert!(read(&longer).unwrap_err().contains("belong to no tensor"));
}

#[test]
fn a_lying_header_length_allocates_nothing() {
    for claim in [9, 1 << 20, 100_000_001, u64::MAX] {
        let mut bytes = claim.to_le_bytes().to_vec();
        bytes.extend([b'{', b'}']);
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("its header claims"), "{error}");
    }
}

#[test]
fn malformed_entries_name_their_tensor() {
    for (header, data, expected) in [
        ("[]", 0, "its header is not a JSON object"),
        ("{\"a\":1}", 0, "tensor 'a': its header entry is malformed"),
        (
            r#"{"a":{"dtype":"F32","shape":[1]}}"#,
            4,
            "tensor 'a': its header entry is malformed",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
            4,
            "tensor 'a': its header entry is malformed",
        ),
        (
            r#"{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}}"#,
            4,
            "tensor 'a': dtype 'F4' is not supported",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            4,
            "tensor 'a': F32 of shape [2] needs 8 bytes, its header gives 4",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,40]}}"#,
            4,
            "tensor 'a': bytes 0..40 lie outside the 4 bytes of data",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
            4,
            "tensor 'a': bytes 4..0 lie outside",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#,
            4,
            "needs more than 2^64 bytes",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            4,
            "tensor 'b': overlaps the tensor before it",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#,
            12,
            "tensor 'b': leaves a gap before it",
        ),
    ] {
        let error = read(&file(header, data)).unwrap_err();
        assert!(
            error.contains(expected),
            "{header}\n  gave {error}\n  expected {expected}"
        );
    }
}

#[test]
fn tensors_of_another_model_are_refused() {
    let shape: &[usize] = &[2, 3];
    let path = Path::new("model.safetensors");
    let expected = || {
        [
            ("lstm.weight", HostDtype::F32, shape),
            ("step", HostDtype::U32, &[]),
            ("half", HostDtype::F16, &[3]),
            ("empty", HostDtype::F32, &[0, 5]),
        ]
    };
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
    let error = check(&|t| drop(t.insert("extra".into(), HostTensor::f32(&[1], &[0.0]))));
    assert!(
        error.starts_with("model.safetensors, tensor 'extra': is unexpected"),
        "{error}"
    );
    let error =
        check(&|t| drop(t.insert("lstm.weight".into(), HostTensor::f32(&[3, 2], &[0.0; 6]))));
    assert!(
        error.contains("expected F32 of shape [2, 3], found F32 of shape [3, 2]"),
        "{error}"
    );
    let error = check(&|t| drop(t.insert("step".into(), HostTensor::f32(&[], &[0.0]))));
    assert!(
        error.contains("expected U32 of shape [], found F32"),
        "{error}"
    );
}

#[test]
fn the_first_number_that_is_none_is_found() {
    assert_eq!(
        HostTensor::f32(&[2], &[1.0, f32::NEG_INFINITY]).first_not_finite(),
        Some(f32::NEG_INFINITY)
    );
    assert!(
        HostTensor::f32(&[1], &[f32::NAN])
            .first_not_finite()
            .unwrap()
            .is_nan()
    );
    assert_eq!(HostTensor::u32(&[1], &[u32::MAX]).first_not_finite(), None);
}
