//! The configurations that cases share, each loaded once.

use std::{net::IpAddr, time::Duration};

use lb_common::knobs::{FEATURE_ECHO, FEATURE_RESET, FEATURE_STRICT, FEATURE_TRACKING};
use lb_tests::packet::Packet;
use sluice::{health::Health, neighbours::NextHop};

use crate::{
    case::Scene,
    decapsulator::Decapsulator,
    expected::{self, Expected},
    harness::{Harness, INGRESS, service},
};

/// Backends of either family.
pub const V4: &str = "198.51.100.11";
/// See [`V4`].
pub const V6: &str = "2001:db8:51::11";

/// The VIPs of the default packets.
pub const VIPS: [&str; 2] = ["203.0.113.10", "2001:db8:113::10"];

/// Tables of flows that take little room.
const LIMITS: &str = "connections = 4096\nopenings = 4096\n";

/// An address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Services of both protocols for the default packets of both families.
pub fn everywhere(rest: &str, backends: &[&str]) -> String {
    let protocols = ["tcp", "udp"];
    let services = VIPS.iter().flat_map(|vip| protocols.iter().map(move |protocol| (vip, protocol)));
    services
        .map(|(vip, protocol)| {
            let name = format!("{protocol}-{}", if vip.contains(':') { 6 } else { 4 });
            service(&name, vip, "80", &format!("protocol = \"{protocol}\"\n{rest}"), backends)
        })
        .collect()
}

/// A balancer for `toml`.
pub fn balancer(toml: &str) -> Harness {
    Harness::with_limits(LIMITS, toml)
}

fn forwarding(mode: &str, backend: &str) -> Harness {
    balancer(&everywhere(&format!("forwarding = \"{mode}\""), &[backend]))
}

/// A way of forwarding to a backend of a family, what it is called, and the room that its outer header takes.
pub struct Way {
    pub name: &'static str,
    pub scene: &'static Scene,
    pub backend: &'static str,
    pub expected: fn(&Packet, IpAddr) -> Expected,
    pub overhead: usize,
}

pub static L2_V4: Scene = Scene::new(|| forwarding("l2", V4));
pub static L2_V6: Scene = Scene::new(|| forwarding("l2", V6));
pub static IPIP_V4: Scene = Scene::new(|| forwarding("ipip", V4));
pub static IPIP_V6: Scene = Scene::new(|| forwarding("ipip", V6));
pub static GUE_V4: Scene = Scene::new(|| forwarding("gue", V4));
pub static GUE_V6: Scene = Scene::new(|| forwarding("gue", V6));
pub static GUE_DIRECT_V4: Scene = Scene::new(|| gue_direct(V4));
pub static GUE_DIRECT_V6: Scene = Scene::new(|| gue_direct(V6));

fn gue_direct(backend: &str) -> Harness {
    balancer(&everywhere("forwarding = \"gue\"\ngue = { variant = 1 }", &[backend]))
}

/// Every way.
pub const WAYS: [Way; 8] = [
    Way { name: "l2, IPv4 backend", scene: &L2_V4, backend: V4, expected: expected::l2, overhead: 0 },
    Way { name: "l2, IPv6 backend", scene: &L2_V6, backend: V6, expected: expected::l2, overhead: 0 },
    Way { name: "ipip, IPv4 backend", scene: &IPIP_V4, backend: V4, expected: expected::ipip, overhead: 20 },
    Way { name: "ipip, IPv6 backend", scene: &IPIP_V6, backend: V6, expected: expected::ipip, overhead: 40 },
    Way { name: "gue, IPv4 backend", scene: &GUE_V4, backend: V4, expected: expected::gue, overhead: 32 },
    Way { name: "gue, IPv6 backend", scene: &GUE_V6, backend: V6, expected: expected::gue, overhead: 52 },
    Way {
        name: "gue without header, IPv4 backend",
        scene: &GUE_DIRECT_V4,
        backend: V4,
        expected: expected::gue_direct,
        overhead: 28,
    },
    Way {
        name: "gue without header, IPv6 backend",
        scene: &GUE_DIRECT_V6,
        backend: V6,
        expected: expected::gue_direct,
        overhead: 48,
    },
];

