//! A host that serves VIPs: what direct server return asks of it.

use std::{fmt, net::IpAddr, str::FromStr};

use super::{Facts, Finding, Listener, Served, Transport};
use crate::interface::Mode;

const LOOPBACK: &str = "lo";

/// A port that clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// What comes there.
    pub transport: Transport,
}

impl FromStr for Port {
    type Err = String;

    /// `80`, `80/tcp` or `53/udp`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, transport) = text.split_once('/').unwrap_or((text, "tcp"));
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            other => return Err(format!("expected tcp or udp, not {other:?}")),
        };
        let number = number.parse().ok().filter(|number| *number != 0);
        Ok(Self { number: number.ok_or("expected a port from 1 to 65535, such as 80/tcp")?, transport })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.transport == Transport::Tcp { "tcp" } else { "udp" };
        write!(f, "{}/{transport}", self.number)
    }
}

pub(super) fn check(facts: &Facts, served: &Served) -> Vec<Finding> {
    let name = &served.interface;
    let Some(link) = facts.links.get(name) else {
        return vec![Finding::problem(name, "there is no such interface")];
    };
    let mut findings = Vec::new();
    if !link.up {
        findings.push(Finding::problem(name, "it is down").remedy(format!("ip link set dev {name} up")));
    }
    findings.extend(served.vips.iter().flat_map(|vip| address(*vip, facts)));
    if served.vips.iter().any(IpAddr::is_ipv4) {
        findings.extend(settings(name, facts));
    }
    if served.tunnelled {
        findings.extend(decapsulator(served, facts));
    }
    for vip in &served.vips {
        findings.extend(served.ports.iter().filter_map(|port| listener(*vip, *port, facts)));
    }
    findings
}

/// A server takes in what comes to the VIP's port: one that listens there, or at every address. One of IPv6 that does so takes
/// IPv4 in too, unless it has asked not to, which nobody can see.
fn listener(vip: IpAddr, port: Port, facts: &Facts) -> Option<Finding> {
    let is_there =
        |listener: &&Listener| listener.transport == port.transport && listener.address.port() == port.number;
    let all: Vec<IpAddr> = facts.listeners.iter().filter(is_there).map(|found| found.address.ip()).collect();
    let takes = |ip: &IpAddr| *ip == vip || ip.is_unspecified() && (ip.is_ipv6() || vip.is_ipv4());
    if all.iter().any(takes) {
        return None;
    }
    let elsewhere: Vec<_> = all.iter().map(ToString::to_string).collect();
    let but =
        if elsewhere.is_empty() { String::new() } else { format!(", but at {} alone", elsewhere.join(", ")) };
    Some(Finding::problem("server", format!("nothing listens at the VIP {vip}, port {port}{but}")))
}

/// The VIP has to be on `lo`, alone, and nowhere else: the network would take this host for its place.
fn address(vip: IpAddr, facts: &Facts) -> Vec<Finding> {
    let whole = if vip.is_ipv4() { 32 } else { 128 };
    let add = format!("ip address add {vip}/{whole} dev {LOOPBACK}");
    let places =
        facts.links.iter().flat_map(|(name, link)| link.addresses.iter().map(move |held| (name, held)));
    let places: Vec<_> = places.filter(|(_, (held, _))| *held == vip).collect();
    let mut findings = Vec::new();
    if !places.iter().any(|(name, _)| *name == LOOPBACK) {
        let found = format!("the VIP {vip} is not there, so packets for it are not taken");
        findings.push(Finding::problem(LOOPBACK, found).remedy(&add));
    }
    for (name, (_, length)) in places {
        let delete = format!("ip address del {vip}/{length} dev {name}");
        if name != LOOPBACK {
            let found =
                format!("the VIP {vip} is there, so this host answers for it in the balancer's place");
            findings.push(Finding::problem(name, found).remedy(delete));
        } else if *length != whole {
            let found = format!(
                "the VIP {vip} has a prefix of {length} bits, so that all of its network is this host"
            );
            findings.push(Finding::problem(name, found).remedy(format!("{delete} && {add}")));
        }
    }
    findings
}

fn settings(name: &str, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rules = [
        ("arp_ignore", 1, "it answers ARP for VIPs on lo, and so takes the balancer's packets"),
        (
            "arp_announce",
            2,
            "it asks by ARP with VIPs as its own address, which teaches neighbours the wrong place",
        ),
    ];
    for (setting, least, found) in rules {
        if facts.strictest(setting, name).is_some_and(|value| value < least) {
            let remedy = format!("sysctl -w net.ipv4.conf.all.{setting}={least}");
            findings.push(Finding::problem(name, found).remedy(remedy));
        }
    }
    if facts.strictest("rp_filter", name) == Some(1) {
        let found =
            "strict reverse path filtering drops clients' packets where the way back is another interface";
        let remedy = format!("sysctl -w net.ipv4.conf.{name}.rp_filter=2");
        findings.push(Finding::problem(name, found).remedy(remedy));
    }
    findings
}

