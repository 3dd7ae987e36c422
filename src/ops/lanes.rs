//! How many values a kernel takes at once.

/// Values in one element of a kernel's buffers: four where a size allows it (the flag `VEC4`), else
/// one. Wide loads pay most on CPU drivers.
pub(super) fn lanes(size: usize) -> usize {
    if size.is_multiple_of(4) { 4 } else { 1 }
}