/// Services that drop what nobody sends in good faith, and have no other guard.
pub static STRICT: Scene = Scene::new(|| {
    let features = FEATURE_STRICT | FEATURE_TRACKING | FEATURE_RESET | FEATURE_ECHO;
    Harness::only_for(features, &everywhere("forwarding = \"l2\"", &[V4]))
});

/// Services of every port, of one port, and of ports that overlap, beside each other.
pub static PORTS: Scene = Scene::new(|| {
    let rest = |protocol: &str| format!("protocol = \"{protocol}\"\nforwarding = \"l2\"");
    balancer(
        &[
            service("one", VIPS[0], "80", &rest("tcp"), &["198.51.100.11"]),
            service("any", VIPS[0], "\"any\"", &rest("tcp"), &["198.51.100.12"]),
            service("dns", VIPS[0], "53", &rest("udp"), &["198.51.100.13"]),
            service("one-6", VIPS[1], "80", &rest("tcp"), &["198.51.100.14"]),
            service("any-6", VIPS[1], "\"any\"", &rest("udp"), &["198.51.100.15"]),
        ]
        .concat(),
    )
});

/// Services that want fragments.
pub static FRAGMENTS: Scene = Scene::new(|| fragments("l2"));
pub static FRAGMENTS_IPIP: Scene = Scene::new(|| fragments("ipip"));
pub static FRAGMENTS_GUE: Scene = Scene::new(|| fragments("gue"));

fn fragments(mode: &str) -> Harness {
    balancer(&everywhere(&format!("forwarding = \"{mode}\"\nfragments = true"), &[V4]))
}

/// Services that deny some sources and allow some; one list has the default sources.
pub static LISTS: Scene = Scene::new(|| {
    let lists = "[[list]]\nname = \"offices\"\nprefixes = [\"192.0.2.0/24\", \"2001:db8:c::/48\"]\n\
                 [[list]]\nname = \"bad\"\nprefixes = [\"192.0.2.128/25\", \"2001:db8:c:bad::/64\", \"198.18.0.0/15\"]\n";
    balancer(&[lists, &guarded("allow = [\"offices\"]\ndeny = [\"bad\"]")].concat())
});

/// Addresses that packets are translated to, of IPv4 and of IPv6.
pub const NAT_POOLS: [&str; 2] = ["198.51.100.250", "2001:db8:51::fa"];
/// The one port that they have.
pub const NAT_PORT: u16 = 20_000;
/// The backends' port.
pub const NAT_BACKEND_PORT: u16 = 8080;

/// Services behind NAT.
pub static NAT: Scene = Scene::new(|| balancer(&translating()));
/// The same, of which few flows have a session.
pub static NAT_ERRORS: Scene = Scene::new(|| balancer(&translating()));
/// The same, whose sessions may go on.
pub static NAT_FULL: Scene = Scene::new(|| balancer(&translating()));
/// The same behind another interface.
pub static NAT_ELSEWHERE: Scene =
    Scene::new(|| Harness::with_next_hops(&translating(), |hop| hop.ifindex = INGRESS + 1));

/// The same, where every SYN is answered with a cookie.
pub static COOKIES: Scene = Scene::new(with_cookies);
/// The same for what opens for good, and so keeps the one port that there is.
pub static OPENED_BY_COOKIES: Scene = Scene::new(with_cookies);

fn with_cookies() -> Harness {
    balancer(&("[defaults.guard]\nsyn_cookies = \"always\"\n".to_owned() + &translating()))
}

