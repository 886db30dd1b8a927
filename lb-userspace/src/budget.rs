//! How large a client's packet may be: what the way to a backend carries, less its tunnel's headers.

use lb_common::{
    backend::{Backend as Entry, Forwarding},
    service::ServiceKey,
};
use tracing::{info, warn};

use crate::{
    config::{Backend, Protocol, Service},
    plan::{Plan, PlannedService, entry::configured_mode},
};

/// What clients send: the packets of an Ethernet.
const EXPECTED: u16 = 1500;
/// What anybody may send over IPv6 without asking (RFC 8200 section 5).
const LEAST_V6: u16 = 1280;
/// Headers of TCP and IPv4, and of TCP and IPv6.
const HEADERS: [u16; 2] = [40, 60];

/// The largest packet that can get to a backend; none where none can, or where the backend is this host.
#[must_use]
pub fn largest(entry: &Entry) -> Option<u16> {
    let is_sent =
        ![Forwarding::Unresolved, Forwarding::Local].iter().any(|mode| entry.forwarding == *mode as u8);
    is_sent.then(|| entry.mtu.saturating_sub(entry.overhead()))
}

/// The same by the configuration alone, where the way carries packets of `mtu` bytes.
#[must_use]
pub fn configured(service: &Service, backend: &Backend, mtu: u16) -> u16 {
    let forwarding = configured_mode(service, backend) as u8;
    mtu.saturating_sub(Entry { forwarding, ..bytemuck::Zeroable::zeroed() }.overhead())
}

/// What is to be said of a service's packets where the largest that fits is not what clients send.
#[must_use]
pub fn remedy(service: &ServiceKey, largest: u16) -> Option<String> {
    let is_v6 = !service.address.is_v4();
    let missing = EXPECTED.checked_sub(largest).filter(|missing| *missing > 0)?;
    let raise = format!("raise the MTU of the way to the backends by {missing}");
    if is_v6 && largest < LEAST_V6 {
        return Some(format!(
            "packets of more than {largest} bytes do not fit, and IPv6 lets clients send {LEAST_V6} whatever they are \
             told: {raise}"
        ));
    }
    let told =
        format!("packets of more than {largest} bytes do not fit, and clients have to be told so: {raise}");
    if service.protocol != Protocol::Tcp.number() {
        return Some(told);
    }
    let mss = largest.saturating_sub(HEADERS[usize::from(is_v6)]);
    Some(format!("{told}, or have the backends announce an MSS of at most {mss} (`advmss` of their routes)"))
}

/// The largest packet that gets to every backend of a service that it can be sent to.
#[must_use]
pub fn of_service(service: &PlannedService) -> Option<u16> {
    service.backends.iter().filter_map(largest).min()
}

/// Tells of services whose largest packet is another than it was, if it is smaller than clients' packets, or was.
pub fn log_changes(before: &Plan, after: &Plan) {
    for (before, service) in before.changes(after) {
        let Some(largest) = of_service(service) else { continue };
        let was = before.and_then(of_service);
        if was == Some(largest) {
            continue;
        }
        match remedy(&service.key, largest) {
            Some(remedy) => warn!(service = service.name, "{remedy}"),
            None if was.is_some_and(|was| was < EXPECTED) => {
                info!(service = service.name, largest, "packets of clients fit again");
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(forwarding: Forwarding, mtu: u16) -> Entry {
        Entry { forwarding: forwarding as u8, mtu, ..bytemuck::Zeroable::zeroed() }
    }

    #[test]
    fn largest_packet_is_what_the_tunnel_leaves() {
        use Forwarding::{Gue4, Gue4Direct, Gue6, Gue6Direct, Ipip4, Ipip6, L2, Local, Unresolved};
        let cases = [
            (L2, Some(1500)),
            (Ipip4, Some(1480)),
            (Ipip6, Some(1460)),
            (Gue4, Some(1468)),
            (Gue6, Some(1448)),
            (Gue4Direct, Some(1472)),
            (Gue6Direct, Some(1452)),
            (Local, None),
            (Unresolved, None),
        ];
        for (forwarding, expected) in cases {
            assert_eq!(largest(&entry(forwarding, 1500)), expected, "{forwarding:?}");
        }
        assert_eq!(largest(&entry(Ipip6, 20)), Some(0));
    }

    #[test]
    fn remedy_fits_the_family_and_what_is_missing() {
        let key = |vip: &str, protocol: Protocol| {
            ServiceKey::new(vip.parse::<std::net::IpAddr>().unwrap().into(), 80, protocol.number())
        };
        let (v4, v6) = (key("203.0.113.10", Protocol::Tcp), key("2001:db8:113::10", Protocol::Tcp));
        let udp = key("203.0.113.10", Protocol::Udp);
        assert_eq!((remedy(&v4, 1500), remedy(&v6, 9000)), (None, None));
        let said = [(v4, 1480), (v6, 1460), (v6, 1279), (v4, 1279), (udp, 1480)];
        let said = said.map(|(key, largest)| remedy(&key, largest));
        insta::assert_snapshot!(said.map(Option::unwrap).join("\n"));
    }
}
