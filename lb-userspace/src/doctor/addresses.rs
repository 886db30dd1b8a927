//! Addresses of a balancer.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Facts, Finding};
use crate::config::Config;

/// A VIP on a balancer that is no backend itself: its own stack takes what Sluice passes, and answers ARP and connections.
pub(super) fn check(config: &Config, facts: &Facts) -> Vec<Finding> {
    let own: BTreeSet<IpAddr> =
        facts.links.values().flat_map(|link| link.addresses.iter().map(|(ip, _)| *ip)).collect();
    let serves = |vip: IpAddr| {
        let services = config.services.iter().filter(|service| service.address == vip);
        services.flat_map(|service| &service.backends).any(|backend| own.contains(&backend.address))
    };
    let vips: BTreeSet<IpAddr> = config.services.iter().map(|service| service.address).collect();
    let mut findings = Vec::new();
    for (name, link) in &facts.links {
        for (address, length) in link.addresses.iter().filter(|(address, _)| vips.contains(address)) {
            if !serves(*address) {
                let found =
                    format!("the VIP {address} is an address of this host, which is none of its backends");
                let remedy = format!("ip address del {address}/{length} dev {name}");
                findings.push(Finding::problem(name, found).remedy(remedy));
            }
        }
    }
    let nat = config.balancer.nat.is_some();
    for name in config.balancer.interfaces.iter().filter(|_| nat) {
        if facts.strictest("rp_filter", name) == Some(1) {
            let found =
                "strict reverse path filtering drops replies of backends that probes by another way wait for";
            let key = format!("net.ipv4.conf.{name}.rp_filter");
            findings.push(Finding::hint(name, found).remedy(format!("sysctl -w {key}=2")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Link;

    #[test]
    fn vip_is_for_balancers_that_are_backends() {
        let text = "[balancer]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"203.0.113.10\"\n\
                    port = 80\nprotocol = \"tcp\"\nforwarding = \"l2\"\n[[service.backend]]\nname = \"b1\"\n\
                    address = \"192.0.2.11\"\n";
        let (config, _) = Config::parse("sluice.toml", text).unwrap();
        let facts = |addresses: &[(&str, u8)]| {
            let addresses = addresses.iter().map(|(ip, length)| (ip.parse().unwrap(), *length)).collect();
            Facts {
                links: [("lo".to_owned(), Link { addresses, ..Link::default() })].into(),
                ..Facts::default()
            }
        };
        assert_eq!(check(&config, &facts(&[("192.0.2.1", 24)])), []);
        assert_eq!(
            check(&config, &facts(&[("203.0.113.10", 32), ("192.0.2.11", 24)])),
            [],
            "it is a backend"
        );
        let found = check(&config, &facts(&[("203.0.113.10", 32)]));
        assert_eq!(found[0].remedy.as_deref(), Some("ip address del 203.0.113.10/32 dev lo"));
    }
}
