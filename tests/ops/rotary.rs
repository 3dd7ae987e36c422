//! Rotary positions, gates, and weights that are packed.

use melos::blocks::BlockType;
use melos::device::Gpu;
use melos::doctor::operators::packed::{PackedLinear, PackedRows, blocks};
use melos::doctor::operators::rotary::{Gated, Rotary};
use melos::doctor::proof::input;
use melos::ops::{self, Gate, RopeTable};
use melos::tensor::{DType, Tape, Tensor};

use crate::reference::{Data, ODD_SIZES, assert_same_bits};
use crate::support::{adapters, gpu, prove};

#[test]
fn every_part_of_a_head_turns() {
    for gpu in adapters() {
        for (sizes, pairs, placed) in [
            ([1, 1, 1, 2], 1, false),
            ([2, 63, 3, 8], 4, true),
            ([3, 65, 1, 12], 6, false),
            ([2, 9, 5, 7], 2, true),
            ([1, 257, 2, 16], 4, false),
        ] {
            let mut data = Data::new(pairs as u64);
            let op = Rotary::new(&gpu, &mut data, sizes, pairs, placed).unwrap();
            let [batch, steps, heads, width] = sizes;
            let dims = [batch, steps, heads * width];
            let x = data.peaked(dims.iter().product(), 1.0, 20.0);
            prove(&op, &gpu, &[input(&dims, x)]);
        }
    }
}

/// A table that is made while a step is recorded holds in every replay.
#[test]
fn a_table_may_be_made_inside_a_recording() {
    let gpu = gpu();
    let turn = |gpu: &Gpu, x: &Tensor| {
        let turns: Vec<[f32; 2]> = (0..12)
            .map(|i| [(i as f32).cos(), (i as f32).sin()])
            .collect();
        let table = RopeTable::new(gpu, 3, &turns)?;
        ops::rope(&Tape::inference(gpu), x, 2, &table, None)
    };
    let values = Data::new(5).normal(3 * 16, 1.0);
    let x = Tensor::from_slice(&gpu, [1, 3, 16], &values).unwrap();
    let want = turn(&gpu, &x).unwrap().to_vec::<f32>().unwrap();
    let (recording, y) = gpu.record(|| turn(&gpu, &x)).unwrap();
    for _ in 0..3 {
        // What others write must not reach the table.
        let other = Tensor::empty(&gpu, [24], DType::F32).unwrap();
        other.fill(f32::NAN).unwrap();
        gpu.replay(&recording).unwrap();
        assert_same_bits("replay", &y.to_vec::<f32>().unwrap(), &want);
    }
}

#[test]
fn gates_of_every_size() {
    for gpu in adapters() {
        for f in [Gate::Silu, Gate::GeluTanh, Gate::Gelu] {
            for n in ODD_SIZES.into_iter().chain([260]) {
                let mut data = Data::new(n as u64);
                let pair = [1.5, 1.0].map(|s| input(&[n], data.peaked(n, s, 20.0)));
                prove(&Gated(f), &gpu, &pair);
            }
        }
    }
}

#[test]
fn layers_and_tables_of_every_kind_of_blocks() {
    for gpu in adapters() {
        for kind in BlockType::PACKED {
            let mut data = Data::new(11);
            let width = kind.row_unit();
            for sizes in [[1, 1, width], [5, 65, 3 * width], [67, 129, width]] {
                let op = PackedLinear::new(&gpu, &mut data, kind, sizes).unwrap();
                let [n, _, i] = sizes;
                let x = data.normal(n * i, 1.0);
                prove(&op, &gpu, &[input(&[n, i], x)]);
            }
            let op = PackedRows::new(&gpu, &mut data, kind, [63, 5, 3 * width]).unwrap();
            let x = data.normal(63 * 3 * width, 1.0);
            prove(&op, &gpu, &[input(&[63, 3 * width], x)]);
        }
    }
}

/// What is read back is what was written, and rows must be whole blocks.
#[test]
fn blocks_lie_as_they_are_in_files() {
    let gpu = gpu();
    for kind in BlockType::PACKED {
        let (bytes, values) = blocks(&mut Data::new(3), kind, 6);
        let dims = [3, 2 * kind.elements()];
        let tensor = Tensor::empty(&gpu, dims, DType::Packed(kind)).unwrap();
        tensor.write_blocks(&bytes).unwrap();
        assert_same_bits(kind.name(), &tensor.to_f32_vec().unwrap(), &values);
        let short = tensor.write_blocks(&bytes[1..]).err().unwrap().to_string();
        assert!(
            short.contains("bytes") && short.contains(kind.name()),
            "{short}"
        );
    }
    let tape = Tape::inference(&gpu);
    let odd = Tensor::empty(&gpu, [4, 16], DType::Packed(BlockType::Q4_0)).unwrap();
    let x = Tensor::from_slice(&gpu, [1, 16], &[1.0f32; 16]).unwrap();
    let refused = ops::linear(&tape, &x, &odd, None)
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("multiple of 32"), "{refused}");
}
