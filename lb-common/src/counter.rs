//! Counters, and the one list of reasons: every packet that a program sees ends with exactly one of them.

mod advice;

use bytemuck::{CheckedBitPattern, Pod, Zeroable, checked};

/// Packets, and their bytes on the wire without the frame check sequence. One per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes, as they arrived.
    pub bytes: u64,
}

impl core::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

impl core::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// To the kernel's stack, unchanged (a decapsulated one without its outer header).
    Pass,
    /// To a backend.
    Forward,
    /// Back to where it came from, as an answer.
    Answer,
    /// Nowhere.
    Drop,
}

/// Why a packet met its fate. The number is the index in the counters' map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, CheckedBitPattern)]
#[repr(u32)]
pub enum Reason {
    /// Neither IPv4 nor IPv6: ARP, LLDP, more VLAN tags than two, a frame too short to tell; or IPv6 to a mapped address.
    NotIp = 0,
    /// For no service.
    NotOurs,
    /// For a VIP, but with a protocol that no service has, such as ICMP.
    OtherProtocol,
    /// Sent to a backend through the interface that it came by.
    Transmitted,
    /// Sent to a backend through another interface.
    Redirected,
    /// A tunnel's inner packet for one of this host's VIPs, handed to the stack.
    Decapsulated,
    /// For a service that has no backend to give a flow to.
    NoBackend,
    /// For a backend whose next hop is not resolved.
    NoNextHop,
    /// A fragment for a VIP; its ports cannot be known.
    Fragment,
    /// For a VIP, but cut short before the ports.
    Truncated,
    /// For a VIP, with a header whose lengths contradict each other or the frame.
    BadHeader,
    /// For a VIP, with more IPv6 extension headers than are read.
    TooManyHeaders,
    /// Larger, once encapsulated, than the way to its backend carries; its sender is told what would fit.
    TooBig,
    /// No room in front of the frame for an outer header, or behind it for an answer; the driver gives too little.
    NoHeadroom,
    /// The maps contradict each other; a fault of the daemon.
    Internal,
    /// Answered with a TCP reset, since its backend gives up the flows that it had.
    Reset,
    /// Opens a connection that cannot be remembered now (`limits.inserts`), and whose slot's previous backend takes
    /// none: the next packet would go elsewhere. The client tries again.
    NotRemembered,
    /// A ping of a VIP, answered.
    Echo,
    /// At the end of its TTL or hop limit, where it would have to be encapsulated; answered as a router does.
    TtlExpired,
    /// Would have been answered, but for the limit of answers (`limits.answers`).
    AnswerLimited,
    /// A tunnel packet that met congestion, around one that cannot say so (RFC 6040).
    EcnLost,
    /// A later fragment whose first one was not seen.
    FragmentUnknown,
    /// For a service whose backend is this host: handed to its stack.
    Local,
    /// From a source that the service denies.
    Denied,
    /// From a source that the service does not allow.
    NotAllowed,
    /// Opens a flow, and its source has opened too many.
    SourceRate,
    /// Opens a flow, and the service has been asked for too many.
    ServiceRate,
    /// Opens a flow, and its backend, or every one that was tried, has as many as it may have.
    BackendFull,
    /// TCP with control bits that contradict each other.
    BadFlags,
    /// From the VIP to itself.
    Land,
    /// From an address that nobody can have.
    BogusSource,
    /// A backend's reply, sent to its client.
    Returned,
    /// Opens a flow, and no source port is free for it.
    NatFull,
    /// For a translated flow that is not known.
    NoSession,
    /// Opens a flow whose backend has as many as it may have; answered with a TCP reset.
    Refused,
    /// An ICMP error about a flow that does not fit through the tunnel to its backend, or is at the end of its TTL. Nobody
    /// is told, since errors are not answered.
    ErrorLost,
    /// A SYN that was answered with a cookie.
    Cookie,
    /// Brings back a cookie that was not sent, or is of no connection, while cookies may be brought back to its service.
    BadCookie,
    /// Of a connection that a cookie has opened, while its backend has not answered yet; sent again by its client.
    NotOpenYet,
    /// A backend's SYN-ACK in a connection that a cookie has opened, answered in its client's place.
    Acknowledged,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 40] = [
        Self::NotIp,
        Self::NotOurs,
        Self::OtherProtocol,
        Self::Transmitted,
        Self::Redirected,
        Self::Decapsulated,
        Self::NoBackend,
        Self::NoNextHop,
        Self::Fragment,
        Self::Truncated,
        Self::BadHeader,
        Self::TooManyHeaders,
        Self::TooBig,
        Self::NoHeadroom,
        Self::Internal,
        Self::Reset,
        Self::NotRemembered,
        Self::Echo,
        Self::TtlExpired,
        Self::AnswerLimited,
        Self::EcnLost,
        Self::FragmentUnknown,
        Self::Local,
        Self::Denied,
        Self::NotAllowed,
        Self::SourceRate,
        Self::ServiceRate,
        Self::BackendFull,
        Self::BadFlags,
        Self::Land,
        Self::BogusSource,
        Self::Returned,
        Self::NatFull,
        Self::NoSession,
        Self::Refused,
        Self::ErrorLost,
        Self::Cookie,
        Self::BadCookie,
        Self::NotOpenYet,
        Self::Acknowledged,
    ];

    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The reason with a number. By comparison, since the verifier knows no bounds of an index into [`Self::ALL`].
    #[must_use]
    #[inline]
    pub fn from_number(number: u32) -> Option<Self> {
        checked::try_cast(number).ok()
    }

    /// Its name in metrics, `sluice status` and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::NotOurs => "not_ours",
            Self::OtherProtocol => "other_protocol",
            Self::Transmitted => "transmitted",
            Self::Redirected => "redirected",
            Self::Decapsulated => "decapsulated",
            Self::NoBackend => "no_backend",
            Self::NoNextHop => "no_next_hop",
            Self::Fragment => "fragment",
            Self::Truncated => "truncated",
            Self::BadHeader => "bad_header",
            Self::TooManyHeaders => "too_many_headers",
            Self::TooBig => "too_big",
            Self::NoHeadroom => "no_headroom",
            Self::Internal => "internal",
            Self::Reset => "reset",
            Self::NotRemembered => "not_remembered",
            Self::Echo => "echo",
            Self::TtlExpired => "ttl_expired",
            Self::AnswerLimited => "answer_limited",
            Self::EcnLost => "ecn_lost",
            Self::FragmentUnknown => "fragment_unknown",
            Self::Local => "local",
            Self::Denied => "denied",
            Self::NotAllowed => "not_allowed",
            Self::SourceRate => "source_rate",
            Self::ServiceRate => "service_rate",
            Self::BackendFull => "backend_full",
            Self::BadFlags => "bad_flags",
            Self::Land => "land",
            Self::BogusSource => "bogus_source",
            Self::Returned => "returned",
            Self::NatFull => "nat_full",
            Self::NoSession => "no_session",
            Self::Refused => "refused",
            Self::ErrorLost => "error_lost",
            Self::Cookie => "cookie",
            Self::BadCookie => "bad_cookie",
            Self::NotOpenYet => "not_open_yet",
            Self::Acknowledged => "acknowledged",
        }
    }

    /// What becomes of a packet with this reason.
    #[must_use]
    pub const fn fate(self) -> Fate {
        match self {
            Self::NotIp | Self::NotOurs | Self::OtherProtocol | Self::Decapsulated | Self::Local => {
                Fate::Pass
            }
            Self::Transmitted | Self::Redirected | Self::Returned => Fate::Forward,
            Self::Reset
            | Self::TooBig
            | Self::Echo
            | Self::TtlExpired
            | Self::Refused
            | Self::Cookie
            | Self::Acknowledged => Fate::Answer,
            _ => Fate::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_in_the_order_of_the_list() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
            assert_eq!(Reason::from_number(index as u32), Some(reason));
        }
        assert_eq!(Reason::from_number(Reason::COUNT as u32), None);
    }
}
