// Thirty-two packed numbers at once. Some drivers load from a buffer lane by lane, and none of them knows that
// two loads are the same one: every word is loaded once.
#include "blocks.wgsl"

// Numbers 4 g .. 4 g + 4 are d q[g] + m, of the first sixteen by x, of the second by y.
struct Piece {
    d: vec2<f32>,
    m: vec2<f32>,
    q: array<vec4<f32>, 8>,
}

// Four words from an even place on.
fn four_words(at: u32) -> vec4<u32> {
    let i = at / 4u;
    let low = vec4<u32>(blocks[i], blocks[i + 1u], blocks[i + 2u], blocks[i + 3u]);
    if BLOCK % 4u == 0u {
        return low;
    }
    // Beyond the last word is nothing that counts.
    let last = blocks[min(i + 4u, arrayLength(&blocks) - 1u)];
    let high = vec4<u32>(low.yzw, last);
    return select(low, (low >> vec4<u32>(16u)) | (high << vec4<u32>(16u)), (at & 2u) != 0u);
}

// Blocks of thirty-two numbers (KIND 0 to 4), the second sixteen in the high bits beside the first or, with
// a byte each, after it.
fn block_piece(at: u32) -> Piece {
    var piece = Piece();
    if SHIFTED {
        let both = blocks[at / 4u];
        piece.d = vec2<f32>(half_of(both));
        piece.m = vec2<f32>(half_of(both >> 16u));
    } else {
        piece.d = vec2<f32>(half_at(at));
    }
    if KIND == 0u {
        let first = four_words(at + 2u);
        let second = four_words(at + 18u);
        for (var g = 0u; g < 4u; g++) {
            piece.q[g] = signed_bytes_of(first[g]);
            piece.q[g + 4u] = signed_bytes_of(second[g]);
        }
        return piece;
    }
    var fifth = 0u;
    if FIVE {
        fifth = word_at(at + select(2u, 4u, SHIFTED));
    }
    let words = four_words(at + BLOCK - 16u);
    for (var g = 0u; g < 4u; g++) {
        piece.q[g] = nibbles_of(words[g], fifth >> (4u * g));
        piece.q[g + 4u] = nibbles_of(words[g] >> 4u, fifth >> (4u * g + 16u));
    }
    return piece;
}

// Sixteens `part` and `part` + 1 of the block that begins at byte `at`.
fn piece_of(at: u32, part: u32) -> Piece {
    if KIND <= 4u {
        return block_piece(at);
    }
    let first = sixteen(at, part);
    let second = sixteen(at, part + 1u);
    var piece = Piece();
    piece.d = vec2<f32>(first.d, second.d);
    piece.m = vec2<f32>(first.m, second.m);
    for (var g = 0u; g < 4u; g++) {
        piece.q[g] = quants_of(first, at, part, g);
        piece.q[g + 4u] = quants_of(second, at, part + 1u, g);
    }
    return piece;
}
