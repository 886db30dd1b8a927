//! An interface that clients' packets arrive at.

use super::{Facts, Finding, Link, driver, queues};
use crate::{budget, config::Config, interface::Mode};

/// What joins packets before XDP sees them, or instead of it (`linux/netdev_features.h`).
const JOINERS: [(&str, &str); 2] = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")];

pub(super) fn check(name: &str, config: &Config, facts: &Facts) -> Vec<Finding> {
    let Some(link) = facts.links.get(name) else {
        return vec![Finding::problem(name, "there is no such interface, and balancer.interfaces names it")];
    };
    let mut findings = Vec::new();
    if !link.up {
        findings.push(Finding::problem(name, "it is down").remedy(format!("ip link set dev {name} up")));
    }
    findings.extend(program(name, link));
    for (feature, option) in JOINERS {
        if link.features.iter().any(|active| active == feature) {
            let found = format!("the driver joins packets ({feature}), which cannot be forwarded so");
            findings.push(Finding::problem(name, found).remedy(format!("ethtool -K {name} {option} off")));
        }
    }
    if link.veth && link.features.iter().any(|active| active == "tx-checksum-ip-generic") {
        let found =
            "a veth device leaves checksums to hardware, and XDP at its other end forwards them unfinished";
        findings.push(Finding::hint(name, found).remedy(format!("ethtool -K {name} tx off")));
    }
    findings.extend(other_end(link, facts));
    findings.extend(queues::check(name, link, facts));
    findings.extend(sizes(name, link, config));
    findings
}

fn program(name: &str, link: &Link) -> Option<Finding> {
    match link.program {
        Some((program, false)) => {
            let found = format!(
                "it has an XDP program of somebody else (id {}), so Sluice cannot be attached",
                program.id
            );
            Some(Finding::problem(name, found).remedy(format!("ip link set dev {name} xdp off")))
        }
        Some((program, true)) if program.mode == Mode::Generic => Some(Finding::hint(name, generic(link))),
        Some(_) => None,
        None => unattached(name, link.driver.as_deref()?),
    }
}

fn generic(link: &Link) -> String {
    let costly = "Sluice runs in generic mode, at several times the cost per packet";
    match link.driver.as_deref().filter(|driver| driver::has_native(driver) == Some(true)) {
        Some(driver) => format!(
            "{costly}, though its driver {driver} has native XDP: balancer.mode asks for it, or the log of `sluice run` says \
             what the driver does not like"
        ),
        None => format!("{costly}: the driver has no native XDP"),
    }
}

/// What is to be expected of a driver.
fn unattached(name: &str, driver: &str) -> Option<Finding> {
    let found = match driver::has_native(driver) {
        Some(true) => return None,
        Some(false) => format!(
            "its driver {driver} has no native XDP: Sluice will run in generic mode, at several times the cost per packet"
        ),
        None => format!(
            "whether its driver {driver} has native XDP is not known; `sluice status` will say which mode it is"
        ),
    };
    Some(Finding::hint(name, found))
}

/// What XDP transmits into one end of a pair arrives only where the other end runs XDP too. An end in another namespace is not
/// seen.
fn other_end(link: &Link, facts: &Facts) -> Option<Finding> {
    let peer = link.peer.as_deref()?;
    let is_without = facts.links.get(peer)?.program.is_none();
    let found = "it has no XDP program, so what Sluice transmits into this end of the pair never arrives: attach one that passes \
                 everything";
    is_without.then(|| Finding::problem(peer, found))
}

