// Sum over a workgroup of WG invocations (a power of two) in a fixed order. Call it from
// uniform control flow; every invocation gets the total.
var<workgroup> reduce_scratch: array<f32, WG>;

fn workgroup_sum(lid: u32, value: f32) -> f32 {
    reduce_scratch[lid] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half >>= 1u) {
        if lid < half {
            reduce_scratch[lid] += reduce_scratch[lid + half];
        }
        workgroupBarrier();
    }
    let total = reduce_scratch[0];
    workgroupBarrier(); // so that a second call may overwrite
    return total;
}
