// Packed numbers, read from `blocks`, an array of words.
#include "blocks_kinds.wgsl"

// Four bytes from a place on: a multiple of 4 from where blocks are multiples of it.
fn word_at(at: u32) -> u32 {
    if BLOCK % 4u == 0u {
        return blocks[at / 4u];
    }
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

// The f16 at an even place.
fn half_at(at: u32) -> f32 {
    return half_of(blocks[at / 4u] >> (8u * (at & 2u)));
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

fn either(low: f32, high: f32, bit: vec4<bool>) -> vec4<f32> {
    return select(vec4<f32>(low), vec4<f32>(high), bit);
}

// Of the sixteen values that NF4 has (Dettmers et al. 2023, "QLoRA", appendix E) those of these numbers.
// By their bits: a table that is indexed lies in memory, lane by lane.
fn normal_floats(q: vec4<u32>) -> vec4<f32> {
    let b0 = (q & vec4<u32>(1u)) != vec4<u32>(0u);
    let b1 = (q & vec4<u32>(2u)) != vec4<u32>(0u);
    let b2 = (q & vec4<u32>(4u)) != vec4<u32>(0u);
    let v0 = select(either(-1.0, -0.6961928009986877, b0),
        either(-0.5250730514526367, -0.39491748809814453, b0), b1);
    let v4 = select(either(-0.28444138169288635, -0.18477343022823334, b0),
        either(-0.09105003625154495, 0.0, b0), b1);
    let v8 = select(either(0.07958029955625534, 0.16093020141124725, b0),
        either(0.24611230194568634, 0.33791524171829224, b0), b1);
    let v12 = select(either(0.44070982933044434, 0.5626170039176941, b0),
        either(0.7229568362236023, 1.0, b0), b1);
    return select(select(v0, v4, b2), select(v8, v12, b2), q >= vec4<u32>(8u));
}

// Numbers 4 g .. 4 g + 4 of the sixteen, before scale and shift.
fn quants_of(s: Sixteen, at: u32, part: u32, g: u32) -> vec4<f32> {
    var q = vec4<f32>(0.0);
    switch KIND {
        case 0u: {
            q = signed_bytes_of(word_at(s.low + 4u * g));
        }
        case 1u, 2u, 3u, 4u: {
            var fifth = 0u;
            if FIVE {
                fifth = word_at(at + select(2u, 4u, SHIFTED)) >> (16u * part + 4u * g);
            }
            q = nibbles_of(word_at(s.low + 4u * g) >> s.low_shift, fifth);
        }
        case 7u: {
            q = vec4<f32>(bytes_of((word_at(s.low + 4u * g) >> s.low_shift) & 0x0f0f0f0fu));
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
            let pair = word_at(s.low + g / 2u * 4u) >> (g % 2u * 16u);
            q = normal_floats((vec4<u32>(pair) >> vec4<u32>(4u, 0u, 12u, 8u)) & vec4<u32>(15u));
        }
    }
    return q;
}

// Numbers 4 g .. 4 g + 4 of the sixteen.
fn four_of(s: Sixteen, at: u32, part: u32, g: u32) -> vec4<f32> {
    return s.d * quants_of(s, at, part, g) + s.m;
}
