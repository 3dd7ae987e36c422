// The grid rule of every kernel with a linear workgroup index: one axis takes at most
// 65,535 groups, so the host folds the count into x and y and the kernel unfolds it here.
fn linear_group(wid: vec3<u32>, groups: vec3<u32>) -> u32 {
    return wid.x + wid.y * groups.x;
}