fn translating() -> String {
    let [v4, v6] = NAT_POOLS;
    let pool =
        format!("[balancer.nat]\naddresses = [\"{v4}\", \"{v6}\"]\nports = \"{NAT_PORT}-{NAT_PORT}\"\n");
    let of = |vip: &str, backend: &str, protocol: &str| {
        let name = format!("{protocol}-{}", if vip.contains(':') { 6 } else { 4 });
        let rest = format!("protocol = \"{protocol}\"\nforwarding = \"nat\"");
        service(&name, vip, "80", &rest, &[backend]) + &format!("port = {NAT_BACKEND_PORT}\n")
    };
    let families = VIPS.into_iter().zip([V4, V6]);
    let services =
        families.flat_map(|(vip, backend)| ["tcp", "udp"].map(|protocol| of(vip, backend, protocol)));
    pool + &services.collect::<String>()
}

/// Services of which a source may open a flow a second.
pub static SOURCE_RATE: Scene =
    Scene::new(|| balancer(&guarded("max_new_per_source = { rate = 1, burst = 1 }")));

/// Services of which a flow may be opened a second.
pub static SERVICE_RATE: Scene = Scene::new(|| balancer(&guarded("max_new = { rate = 1, burst = 1 }")));

fn guarded(guard: &str) -> String {
    everywhere(&format!("forwarding = \"l2\"\n[service.guard]\n{guard}"), &[V4])
}

/// Services whose one backend may have a flow at a time, which else is dropped, or refused.
pub static FULL: Scene = Scene::new(|| full("next"));
pub static REFUSING: Scene = Scene::new(|| full("refuse"));

fn full(on_full: &str) -> Harness {
    let services = everywhere(&format!("forwarding = \"l2\"\non_full = \"{on_full}\""), &[V4]);
    balancer(&services.replace("address = \"198", "max_connections = 1\naddress = \"198"))
}

/// Services whose one backend is this host.
pub static OWN: Scene = Scene::new(|| {
    let mut balancer = balancer(&everywhere("forwarding = \"ipip\"\nfragments = true", &[V4]));
    balancer.own(V4);
    balancer
});

/// A backend that takes the outer headers off again.
pub static DECAP: Scene<Decapsulator> = Scene::new(Decapsulator::new);

/// Services without a backend.
pub static EMPTY: Scene = Scene::new(|| balancer(&everywhere("forwarding = \"l2\"", &[])));

/// Backends whose next hop is known no more.
pub static UNRESOLVED: Scene = Scene::new(|| {
    let mut balancer = forwarding("ipip", V4);
    balancer.view.next_hops.clear();
    balancer.advance(Duration::ZERO);
    balancer
});

fn with_next_hop(mode: &str, adjust: fn(&mut NextHop)) -> Harness {
    Harness::with_next_hops(&everywhere(&format!("forwarding = \"{mode}\""), &[V4]), adjust)
}

pub static L2_ELSEWHERE: Scene = Scene::new(|| with_next_hop("l2", |hop| hop.ifindex = INGRESS + 1));
pub static IPIP_ELSEWHERE: Scene = Scene::new(|| with_next_hop("ipip", |hop| hop.ifindex = INGRESS + 1));
pub static GUE_ELSEWHERE: Scene = Scene::new(|| with_next_hop("gue", |hop| hop.ifindex = INGRESS + 1));
pub static L2_VLAN: Scene = Scene::new(|| with_next_hop("l2", |hop| hop.vlan = 7));
pub static IPIP_VLAN: Scene = Scene::new(|| with_next_hop("ipip", |hop| hop.vlan = 7));
pub static GUE_VLAN: Scene = Scene::new(|| with_next_hop("gue", |hop| hop.vlan = 7));
/// A next hop in a VLAN of another interface.
pub static L2_VLAN_ELSEWHERE: Scene =
    Scene::new(|| with_next_hop("l2", |hop| (hop.ifindex, hop.vlan) = (INGRESS + 1, 7)));
