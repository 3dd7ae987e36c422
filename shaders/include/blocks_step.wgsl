// Four blocks of thirty-two packed numbers, read at once from wherever they begin in `b`, an array of
// sixteen bytes an element.
#include "blocks_kinds.wgsl"

// Sixteens of bytes of four blocks.
const STEP: u32 = (BLOCK + 3u) / 4u;

// The four blocks that begin at an even byte, moved to the front of a sixteen.
fn step_of(at: u32) -> array<vec4<u32>, STEP> {
    let last = arrayLength(&b) - 1u;
    var raw = array<vec4<u32>, STEP + 1u>();
    for (var i = 0u; i < STEP + 1u; i++) {
        raw[i] = b[min(at / 16u + i, last)];
    }
    let by_one = (at & 4u) != 0u;
    let by_two = (at & 8u) != 0u;
    var step = array<vec4<u32>, STEP>();
    for (var i = 0u; i < STEP; i++) {
        let x = raw[i];
        let y = raw[i + 1u];
        let even = select(x, vec4<u32>(x.zw, y.xy), by_two);
        let odd = select(vec4<u32>(x.yzw, y.x), vec4<u32>(x.w, y.xyz), by_two);
        step[i] = select(even, odd, by_one);
    }
    if BLOCK % 4u != 0u {
        let by_half = (at & 2u) != 0u;
        for (var i = 0u; i < STEP; i++) {
            let x = step[i];
            // Nothing of the last word's upper half counts.
            let y = vec4<u32>(x.yzw, step[min(i + 1u, STEP - 1u)].x);
            step[i] = select(x, (x >> vec4<u32>(16u)) | (y << vec4<u32>(16u)), by_half);
        }
    }
    return step;
}

// Four bytes from an even one on.
fn step_word(step: ptr<function, array<vec4<u32>, STEP>>, at: u32) -> u32 {
    let i = at / 4u;
    let word = (*step)[i / 4u][i % 4u];
    if at % 4u == 0u {
        return word;
    }
    return (word >> 16u) | ((*step)[(i + 1u) / 4u][(i + 1u) % 4u] << 16u);
}

// Scale and shift of block t.
fn step_scales(step: ptr<function, array<vec4<u32>, STEP>>, t: u32) -> vec2<f32> {
    let bits = step_word(step, t * BLOCK);
    if SHIFTED {
        return vec2<f32>(half_of(bits), half_of(bits >> 16u));
    }
    return vec2<f32>(half_of(bits), 0.0);
}

// Numbers of block t before scale and shift, the first sixteen in the low bits of what holds the others.
fn step_quants(step: ptr<function, array<vec4<u32>, STEP>>, t: u32) -> array<vec4<f32>, 8> {
    var q = array<vec4<f32>, 8>();
    let at = t * BLOCK;
    if KIND == 0u {
        for (var g = 0u; g < 8u; g++) {
            q[g] = signed_bytes_of(step_word(step, at + 2u + 4u * g));
        }
        return q;
    }
    var fifth = 0u;
    if FIVE {
        fifth = step_word(step, at + select(2u, 4u, SHIFTED));
    }
    for (var g = 0u; g < 8u; g++) {
        let word = step_word(step, at + BLOCK - 16u + g % 4u * 4u) >> (g / 4u * 4u);
        q[g] = nibbles_of(word, fifth >> (4u * g));
    }
    return q;
}
