//! What each reason means to an operator, and what to do where there are many of it: the one text that the command line,
//! the API and `docs/reasons.md` have.

use super::Reason;

impl Reason {
    /// What a packet with this reason is.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::NotIp => "neither IPv4 nor IPv6, or with more than two VLAN tags",
            Self::NotOurs => "for no service",
            Self::OtherProtocol => "for a VIP, with a protocol that no service has",
            Self::Transmitted => "sent to a backend by the interface that it came by",
            Self::Redirected => "sent to a backend by another interface",
            Self::Decapsulated => "taken out of its tunnel for one of this host's VIPs",
            Self::NoBackend => "for a service that has no backend to give it to",
            Self::NoNextHop => "for a backend whose next hop is not resolved",
            Self::Fragment => "a fragment for a VIP whose services do not take fragments",
            Self::Truncated => "for a VIP, and cut short before its ports",
            Self::BadHeader => "for a VIP, with lengths that contradict each other",
            Self::TooManyHeaders => "for a VIP, with more IPv6 extension headers than are read",
            Self::TooBig => "too large for the way to its backend; its sender was told what fits",
            Self::NoHeadroom => "no room in its buffer for an outer header or an answer",
            Self::Internal => "the maps contradict each other",
            Self::Reset => "answered with a TCP reset, since its backend gives up its flows",
            Self::NotRemembered => {
                "opens a flow that cannot be remembered now, and whose next packet would go elsewhere"
            }
            Self::Echo => "a ping of a VIP, answered",
            Self::TtlExpired => "at the end of its TTL or hop limit, answered as a router does",
            Self::AnswerLimited => "would have been answered, but for the limit of answers",
            Self::EcnLost => "met congestion in a tunnel, around a packet that cannot say so",
            Self::FragmentUnknown => "a later fragment whose first one was not seen",
            Self::Local => "for a backend that is this host: given to its stack",
            Self::Denied => "from a source that the service denies",
            Self::NotAllowed => "from a source that the service does not allow",
            Self::SourceRate => "opens a flow, and its source has opened too many",
            Self::ServiceRate => "opens a flow, and the service has been asked for too many",
            Self::BackendFull => "opens a flow, and no backend that was tried may have another",
            Self::BadFlags => "TCP with control bits that contradict each other",
            Self::Land => "from the VIP to itself",
            Self::BogusSource => "from an address that nobody can have",
            Self::Returned => "a backend's reply, sent to its client",
            Self::NatFull => "opens a flow, and no address and port is free for it",
            Self::NoSession => "for a translated flow that is not known",
            Self::Refused => "opens a flow whose backend is full; answered with a TCP reset",
            Self::ErrorLost => "an ICMP error that does not fit through the tunnel to its flow's backend",
            Self::Cookie => "a SYN, answered with a SYN cookie",
            Self::BadCookie => {
                "of no connection, with a number that is no SYN cookie, while some may come back"
            }
            Self::NotOpenYet => {
                "of a connection that a cookie has opened, and whose backend has not answered yet"
            }
            Self::Acknowledged => "a backend's answer to a connection that a cookie has opened, acknowledged",
        }
    }

    /// What to do where there are many of it; empty where nothing is wrong with them.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NotIp
            | Self::NotOurs
            | Self::OtherProtocol
            | Self::Transmitted
            | Self::Redirected
            | Self::Decapsulated
            | Self::Echo
            | Self::Local
            | Self::Returned
            | Self::Acknowledged => "",
            Self::NoBackend => {
                "see `sluice status`: all backends are down or taken out; repair or `sluice ready` one"
            }
            Self::NoNextHop => {
                "see the column next hop of `sluice status`; a backend by `l2` has to be in the same segment, any other \
                 needs a route"
            }
            Self::Fragment => {
                "set `fragments = true` for the service, or lower the MTU or MSS of whoever sends them"
            }
            Self::Truncated | Self::BadHeader | Self::Land | Self::BogusSource => {
                "nobody sends them in good faith; find out who does"
            }
            Self::BadFlags => {
                "nobody sends them in good faith; if a client of yours does, set `malformed = \"forward\"` for the service"
            }
            Self::TooManyHeaders => "find out who sends them",
            Self::TooBig => "raise the MTU on the way to the backends, or bound the service's `mss`",
            Self::NoHeadroom => {
                "the driver gives too little room for XDP: set `balancer.mode = \"generic\"`, or take another driver"
            }
            Self::Internal => "a fault of the daemon: restart it, and report what it logs",
            Self::Reset => "expected after a drain's deadline; clients connect again",
            Self::NotRemembered => {
                "a flood of new flows, or `limits.inserts` is too low for what is normal here"
            }
            Self::TtlExpired => "a traceroute; otherwise look for a loop of routes before the balancer",
            Self::AnswerLimited => {
                "many packets that are answered: see which by `sluice drops`; or raise `limits.answers`"
            }
            Self::EcnLost => "a router between balancer and backend is congested",
            Self::FragmentUnknown => {
                "the network reorders fragments or spreads them over balancers, or `limits.fragments` is too low"
            }
            Self::Denied | Self::NotAllowed => {
                "what the service's lists say; if it is wrong, change the lists"
            }
            Self::SourceRate => {
                "a client that floods, or many behind one address: raise `max_new_per_source`, or deny the source"
            }
            Self::ServiceRate => "a flood, or the service's `max_new` is below what is normal",
            Self::BackendFull | Self::Refused => "add backends, or raise their limits",
            Self::NatFull => "add addresses to `balancer.nat`, or widen its range of ports",
            Self::NoSession => {
                "packets of flows that have ended, or that another balancer translates: each needs a pool of its own"
            }
            Self::ErrorLost => "raise the MTU on the way to the backends",
            Self::Cookie => {
                "a flood of SYNs, or the service's `syn_cookies` has an `above` that is below what is normal"
            }
            Self::BadCookie => {
                "a flood of ACKs, or packets of connections that have ended; not cookies of this balancer"
            }
            Self::NotOpenYet => {
                "clients send them again; if it is more than a few for each cookie, see whether the backends answer"
            }
        }
    }
}