pub static L2_GATEWAY: Scene =
    Scene::new(|| with_next_hop("l2", |hop| hop.gateway = Some(ip("198.51.100.254"))));
pub static IPIP_GATEWAY: Scene =
    Scene::new(|| with_next_hop("ipip", |hop| hop.gateway = Some(ip("198.51.100.254"))));

/// Services whose one backend has been down for longer than its grace, and which reset what it leaves behind.
pub static RESETS: Scene = Scene::new(|| {
    let rest = "forwarding = \"l2\"\ndown_grace = \"30s\"\non_down = \"reset\"\n\
                probe = { type = \"tcp\", interval = \"1s\", timeout = \"500ms\" }";
    let toml: String = ["tcp-4", "tcp-6"]
        .iter()
        .zip(VIPS)
        .map(|(name, vip)| service(name, vip, "80", &format!("protocol = \"tcp\"\n{rest}"), &[V4]))
        .collect();
    let mut balancer = balancer(&toml);
    for name in ["tcp-4", "tcp-6"] {
        balancer.set_health(name, "b11", Health::Down);
    }
    balancer.advance(Duration::from_secs(31));
    balancer
});

/// Services that remember every flow.
pub static ALWAYS: Scene =
    Scene::new(|| balancer(&everywhere("forwarding = \"l2\"\ntrack = \"always\"", &[V4])));

/// Services whose backend has been replaced by another, while next to no flow can be remembered.
pub static DRAINED: Scene = Scene::new(|| {
    let services = |backend| everywhere("forwarding = \"l2\"\ntrack = \"moved\"", &[backend]);
    let mut balancer = Harness::with_limits("inserts = 1\n", &services(V4));
    balancer.reload(&services("198.51.100.12"));
    balancer
});

/// The same four backends by name, in every mode and family, for what must not depend on it.
pub static SPREAD: [Scene; 6] = [
    Scene::new(|| spread("l2", "198.51.100.")),
    Scene::new(|| spread("l2", "2001:db8:51::")),
    Scene::new(|| spread("ipip", "198.51.100.")),
    Scene::new(|| spread("ipip", "2001:db8:51::")),
    Scene::new(|| spread("gue", "198.51.100.")),
    Scene::new(|| spread("gue", "2001:db8:51::")),
];

/// Backends whose addresses end so that their MAC addresses, by which a test knows them, are the same in both families.
fn spread(mode: &str, prefix: &str) -> Harness {
    let backends: Vec<_> = (1..=4).map(|last| format!("{prefix}{last}")).collect();
    let backends: Vec<_> = backends.iter().map(String::as_str).collect();
    balancer(&everywhere(&format!("forwarding = \"{mode}\""), &backends))
}

/// QUIC services whose three backends have the server ids 0x0b11, 0x0b12, 0x0b13.
pub static QUIC: Scene = Scene::new(|| quic("l2", &[11, 12, 13]));

/// The same with one backend, behind a tunnel.
pub static QUIC_IPIP: Scene = Scene::new(|| quic("ipip", &[11]));

fn quic(mode: &str, backends: &[u8]) -> Harness {
    let rest = format!(
        "protocol = \"quic\"\nforwarding = \"{mode}\"\nquic = {{ server_id_length = 2, config_id = 3 }}"
    );
    let backend = |n| {
        format!("[[service.backend]]\nname = \"b{n}\"\naddress = \"198.51.100.{n}\"\nserver_id = \"0b{n}\"\n")
    };
    let backends: String = backends.iter().map(backend).collect();
    let services = VIPS.map(|vip| {
        let name = if vip.contains(':') { "quic-6" } else { "quic-4" };
        service(name, vip, "443", &rest, &[]) + &backends
    });
    balancer(&services.concat())
}

/// Tunnels of a balancer that answers next to nothing.
pub static FEW_ANSWERS: Scene =
    Scene::new(|| Harness::with_limits("answers = 1\n", &everywhere("forwarding = \"ipip\"", &[V4])));
