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

/// A service has a backend behind GUE.
pub const FEATURE_GUE: u32 = 1 << 5;

/// A service has a backend that packets are rewritten to.
pub const FEATURE_NAT: u32 = 1 << 6;

/// A VIP's pings are answered.
pub const FEATURE_ECHO: u32 = 1 << 7;

/// A service bounds the MSS of its flows.
pub const FEATURE_MSS: u32 = 1 << 8;

/// An interface carries frames that do not lie in one piece (`xdp.frags`): lengths are asked for.
pub const FEATURE_FRAMES: u32 = 1 << 9;

/// A service lets fragments follow their first one.
pub const FEATURE_FRAGMENTS: u32 = 1 << 10;

/// A service's backends are chosen by QUIC's connection ids.
pub const FEATURE_QUIC: u32 = 1 << 11;

/// A service has lists of prefixes.
pub const FEATURE_LISTS: u32 = 1 << 12;

/// A service has rates of new flows.
pub const FEATURE_RATES: u32 = 1 << 13;

/// A service has backends with limits.
pub const FEATURE_LIMITS: u32 = 1 << 14;

/// A service drops what nobody sends in good faith.
pub const FEATURE_STRICT: u32 = 1 << 15;

/// A service's backends are judged by how their flows open.
pub const FEATURE_PASSIVE: u32 = 1 << 16;

/// Another program gets what passes.
pub const FEATURE_NEXT: u32 = 1 << 17;

/// A service answers SYNs with cookies, or there are connections that one has opened.
pub const FEATURE_COOKIES: u32 = 1 << 18;
/// Packets are shown to an operator.
pub const FEATURE_CAPTURE: u32 = 1 << 31;
