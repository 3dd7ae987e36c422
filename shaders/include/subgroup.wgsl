// For kernels whose invocations share numbers by subgroup broadcast, from lanes 0 to 7: smaller subgroups
// have no lane 7, and what they compute only looks like a result. So all that they store is NaN.
const SUBGROUP: u32 = 8u;

// Factor of all that is stored: 1, or NaN where subgroups are too small. By its bits, since compilers may
// assume that no number is NaN.
fn soundness(subgroup_size: u32) -> f32 {
    return bitcast<f32>(select(0x7fc00000u, 0x3f800000u, subgroup_size >= SUBGROUP));
}