/// What tunnels take of the interface's packets.
fn sizes(name: &str, link: &Link, config: &Config) -> Option<Finding> {
    let mtu = u16::try_from(link.mtu).unwrap_or(u16::MAX);
    let of_service = |service: &crate::config::Service| {
        let least = service.backends.iter().map(|backend| budget::configured(service, backend, mtu)).min()?;
        budget::remedy(&service.key(), least).map(|remedy| (least, remedy))
    };
    let (least, _) = config.services.iter().filter_map(|service| of_service(service)).min()?;
    let more = u32::from(1500_u16.saturating_sub(least));
    let found = format!("an MTU of {mtu} leaves clients {least} bytes through tunnels to backends");
    Some(Finding::hint(name, found).remedy(format!("ip link set dev {name} mtu {}", link.mtu + more)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{doctor::Severity, interface::Attached};

    fn config(forwarding: &str) -> Config {
        let text = format!(
            "[balancer]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\n\
             protocol = \"tcp\"\nforwarding = \"{forwarding}\"\nprobe = {{ type = \"none\" }}\n\
             [[service.backend]]\nname = \"b1\"\naddress = \"192.0.2.11\"\n"
        );
        Config::parse("sluice.toml", &text).unwrap().0
    }

    fn found(link: Link, forwarding: &str) -> Vec<(Severity, Option<String>)> {
        let facts = Facts { links: [("eth0".to_owned(), link)].into(), ..Facts::default() };
        let findings = check("eth0", &config(forwarding), &facts).into_iter();
        findings.map(|finding| (finding.severity, finding.remedy)).collect()
    }

    fn good() -> Link {
        Link { up: true, mtu: 1500, ..Link::default() }
    }

    #[test]
    fn other_end_of_a_pair_runs_xdp_too() {
        let pair = |program| {
            let near = Link { veth: true, peer: Some("peer0".to_owned()), ..good() };
            let far = Link { program, ..good() };
            let links = [("eth0".to_owned(), near), ("peer0".to_owned(), far)].into();
            let found = check("eth0", &config("l2"), &Facts { links, ..Facts::default() });
            found.into_iter().map(|finding| (finding.severity, finding.subject)).collect::<Vec<_>>()
        };
        assert_eq!(pair(None), [(Severity::Problem, "peer0".to_owned())]);
        assert_eq!(pair(Some((Attached { id: 7, mode: Mode::Native }, false))), []);
    }

    #[test]
    fn each_finding_has_its_remedy() {
        let with = |feature: &str| Link { features: vec![feature.to_owned()], ..good() };
        let (native, foreign) =
            (Attached { id: 7, mode: Mode::Native }, Attached { id: 8, mode: Mode::Native });
        let cases = [
            (Link { up: false, ..good() }, "l2", Severity::Problem, "ip link set dev eth0 up"),
            (with("rx-lro"), "l2", Severity::Problem, "ethtool -K eth0 lro off"),
            (with("rx-gro-hw"), "l2", Severity::Problem, "ethtool -K eth0 rx-gro-hw off"),
            (
                Link { program: Some((foreign, false)), ..good() },
                "l2",
                Severity::Problem,
                "ip link set dev eth0 xdp off",
            ),
            (
                Link { veth: true, ..with("tx-checksum-ip-generic") },
                "l2",
                Severity::Hint,
                "ethtool -K eth0 tx off",
            ),
            (good(), "ipip", Severity::Hint, "ip link set dev eth0 mtu 1520"),
        ];
        for (link, forwarding, severity, remedy) in cases {
            assert_eq!(found(link, forwarding), [(severity, Some(remedy.to_owned()))]);
        }
        assert_eq!(found(Link { program: Some((native, true)), ..good() }, "l2"), []);
        let driven = |driver: &str| Link { driver: Some(driver.to_owned()), ..good() };
        assert_eq!(found(driven("mlx5_core"), "l2"), []);
        for driver in ["e1000e", "fancy"] {
            assert_eq!(found(driven(driver), "l2"), [(Severity::Hint, None)], "{driver}");
        }
        assert_eq!(found(Link { program: Some((native, true)), ..driven("fancy") }, "l2"), []);
        let generic = Attached { id: 9, mode: Mode::Generic };
        let told = program("eth0", &Link { program: Some((generic, true)), ..driven("ena") }).unwrap().found;
        assert!(told.contains("though its driver ena has native XDP"), "{told}");
        let none = check("eth0", &config("l2"), &Facts::default());
        assert!(none[0].found.contains("no such interface"), "{none:?}");
    }
}
