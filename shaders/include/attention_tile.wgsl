// Tiles of 32 rows by 32 others in workgroup memory, for 64 invocations: invocation 8 r + c has
// rows 4 r .. 4 r + 4, and of others and of columns 4 c .. 4 c + 4. All reads are by vec4; those of
// neighbouring invocations are neighbours or the same.

// Slices of 32 columns, turned: four rows (others) of one column are one element.
var<workgroup> row_slice: array<vec4<f32>, 256>;
// Turned for scores; as it lies, four columns an element, for sums over the others.
var<workgroup> other_slice: array<vec4<f32>, 256>;
// Factors of the sums: four rows of one other are one element.
var<workgroup> factors: array<vec4<f32>, 256>;

// Four rows transposed; in registers this is only a renaming.
fn turned(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> array<vec4<f32>, 4> {
    return array<vec4<f32>, 4>(vec4<f32>(a.x, b.x, c.x, d.x), vec4<f32>(a.y, b.y, c.y, d.y),
        vec4<f32>(a.z, b.z, c.z, d.z), vec4<f32>(a.w, b.w, c.w, d.w));
}

// Puts a block of four rows and four columns: rows 4 (lid % 8), columns 4 (lid / 8).
fn put_rows(lid: u32, block: array<vec4<f32>, 4>) {
    let at = lid / 8u * 32u + lid % 8u;
    row_slice[at] = block[0];
    row_slice[at + 8u] = block[1];
    row_slice[at + 16u] = block[2];
    row_slice[at + 24u] = block[3];
}

fn put_others(lid: u32, block: array<vec4<f32>, 4>) {
    let at = lid / 8u * 32u + lid % 8u;
    other_slice[at] = block[0];
    other_slice[at + 8u] = block[1];
    other_slice[at + 16u] = block[2];
    other_slice[at + 24u] = block[3];
}

// The factors of this invocation's rows and others.
fn put_factors(lid: u32, f: array<vec4<f32>, 4>) {
    let at = lid % 8u * 32u + lid / 8u;
    factors[at] = f[0];
    factors[at + 8u] = f[1];
    factors[at + 16u] = f[2];
    factors[at + 24u] = f[3];
}

// sums[other] of four rows, over the 32 columns of both slices.
fn add_scores(lid: u32, sums: array<vec4<f32>, 4>) -> array<vec4<f32>, 4> {
    var s = sums;
    var x = lid / 8u;
    var y = lid % 8u;
    // Two columns at a time: CPU drivers bound the number of iterations.
    for (var i = 0u; i < 16u; i++) {
        let rows = row_slice[x];
        let others = other_slice[y];
        let next_rows = row_slice[x + 8u];
        let next_others = other_slice[y + 8u];
        s[0] = fma(next_rows, vec4<f32>(next_others.x), fma(rows, vec4<f32>(others.x), s[0]));
        s[1] = fma(next_rows, vec4<f32>(next_others.y), fma(rows, vec4<f32>(others.y), s[1]));
        s[2] = fma(next_rows, vec4<f32>(next_others.z), fma(rows, vec4<f32>(others.z), s[2]));
        s[3] = fma(next_rows, vec4<f32>(next_others.w), fma(rows, vec4<f32>(others.w), s[3]));
        x += 16u;
        y += 16u;
    }
    return s;
}

// sums[row] of four columns, over the 32 others of the slice.
fn add_outer(lid: u32, sums: array<vec4<f32>, 4>) -> array<vec4<f32>, 4> {
    var s = sums;
    var x = lid / 8u;
    var y = lid % 8u;
    for (var i = 0u; i < 16u; i++) {
        let f = factors[x];
        let line = other_slice[y];
        let next_f = factors[x + 8u];
        let next_line = other_slice[y + 8u];
        s[0] = fma(vec4<f32>(next_f.x), next_line, fma(vec4<f32>(f.x), line, s[0]));
        s[1] = fma(vec4<f32>(next_f.y), next_line, fma(vec4<f32>(f.y), line, s[1]));
        s[2] = fma(vec4<f32>(next_f.z), next_line, fma(vec4<f32>(f.z), line, s[2]));
        s[3] = fma(vec4<f32>(next_f.w), next_line, fma(vec4<f32>(f.w), line, s[3]));
        x += 16u;
        y += 16u;
    }
    return s;
}
