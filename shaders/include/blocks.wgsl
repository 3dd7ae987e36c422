// Numbers packed in blocks that share a scale, as llama.cpp has them (KIND 0 to 9), NF4 (10), and NF4 whose
// scales are bytes (11).
//
// Sixteen numbers that follow each other share a scale and a shift in every kind: value = d q + m, with
// q from up to four bits of one byte and one or two of another. NF4: d times one of sixteen values.
#const KIND: u32 // 0: Q8_0, 1: Q4_0, 2: Q4_1, 3: Q5_0, 4: Q5_1, 5: Q2_K, 6: Q3_K, 7: Q4_K, 8: Q5_K, 9: Q6_K, 10: NF4, 11: NF4_DOUBLE

// Sixteens of a block, and its bytes.
const SIXTEENS = array<u32, 12>(2u, 2u, 2u, 2u, 2u, 16u, 16u, 16u, 16u, 16u, 4u, 64u)[KIND];
const BLOCK = array<u32, 12>(34u, 18u, 20u, 22u, 24u, 84u, 110u, 144u, 176u, 210u, 36u, 536u)[KIND];

// Four bytes from any place on.
fn word_at(at: u32) -> u32 {
    let shift = 8u * (at & 3u);
    let low = blocks[at / 4u] >> shift;
    // Above a shift of 0 nothing is missing.
    return select(low, low | (blocks[(at + 3u) / 4u] << ((32u - shift) & 31u)), shift != 0u);
}

fn byte_at(at: u32) -> u32 {
    return (blocks[at / 4u] >> (8u * (at & 3u))) & 0xffu;
}

fn signed_byte_at(at: u32) -> f32 {
    return f32(bitcast<i32>(byte_at(at) << 24u) >> 24u);
}

// The f16 at an even place, which is finite. By its bits: not every naga has unpack2x16float, and some
// devices take denormal numbers for 0.
fn half_at(at: u32) -> f32 {
    let bits = blocks[at / 4u] >> (8u * (at & 2u));
    let magnitude = bits & 0x7fffu;
    let normal = bitcast<f32>((magnitude << 13u) + 0x38000000u);
    let value = select(normal, f32(magnitude) * 5.9604644775390625e-8, magnitude < 0x400u);
    return select(value, -value, (bits & 0x8000u) != 0u);
}

// The bytes of a word, lowest first.
fn bytes_of(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
}

// Where sixteen numbers stand, and their scale and shift.
struct Sixteen {
    d: f32,
    m: f32,
    low: u32,       // first byte of their low bits
    low_shift: u32,
    high: u32,      // first byte of their high bits
    high_shift: u32,
}

// Scale and smallest of sub-block j of a Q4_K or Q5_K, whose twelve bytes begin at `at`.
fn scale_and_least(at: u32, j: u32) -> vec2<f32> {
    if j < 4u {
        return vec2<f32>(vec2<u32>(byte_at(at + j) & 63u, byte_at(at + j + 4u) & 63u));
    }
    let low = byte_at(at + j + 4u);
    let high = vec2<u32>(byte_at(at + j - 4u), byte_at(at + j)) >> vec2<u32>(6u);
    return vec2<f32>(vec2<u32>(low & 15u, low >> 4u) | (high << vec2<u32>(4u)));
}

// What a byte stands for among scales (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization"):
// a sign, the power of ten by the highest bit, the middle of a step by the bits below.
fn dynamic(code: u32) -> f32 {
    let from_zero = abs(i32(code) - 127);
    let power = firstLeadingBit(u32(max(from_zero, 1)));
    let mantissa = (f32(from_zero) + 0.5) / f32(1u << power) - 1.0;
    var tens = array<f32, 8>(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1.0);
    let value = select(tens[power] * (0.1 + 0.9 * mantissa), 1.0, code == 255u);
    return f32(sign(i32(code) - 127)) * value;
}

