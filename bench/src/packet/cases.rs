//! What is measured: each case with several numbers of flows.

use lb_common::counter::Reason::{self, Cookie, NotOurs, Returned, Transmitted};

use super::scene::Name::{
    self, Always, AlwaysCookies, Bounded, FewAllowed, Limited, Many, ManyAllowed, Moved, RareCookies,
    ServiceRate, Settled, SourceRate, Strict, Translated, TranslatedOpenings,
};

/// A kind of packet and what it is given to.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    pub(crate) subject: Subject,
    /// The VIP, or the first of several consecutive ones.
    pub(crate) vip: &'static str,
    /// Services that the flows are spread over.
    pub(crate) services: u32,
    /// Whether each packet opens a connection: SYN, otherwise ACK.
    pub(crate) opens: bool,
    pub(crate) feeding: Feeding,
    pub(crate) flows: &'static [Flows],
}

/// The family of the packets that come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The program that gets the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Returns.
    Nothing,
    /// Sends the packet back to where it came from.
    MacSwap,
    /// The same, run by another program than this one: it shows what this one adds.
    MacSwapByBpftool,
    /// The same made slower by a known amount, which has to be seen.
    Multiply,
    /// The same with a constant outer IPv4 header.
    Push,
    /// The balancer of a scene, and the reason under which it counts every packet.
    Balancer(Name, Reason),
}

impl Subject {
    /// The name of a floor's program.
    pub(crate) fn floor(self) -> &'static str {
        match self {
            Self::Nothing => "floor_pass",
            Self::MacSwap | Self::MacSwapByBpftool => "floor_mac_swap",
            Self::Multiply => "floor_multiply",
            Self::Push => "floor_push",
            Self::Balancer(..) => unreachable!("the balancer is no floor"),
        }
    }
}

/// What is written for each packet. Rows are compared with a floor that is fed the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feeding {
    /// The link layer, the TTL, and the ends of a flow, which follow from its number.
    Ends,
    /// The other addresses and TCP's header as well, for a program that changes them.
    Headers,
    /// The same, with ends out of a list: of what backends send in the sessions that there are.
    Listed,
}

/// How many flows there are. They take turns, so each of many finds the caches as cold as they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flows {
    One,
    Thousand,
    SixtyFourThousand,
    Million,
    /// Every packet is of a flow that was never there before, as in a flood.
    Unseen,
}

impl Flows {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "1 flow",
            Self::Thousand => "1 k flows",
            Self::SixtyFourThousand => "64 k flows",
            Self::Million => "1 M flows",
            Self::Unseen => "never-seen flows",
        }
    }

    /// The number of the last flow.
    pub(crate) fn last(self) -> u64 {
        match self {
            Self::One => 0,
            Self::Thousand => (1 << 10) - 1,
            Self::SixtyFourThousand => (1 << 16) - 1,
            Self::Million => (1 << 20) - 1,
            Self::Unseen => u64::MAX,
        }
    }
}

const ALL: &[Flows] = &[Flows::One, Flows::Thousand, Flows::SixtyFourThousand, Flows::Million, Flows::Unseen];
const ENDS: &[Flows] = &[Flows::One, Flows::Million];
const OPENINGS: &[Flows] = &[Flows::One, Flows::Thousand, Flows::Unseen];
const FEWER: &[Flows] = &[Flows::One, Flows::SixtyFourThousand];
const REMEMBERED: &[Flows] = &[Flows::One, Flows::SixtyFourThousand, Flows::Million];

/// A packet of an established connection for the service at `vip`.
const fn v4(name: &'static str, scene: Name, vip: &'static str, flows: &'static [Flows]) -> Case {
    let subject = Subject::Balancer(scene, Transmitted);
    Case { name, family: Family::V4, subject, vip, services: 1, opens: false, feeding: Feeding::Ends, flows }
}

const fn v6(name: &'static str, scene: Name, vip: &'static str, flows: &'static [Flows]) -> Case {
    Case { family: Family::V6, ..v4(name, scene, vip, flows) }
}

const fn opening(case: Case) -> Case {
    Case { opens: true, ..case }
}

/// A packet that the program writes to beyond its link layer.
const fn rewritten(case: Case) -> Case {
    Case { feeding: Feeding::Headers, ..case }
}

/// What the backends of sessions with the service at `vip` send.
const fn replies(case: Case) -> Case {
    let subject = match case.subject {
        Subject::Balancer(scene, _) => Subject::Balancer(scene, Returned),
        floor => floor,
    };
    Case { subject, feeding: Feeding::Listed, ..case }
}

/// A SYN that the balancer answers itself.
const fn answered(case: Case) -> Case {
    Case { subject: Subject::Balancer(AlwaysCookies, Cookie), ..rewritten(opening(case)) }
}

const fn not_ours(case: Case) -> Case {
    Case { subject: Subject::Balancer(Settled, NotOurs), ..case }
}

const fn floor(name: &'static str, family: Family, subject: Subject) -> Case {
    let vip = match family {
        Family::V4 => "203.0.113.1",
        Family::V6 => "2001:db8:113::1",
    };
    let feeding = Feeding::Ends;
    Case { name, family, subject, vip, services: 1, opens: false, feeding, flows: &[Flows::One] }
}

