//! What is transferred.

/// `size` bytes that do not repeat themselves where packets do.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|position| (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}
