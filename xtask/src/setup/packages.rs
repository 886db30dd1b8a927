//! The programs that the sandbox and the suites call, by the Debian package that brings each.

/// A program and where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// Debian's name; other distributions differ.
    pub(super) name: &'static str,
    /// What must be on the path. The package itself is not asked for: any source of the program will do.
    pub(super) program: &'static str,
    /// What it is for.
    pub(super) reason: &'static str,
    /// The service that the package would start, here and at every boot, which nobody asked for.
    pub(super) service: Option<&'static str>,
}

pub(super) const PACKAGES: &[Package] = &[
    package("iproute2", "ip", "makes the network namespaces, their devices and routes"),
    package("ethtool", "ethtool", "turns off checksum offload on the devices of test clients"),
    package("bpftool", "bpftool", "reads the pinned maps with their field names"),
    package("curl", "curl", "is the HTTP client"),
    Package {
        service: Some("nginx"),
        ..package("nginx-light", "nginx", "is the HTTP server of each backend")
    },
    package("nftables", "nft", "is one of the balancers that the benchmark compares with"),
    Package { service: Some("haproxy"), ..package("haproxy", "haproxy", "is another one") },
    package("iperf3", "iperf3", "keeps a long TCP flow going and counts its retransmissions"),
    package("iputils-ping", "ping", "pings the VIPs"),
    package("dnsmasq-base", "dnsmasq", "is the DNS server that is probed"),
    Package {
        service: Some("etcd"),
        ..package("etcd-server", "etcd", "is the gRPC server that is probed, since it has the health service")
    },
    package("chromium", "chromium", "shows the dashboard, without a screen"),
    package("tshark", "tshark", "reads the packets that `sluice capture` has written"),
    package("systemd", "systemd-analyze", "reads the unit file as the service manager does"),
    package("traceroute", "traceroute", "shows the hops that a client sees"),
    Package {
        service: Some("prometheus"),
        ..package("prometheus", "promtool", "scrapes the metrics, and checks them and the alerts")
    },
];

const fn package(name: &'static str, program: &'static str, reason: &'static str) -> Package {
    Package { name, program, reason, service: None }
}