/// All cases. Addresses are those of the scenes' services; the ones that are not ours are nobody's.
pub(crate) const CASES: [Case; 50] = [
    floor("floor: nothing", Family::V4, Subject::Nothing),
    floor("floor: MAC swap", Family::V4, Subject::MacSwap),
    floor("floor: MAC swap, IPv6", Family::V6, Subject::MacSwap),
    rewritten(floor("floor: MAC swap, headers written", Family::V4, Subject::MacSwap)),
    rewritten(floor("floor: MAC swap, headers written, IPv6", Family::V6, Subject::MacSwap)),
    replies(floor("floor: MAC swap, replies", Family::V4, Subject::MacSwap)),
    replies(floor("floor: MAC swap, replies, IPv6", Family::V6, Subject::MacSwap)),
    floor("floor: constant outer header", Family::V4, Subject::Push),
    floor("check: MAC swap, run by bpftool", Family::V4, Subject::MacSwapByBpftool),
    floor("check: MAC swap and 100 multiplications", Family::V4, Subject::Multiply),
    v4("l2, IPv4", Settled, "203.0.113.1", ALL),
    v4("ipip, IPv4", Settled, "203.0.113.2", ALL),
    opening(v4("ipip, IPv4, SYN", Settled, "203.0.113.2", &[Flows::Unseen])),
    v6("l2, IPv6", Settled, "2001:db8:113::1", ENDS),
    v6("ipip, IPv6 in IPv6", Settled, "2001:db8:113::2", ENDS),
    v6("ipip, IPv6 in IPv4", Settled, "2001:db8:113::3", ENDS),
    v4("gue, IPv4", Settled, "203.0.113.4", ENDS),
    v6("gue, IPv6 in IPv6", Settled, "2001:db8:113::4", ENDS),
    not_ours(v4("not ours, IPv4", Settled, "203.0.113.99", ENDS)),
    not_ours(v6("not ours, IPv6", Settled, "2001:db8:113::99", ENDS)),
    v4("ipip, IPv4, 1,000 services loaded", Many, "203.0.113.1", ENDS),
    Case { services: 1_000, ..v4("ipip, IPv4, over 1,000 services", Many, "203.0.113.1", ENDS) },
    v4("ipip, IPv4, moved slots", Moved, "203.0.113.1", REMEMBERED),
    opening(v4("ipip, IPv4, moved slots, SYN", Moved, "203.0.113.1", &[Flows::Unseen])),
    v4("ipip, IPv4, track = always", Always, "203.0.113.1", REMEMBERED),
    opening(v4("ipip, IPv4, track = always, SYN", Always, "203.0.113.1", &[Flows::Unseen])),
    not_ours(v4("not ours, IPv4, 1,000 services", Many, "192.0.2.99", ENDS)),
    v4("ipip, IPv4, malformed = drop", Strict, "203.0.113.1", ALL),
    v4("ipip, IPv4, 1,024 prefixes allowed", FewAllowed, "203.0.113.1", REMEMBERED),
    v4("ipip, IPv4, 262,144 prefixes allowed", ManyAllowed, "203.0.113.1", REMEMBERED),
    v4("ipip, IPv4, max_new_per_source", SourceRate, "203.0.113.1", ENDS),
    opening(v4("ipip, IPv4, max_new_per_source, SYN", SourceRate, "203.0.113.1", OPENINGS)),
    opening(v4("ipip, IPv4, max_new, SYN", ServiceRate, "203.0.113.1", OPENINGS)),
    v4("ipip, IPv4, backends with limits", Limited, "203.0.113.1", REMEMBERED),
    opening(v4("ipip, IPv4, backends with limits, SYN", Limited, "203.0.113.1", &[Flows::Unseen])),
    v4("ipip, IPv4, mss", Bounded, "203.0.113.1", ENDS),
    rewritten(opening(v4("ipip, IPv4, mss, SYN", Bounded, "203.0.113.1", OPENINGS))),
    rewritten(v4("nat, IPv4", Translated, "203.0.113.1", REMEMBERED)),
    replies(v4("nat, IPv4, replies", Translated, "203.0.113.1", REMEMBERED)),
    rewritten(opening(v4("nat, IPv4, SYN", TranslatedOpenings, "203.0.113.1", &[Flows::Unseen]))),
    rewritten(v6("nat, IPv6", Translated, "2001:db8:113::1", FEWER)),
    replies(v6("nat, IPv6, replies", Translated, "2001:db8:113::1", FEWER)),
    rewritten(opening(v6("nat, IPv6, SYN", TranslatedOpenings, "2001:db8:113::1", &[Flows::Unseen]))),
    rewritten(v4("nat, IPv4, syn_cookies, no flood", RareCookies, "203.0.113.1", FEWER)),
    replies(v4("nat, IPv4, syn_cookies, no flood, replies", RareCookies, "203.0.113.1", FEWER)),
    rewritten(v4("nat, IPv4, opened by a cookie", AlwaysCookies, "203.0.113.1", FEWER)),
    replies(v4("nat, IPv4, opened by a cookie, replies", AlwaysCookies, "203.0.113.1", FEWER)),
    rewritten(v6("nat, IPv6, opened by a cookie", AlwaysCookies, "2001:db8:113::1", FEWER)),
    answered(v4("nat, IPv4, SYN answered with a cookie", AlwaysCookies, "203.0.113.1", &[Flows::Unseen])),
    answered(v6("nat, IPv6, SYN answered with a cookie", AlwaysCookies, "2001:db8:113::1", &[Flows::Unseen])),
];
