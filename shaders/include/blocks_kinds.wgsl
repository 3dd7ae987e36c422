// Numbers packed in blocks that share a scale, as llama.cpp has them (KIND 0 to 9), NF4 (10), and NF4 whose
// scales are bytes (11).
//
// Sixteen numbers that follow each other share a scale and a shift in every kind: value = d q + m, with
// q from up to four bits of one byte and one or two of another. NF4: d times one of sixteen values.
#const KIND: u32 // 0: Q8_0, 1: Q4_0, 2: Q4_1, 3: Q5_0, 4: Q5_1, 5: Q2_K, 6: Q3_K, 7: Q4_K, 8: Q5_K, 9: Q6_K, 10: NF4, 11: NF4_DOUBLE

// Sixteens of a block, and its bytes.
const SIXTEENS = array<u32, 12>(2u, 2u, 2u, 2u, 2u, 16u, 16u, 16u, 16u, 16u, 4u, 64u)[KIND];
const BLOCK = array<u32, 12>(34u, 18u, 20u, 22u, 24u, 84u, 110u, 144u, 176u, 210u, 36u, 536u)[KIND];

// The f16 in the low bits, which is finite. By its bits: not every naga has unpack2x16float, and some
// devices take denormal numbers for 0.
fn half_of(bits: u32) -> f32 {
    let magnitude = bits & 0x7fffu;
    let normal = bitcast<f32>((magnitude << 13u) + 0x38000000u);
    let value = select(normal, f32(magnitude) * 5.9604644775390625e-8, magnitude < 0x400u);
    return select(value, -value, (bits & 0x8000u) != 0u);
}

// The bytes of a word, lowest first.
fn bytes_of(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
}

// The bytes of a word as signed numbers, lowest first.
fn signed_bytes_of(word: u32) -> vec4<f32> {
    let high = vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u);
    return vec4<f32>(bitcast<vec4<i32>>(high) >> vec4<u32>(24u));
}

// Of blocks of thirty-two numbers of four bits or five (KIND 1 to 4): whether they have a shift, else their
// numbers lie about 0; and whether there is a fifth bit.
const SHIFTED: bool = KIND == 2u || KIND == 4u;
const FIVE: bool = KIND == 3u || KIND == 4u;

// Four numbers of the low four bits of each byte and, as fifth bits, the lowest four of `fifth`.
fn nibbles_of(word: u32, fifth: u32) -> vec4<f32> {
    var bits = bytes_of(word & 0x0f0f0f0fu);
    if FIVE {
        bits |= ((vec4<u32>(fifth) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u)) << vec4<u32>(4u);
    }
    let middle = select(select(8.0, 16.0, FIVE), 0.0, SHIFTED);
    return vec4<f32>(bits) - vec4<f32>(middle);
}
