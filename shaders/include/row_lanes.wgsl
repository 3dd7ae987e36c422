// Rows shared by LANES neighbours of a workgroup of WG: two sums of a row over its lanes.
//
// Each lane leaves its part in one of the arrays; after a barrier all of them add the LANES parts in
// order. So a sum costs one barrier, and one barrier serves all rows of the workgroup: on CPU
// drivers short rows spend most of their time at barriers.
#const LANES: u32 // invocations per row, a power of two up to 64: 8 on CPU drivers, 32 for long rows on GPUs, 64 for few rows

const WG = 64u;

var<workgroup> of_lanes: array<f32, WG>;
var<workgroup> of_lanes_too: array<f32, WG>;

#if VEC4
const VALUES = 4u; // in an element

fn across(v: Real) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
#else
const VALUES = 1u; // in an element

fn across(v: Real) -> f32 {
    return v;
}
#endif
