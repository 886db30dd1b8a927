//! What the maps say of themselves, so that a daemon knows whether it can go on with those of another.

use bytemuck::{Pod, Zeroable};

/// Version of the layouts in this crate. Raised with every change that gives a byte of a map another meaning.
pub const SCHEMA: u32 = 3;

/// Versions before, whose values mean the same: they lack fields and maps that are as good as empty.
pub const EARLIER: [u32; 2] = [1, 2];

/// The one value of the map `control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Control {
    /// [`SCHEMA`] of the daemon that made the maps; 0 while it has not finished.
    pub schema: u32,
    /// Zero.
    pub _pad: u32,
    /// Tells whether the hash keys are the same, without telling them.
    pub seed_fingerprint: u64,
}
