//! What is fixed when a program is loaded: constants in `.rodata`, which the verifier treats as known values and
//! whose dead branches it removes.

/// A service with port 0 is configured: look a packet up a second time, without its port.
pub const FEATURE_ANY_PORT: u32 = 1 << 0;

/// A service remembers flows (`track` other than `never`).
pub const FEATURE_TRACKING: u32 = 1 << 1;

/// A service chooses by source alone (`affinity` other than `flow`).
pub const FEATURE_AFFINITY: u32 = 1 << 2;

/// Other balancers are told of flows that went on in moved slots.
pub const FEATURE_PEERS: u32 = 1 << 3;

/// A service may be asked to reset the flows that a backend gives up.
pub const FEATURE_RESET: u32 = 1 << 4;