fn decapsulator(served: &Served, facts: &Facts) -> Option<Finding> {
    let name = &served.interface;
    match facts.links.get(name)?.program {
        Some((program, true)) if program.mode == Mode::Generic => Some(Finding::hint(
            name,
            "the decapsulator runs in generic mode, at several times the cost per packet: the driver has no native XDP",
        )),
        Some((_, true)) => None,
        Some((program, false)) => {
            let found = format!(
                "it has an XDP program of somebody else (id {}), so tunnelled packets are not unpacked",
                program.id
            );
            Some(Finding::problem(name, found).remedy(format!("ip link set dev {name} xdp off")))
        }
        None => {
            let vips: Vec<_> = served.vips.iter().map(|vip| format!("--vip {vip}")).collect();
            let remedy = format!("sluice backend up --interface {name} {}", vips.join(" "));
            Some(
                Finding::problem(name, "it has no decapsulator, so tunnelled packets are not unpacked")
                    .remedy(remedy),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Link;

    fn good() -> Facts {
        let lo = Link { up: true, addresses: vec![("203.0.113.10".parse().unwrap(), 32)], ..Link::default() };
        let eth0 = Link { up: true, mtu: 1500, ..Link::default() };
        let settings = [
            ("ipv4/conf/all/arp_ignore", "1"),
            ("ipv4/conf/eth0/arp_ignore", "0"),
            ("ipv4/conf/all/arp_announce", "2"),
            ("ipv4/conf/eth0/arp_announce", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/eth0/rp_filter", "2"),
        ];
        Facts {
            links: [("lo".to_owned(), lo), ("eth0".to_owned(), eth0)].into(),
            settings: settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..Facts::default()
        }
    }

    fn remedies(facts: &Facts, tunnelled: bool) -> Vec<String> {
        let vips = vec!["203.0.113.10".parse().unwrap()];
        let served = Served { interface: "eth0".to_owned(), vips, tunnelled, ports: Vec::new() };
        check(facts, &served).into_iter().map(|finding| finding.remedy.unwrap()).collect()
    }

    #[test]
    fn settings_are_what_the_kernel_goes_by() {
        assert_eq!(remedies(&good(), false), Vec::<String>::new());
        let cases = [
            ("ipv4/conf/all/arp_ignore", "0", "sysctl -w net.ipv4.conf.all.arp_ignore=1"),
            ("ipv4/conf/all/arp_announce", "1", "sysctl -w net.ipv4.conf.all.arp_announce=2"),
            ("ipv4/conf/eth0/rp_filter", "1", "sysctl -w net.ipv4.conf.eth0.rp_filter=2"),
        ];
        for (key, value, remedy) in cases {
            let mut facts = good();
            facts.settings.insert(key.to_owned(), value.to_owned());
            assert_eq!(remedies(&facts, false), [remedy]);
        }
    }

    #[test]
    fn vip_is_on_lo_alone() {
        let with = |name: &str, length| {
            let mut facts = good();
            let link = facts.links.get_mut(name).unwrap();
            link.addresses = vec![("203.0.113.10".parse().unwrap(), length)];
            facts
        };
        let mut none = good();
        none.links.get_mut("lo").unwrap().addresses.clear();
        assert_eq!(remedies(&none, false), ["ip address add 203.0.113.10/32 dev lo"]);
        let wide = "ip address del 203.0.113.10/24 dev lo && ip address add 203.0.113.10/32 dev lo";
        assert_eq!(remedies(&with("lo", 24), false), [wide]);
        assert_eq!(remedies(&with("eth0", 24), false), ["ip address del 203.0.113.10/24 dev eth0"]);
    }

    #[test]
    fn server_listens_at_the_vip_or_everywhere() {
        let found = |vip: &str, port: &str, listens: &[&str]| {
            let listener = |at: &&str| {
                let (address, transport) = at.split_once('/').unwrap();
                let transport = if transport == "tcp" { Transport::Tcp } else { Transport::Udp };
                Listener { transport, address: address.parse().unwrap() }
            };
            let facts = Facts { listeners: listens.iter().map(listener).collect(), ..Facts::default() };
            let found = super::listener(vip.parse().unwrap(), port.parse().unwrap(), &facts);
            found.map(|finding| finding.found)
        };
        for at in ["203.0.113.10:80/tcp", "0.0.0.0:80/tcp", "[::]:80/tcp"] {
            assert_eq!(found("203.0.113.10", "80", &[at]), None, "{at}");
        }
        assert_eq!(found("2001:db8::10", "53/udp", &["[2001:db8::10]:53/udp"]), None);
        assert!(found("2001:db8::10", "80", &["0.0.0.0:80/tcp"]).is_some(), "of IPv4 alone");
        assert!(found("203.0.113.10", "53/udp", &["0.0.0.0:53/tcp", "0.0.0.0:54/udp"]).is_some());
        let told = found("203.0.113.10", "80", &["192.0.2.11:80/tcp"]).unwrap();
        assert_eq!(told, "nothing listens at the VIP 203.0.113.10, port 80/tcp, but at 192.0.2.11 alone");
    }

    #[test]
    fn ports_are_read_with_what_comes_there() {
        assert_eq!("53/udp".parse::<Port>().unwrap().to_string(), "53/udp");
        assert_eq!("80".parse::<Port>().unwrap().to_string(), "80/tcp");
        for bad in ["0", "80/sctp", "http", "70000"] {
            assert!(bad.parse::<Port>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tunnels_need_the_decapsulator() {
        assert_eq!(remedies(&good(), true), ["sluice backend up --interface eth0 --vip 203.0.113.10"]);
    }
}