// Sixteen `part` of the block that begins at byte `at`.
fn sixteen(at: u32, part: u32) -> Sixteen {
    var s = Sixteen();
    let half = part / 8u;           // of a block of 256, each with quarters of two parts
    let quarter = part % 8u / 2u;
    let in_quarter = part % 2u * 16u;
    switch KIND {
        case 0u: {
            s.d = half_at(at);
            s.low = at + 2u + 16u * part;
        }
        case 1u, 3u: {
            s.d = half_at(at);
            s.low = at + BLOCK - 16u;
            s.low_shift = 4u * part;
        }
        case 2u, 4u: {
            s.d = half_at(at);
            s.m = half_at(at + 2u);
            s.low = at + BLOCK - 16u;
            s.low_shift = 4u * part;
        }
        case 5u: {
            let sub = byte_at(at + part);
            s.d = half_at(at + 80u) * f32(sub & 15u);
            s.m = -half_at(at + 82u) * f32(sub >> 4u);
            s.low = at + 16u + half * 32u + in_quarter;
            s.low_shift = 2u * quarter;
        }
        case 6u: {
            let nibble = (byte_at(at + 96u + part % 8u) >> (4u * half)) & 15u;
            let two = (byte_at(at + 104u + part % 4u) >> (2u * (part / 4u))) & 3u;
            s.d = half_at(at + 108u) * (f32(nibble | (two << 4u)) - 32.0);
            s.low = at + 32u + half * 32u + in_quarter;
            s.low_shift = 2u * quarter;
            s.high = at + in_quarter;
            s.high_shift = part / 2u;
        }
        case 7u, 8u: {
            let j = part / 2u;
            let both = scale_and_least(at + 4u, j);
            s.d = half_at(at) * both.x;
            s.m = -half_at(at + 2u) * both.y;
            s.low = at + BLOCK - 128u + j / 2u * 32u + in_quarter;
            s.low_shift = 4u * (j % 2u);
            s.high = at + 16u + in_quarter;
            s.high_shift = j;
        }
        case 9u: {
            s.d = half_at(at + 208u) * signed_byte_at(at + 192u + part);
            s.low = at + half * 64u + quarter % 2u * 32u + in_quarter;
            s.low_shift = 4u * (quarter / 2u);
            s.high = at + 128u + half * 32u + in_quarter;
            s.high_shift = 2u * quarter;
        }
        case 10u: {
            s.d = bitcast<f32>(word_at(at));
            s.low = at + 4u + 8u * part;
        }
        default: {
            let scale = dynamic(byte_at(at + 8u + part / 4u));
            s.d = bitcast<f32>(word_at(at)) * scale + bitcast<f32>(word_at(at + 4u));
            s.low = at + 24u + 8u * part;
        }
    }
    return s;
}

// The sixteen values that NF4 has (Dettmers et al. 2023, "QLoRA", appendix E).
fn normal_float(q: u32) -> f32 {
    var values = array<f32, 16>(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534,
        0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434,
        0.5626170039176941, 0.7229568362236023, 1.0);
    return values[q];
}

// Numbers 4 g .. 4 g + 4 of the sixteen.
fn four_of(s: Sixteen, at: u32, part: u32, g: u32) -> vec4<f32> {
    var q = vec4<f32>(0.0);
    switch KIND {
        case 0u: {
            let w = vec4<u32>(word_at(s.low + 4u * g));
            q = vec4<f32>(bitcast<vec4<i32>>(w << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
        }
        case 1u, 2u, 7u: {
            let low = (bytes_of(word_at(s.low + 4u * g)) >> vec4<u32>(s.low_shift)) & vec4<u32>(15u);
            q = vec4<f32>(low) - select(0.0, 8.0, KIND == 1u);
        }
        case 3u, 4u: {
            let low = (bytes_of(word_at(s.low + 4u * g)) >> vec4<u32>(s.low_shift)) & vec4<u32>(15u);
            let bits = word_at(at + select(2u, 4u, KIND == 4u)) >> (16u * part + 4u * g);
            let high = (vec4<u32>(bits) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u);
            q = vec4<f32>(low | (high << vec4<u32>(4u))) - select(0.0, 16.0, KIND == 3u);
        }
        case 5u: {
            q = vec4<f32>((bytes_of(word_at(s.low + 4u * g)) >> vec4<u32>(s.low_shift)) & vec4<u32>(3u));
        }
        case 6u: {
            let low = (bytes_of(word_at(s.low + 4u * g)) >> vec4<u32>(s.low_shift)) & vec4<u32>(3u);
            let high = (bytes_of(word_at(s.high + 4u * g)) >> vec4<u32>(s.high_shift)) & vec4<u32>(1u);
            q = vec4<f32>(low) - 4.0 * (1.0 - vec4<f32>(high));
        }
        case 8u: {
            let low = (bytes_of(word_at(s.low + 4u * g)) >> vec4<u32>(s.low_shift)) & vec4<u32>(15u);
            let high = (bytes_of(word_at(s.high + 4u * g)) >> vec4<u32>(s.high_shift)) & vec4<u32>(1u);
            q = vec4<f32>(low | (high << vec4<u32>(4u)));
        }
        case 9u: {
            let low = (bytes_of(word_at(s.low + 4u * g)) >> vec4<u32>(s.low_shift)) & vec4<u32>(15u);
            let high = (bytes_of(word_at(s.high + 4u * g)) >> vec4<u32>(s.high_shift)) & vec4<u32>(3u);
            q = vec4<f32>(low | (high << vec4<u32>(4u))) - 32.0;
        }
        default: {
            // Two numbers a byte, the first in its high bits.
            let pair = vec2<u32>(byte_at(s.low + 2u * g), byte_at(s.low + 2u * g + 1u));
            q = vec4<f32>(normal_float(pair.x >> 4u), normal_float(pair.x & 15u),
                normal_float(pair.y >> 4u), normal_float(pair.y & 15u));
        }
    }
    return s.d * q + s.m;
}
