//! The grid rule that every kernel with a linear group index shares.

/// Groups one axis of a dispatch may have: the smallest limit WebGPU guarantees.
pub const MAX_GROUPS: u64 = 65_535;

/// Folds a linear number of workgroups into two axes, as evenly as it can.
///
/// Kernels recover the index as `wid.x + wid.y * num_workgroups.x` (`linear_group` in
/// `include/linear.wgsl`) and do nothing beyond their count, since the product may exceed
/// `groups`. Returns `None` above 65,535², and `[0, 1, 1]` (nothing to dispatch) for 0.
pub fn fold(groups: u64) -> Option<[u32; 3]> {
    let rows = groups.div_ceil(MAX_GROUPS).max(1);
    let columns = groups.div_ceil(rows);
    (rows <= MAX_GROUPS).then_some([columns as u32, rows as u32, 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_cover_and_waste_little() {
        assert_eq!(fold(0), Some([0, 1, 1]));
        assert_eq!(fold(1), Some([1, 1, 1]));
        assert_eq!(fold(65_535), Some([65_535, 1, 1]));
        assert_eq!(fold(65_536), Some([32_768, 2, 1]));
        for n in [65_537, 1_000_003, MAX_GROUPS * MAX_GROUPS] {
            let [x, y, z] = fold(n).unwrap().map(u64::from);
            assert!(x <= MAX_GROUPS && y <= MAX_GROUPS && z == 1);
            assert!(x * y >= n && x * y - n < y);
        }
        assert_eq!(fold(MAX_GROUPS * MAX_GROUPS + 1), None);
    }
}
