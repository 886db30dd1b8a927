//! A loaded balancer whose maps a configuration has filled, by the daemon's own plan and reconciliation.

#[path = "pool.rs"]
mod pool;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::{
    counter::{Fate, Reason},
    knobs::{
        FEATURE_AFFINITY, FEATURE_ANY_PORT, FEATURE_COOKIES, FEATURE_ECHO, FEATURE_FRAGMENTS, FEATURE_GUE,
        FEATURE_LIMITS, FEATURE_LISTS, FEATURE_NAT, FEATURE_PASSIVE, FEATURE_PEERS, FEATURE_QUIC,
        FEATURE_RATES, FEATURE_RESET, FEATURE_STRICT, FEATURE_TRACKING,
    },
    service::ServiceKey,
};
use sluice::{
    config::Config,
    dataplane::DataPlane as _,
    health::{Health, TargetKey},
    neighbours::NextHop,
    plan::{Plan, Tables, Verdict, View, guards::Guards, plan},
    reconcile::{Applied, reconcile},
};

use self::pool::Pooled;

/// What every configuration of a test begins with.
const PRELUDE: &str = r#"
[balancer]
interfaces = ["lo"]
[fleet]
seed = "000102030405060708090a0b0c0d0e0f"
[defaults]
slots = 1021
[limits]
services = 64
backends = 256
slots = 131072
"#;

/// A backend of either family.
pub const V4_BACKEND: &str = "198.51.100.11";
/// See [`V4_BACKEND`].
pub const V6_BACKEND: &str = "2001:db8:51::11";

/// Ways to forward packets as clients have sent them: mode, backend, and bytes of what is put around a packet.
pub const WAYS: [(&str, &str, u16); 5] = [
    ("l2", V4_BACKEND, 0),
    ("ipip", V4_BACKEND, 20),
    ("ipip", V6_BACKEND, 40),
    ("gue", V4_BACKEND, 32),
    ("gue", V6_BACKEND, 52),
];

/// What a balancer that guards nothing is loaded for, whatever a test configures.
pub const UNGUARDED: u32 = FEATURE_ANY_PORT
    | FEATURE_TRACKING
    | FEATURE_AFFINITY
    | FEATURE_PEERS
    | FEATURE_PASSIVE
    | FEATURE_RESET
    | FEATURE_QUIC
    | FEATURE_ECHO
    | FEATURE_GUE;
/// And one that guards everything.
pub const GUARDED: u32 = UNGUARDED | FEATURE_STRICT | FEATURE_LISTS | FEATURE_RATES | FEATURE_LIMITS;

/// What the program is loaded for only where a test configures it: the verifier takes its time.
fn features_of(config: &Config) -> u32 {
    let fragments = config.services.iter().any(|service| service.fragments);
    let nat = config.balancer.nat.is_some();
    let cookies = config.services.iter().any(|service| service.guard.syn_cookies.is_some());
    let used = [(fragments, FEATURE_FRAGMENTS), (nat, FEATURE_NAT), (cookies, FEATURE_COOKIES)];
    used.into_iter().filter(|(used, _)| *used).fold(0, |features, (_, feature)| features | feature)
}

/// The interface that test packets come by: the kernel takes the loopback device of the namespace.
pub const INGRESS: u32 = 1;
/// MAC address of every egress interface.
pub const EGRESS_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xee];

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why.
    pub reason: Reason,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// A loaded balancer.
pub struct Harness {
    pub dataplane: Pooled,
    pub applied: Applied,
    pub plan: Plan,
    pub view: View,
    config: Config,
    /// The rest of `[limits]`.
    limits: String,
    tables: Tables,
    now: Duration,
}

impl Harness {
    /// Loads the program and fills its maps for the services in `toml`.
    pub fn new(toml: &str) -> Self {
        Self::load(GUARDED, "", toml, |_| {})
    }

    /// As [`Self::new`], the program that has no guards.
    pub fn unguarded(toml: &str) -> Self {
        Self::load(UNGUARDED, "", toml, |_| {})
    }

    /// As [`Self::new`], the program that is loaded for `features` alone.
    pub fn only_for(features: u32, toml: &str) -> Self {
        Self::load(features, "", toml, |_| {})
    }

    /// As [`Self::with_limits`], the program that has `features` too.
    pub fn with_features(features: u32, limits: &str, toml: &str) -> Self {
        Self::load(GUARDED | features, limits, toml, |_| {})
    }

    /// As [`Self::new`], with more under `[limits]`.
    pub fn with_limits(limits: &str, toml: &str) -> Self {
        Self::load(GUARDED, limits, toml, |_| {})
    }

    /// As [`Self::new`], with next hops changed by `adjust`.
    pub fn with_next_hops(toml: &str, adjust: impl Fn(&mut NextHop)) -> Self {
        Self::load(GUARDED, "", toml, adjust)
    }

    fn load(features: u32, limits: &str, toml: &str, adjust: impl Fn(&mut NextHop)) -> Self {
        let config = parse(limits, toml);
        let dataplane = Pooled::get(&config, features | features_of(&config));
        let mut view = View::default();
        for backend in config.services.iter().flat_map(|service| &service.backends) {
            let mut next_hop = next_hop(backend.address);
            adjust(&mut next_hop);
            view.next_hops.insert(backend.address, Arc::new(next_hop));
        }
        let applied = Applied::new(&config.limits, config.fleet.seed.index_key());
        let plan = Plan::default();
        let tables = Tables::default();
        let mut harness = Self {
            dataplane,
            applied,
            plan,
            view,
            config,
            limits: limits.to_owned(),
            tables,
            now: sluice::daemon::now(),
        };
        harness.converge();
        harness
    }

    /// Makes the maps follow another configuration.
    pub fn reload(&mut self, toml: &str) {
        self.config = parse(&self.limits, toml);
        for backend in self.config.services.iter().flat_map(|service| &service.backends) {
            self.view.next_hops.entry(backend.address).or_insert_with(|| Arc::new(next_hop(backend.address)));
        }
        self.converge();
    }

    /// Makes an address this host's own.
    pub fn own(&mut self, address: &str) {
        self.view.own.insert(address.parse().expect("an address"));
        self.converge();
    }

    /// Makes the maps follow a backend's health.
    pub fn set_health(&mut self, service: &str, backend: &str, health: Health) {
        let key = TargetKey { service: service.to_owned(), backend: backend.to_owned() };
        let services = self.config.services.iter().filter(|found| found.name == service);
        let mut backends =
            services.flat_map(|service| service.backends.iter().map(move |found| (service, found)));
        let (service, found) =
            backends.find(|(_, found)| found.name == backend).expect("a configured backend");
        let probe = service.probe.as_ref().expect("a probed service");
        let target = (found.address, probe.port).into();
        self.view.health.insert(key, Verdict { target, health, since: self.now });
        self.converge();
    }

    /// Lets time pass, for what the daemon decides by time.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
        self.converge();
    }

    /// Runs the balancer on `frame`.
    pub fn run(&mut self, frame: &[u8]) -> Outcome {
        self.run_behind(0, frame)
    }

    /// Runs the balancer on `frame` where the driver has taken `metadata` bytes of the headroom (a multiple of four,
    /// at most 216).
    pub fn run_behind(&mut self, metadata: usize, frame: &[u8]) -> Outcome {
        let before = self.dataplane.reasons();
        let program = self.dataplane.program().unwrap_or_else(|error| panic!("{error}"));
        let (action, frame) = run_behind(program, metadata, frame);
        let after = self.dataplane.reasons();
        let mut counted = Reason::ALL.into_iter().zip(before.iter().zip(after));
        let grown = |(_, (before, after)): &(Reason, (&_, _))| before != &after;
        let (reason, _) = counted.find(grown).expect("every packet is counted under a reason");
        assert!(!counted.any(|counter| grown(&counter)), "a packet is counted once");
        assert_eq!(action, action_of(reason), "action of {reason:?}");
        Outcome { reason, frame }
    }

    /// The backend of the default service that `frame` is forwarded to, told by its next hop.
    pub fn backend_of(&mut self, frame: &[u8]) -> u8 {
        let outcome = self.run(frame);
        assert_eq!(outcome.reason.fate(), Fate::Forward, "{:?}", outcome.reason);
        outcome.frame[5]
    }

    /// Number of a service's entry.
    pub fn service_id(&self, vip: IpAddr, port: u16, protocol: u8) -> u32 {
        let key = ServiceKey::new(vip.into(), port, protocol);
        self.applied.service(&key).expect("the service is applied").id
    }

    fn converge(&mut self) {
        let plan = plan(&self.config, &self.view, &mut self.tables, self.now);
        let (ops, next) = reconcile(&self.applied, &plan, &*self.dataplane, self.now).expect("the plan fits");
        self.dataplane.follow(&ops, &Guards::of(&plan, &next)).expect("the kernel takes the guards");
        (self.applied, self.plan) = (next, plan);
    }
}

/// Runs a program on one frame; gives the XDP action and the frame afterwards.
pub fn run(program: &Xdp, frame: &[u8]) -> (u32, Vec<u8>) {
    run_behind(program, 0, frame)
}

/// As [`run`], with metadata in the headroom: the context says where the frame begins behind it (`struct xdp_md`).
pub fn run_behind(program: &Xdp, metadata: usize, frame: &[u8]) -> (u32, Vec<u8>) {
    let input = [&vec![0; metadata], frame].concat();
    // data, data_end, data_meta, and the interface and queue, which stay the kernel's choice.
    let context = [metadata as u32, input.len() as u32, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
    let mut out = vec![0; input.len() + 256];
    let options = TestRunOptions {
        data_in: Some(&input),
        data_out: Some(&mut out),
        ctx_in: (metadata > 0).then_some(&context),
        ..TestRunOptions::new()
    };
    let result = program.test_run(options).expect("the kernel runs the program");
    out.truncate(result.data_size_out as usize);
    // The metadata moves with the frame.
    (result.return_value, out.split_off(metadata))
}

/// The XDP action of a packet that meets `reason` (linux/bpf.h, `enum xdp_action`).
fn action_of(reason: Reason) -> u32 {
    match (reason.fate(), reason) {
        (Fate::Drop, _) => 1,
        (Fate::Pass, _) => 2,
        (Fate::Forward, Reason::Redirected) => 4,
        (Fate::Forward | Fate::Answer, _) => 3,
    }
}

/// The way to a backend: out where the packet came in, to a MAC address that ends like its address.
fn next_hop(address: IpAddr) -> NextHop {
    let source = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 1)),
    };
    NextHop {
        ifindex: INGRESS,
        interface: "lo".to_owned(),
        mac: backend_mac(address),
        source_mac: EGRESS_MAC,
        source,
        mtu: 1500,
        vlan: 0,
        gateway: None,
    }
}

/// MAC address of the next hop to a backend.
pub fn backend_mac(address: IpAddr) -> [u8; 6] {
    let last = match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    [2, 0, 0, 0, 1, last]
}

fn parse(limits: &str, toml: &str) -> Config {
    let (config, _) = Config::parse("test.toml", &format!("{PRELUDE}{limits}{toml}"))
        .unwrap_or_else(|error| panic!("{error}"));
    config
}

/// A service with backends, in TOML. Each backend is an address; its name is `b` and the address's last number.
pub fn service(name: &str, vip: &str, port: &str, rest: &str, backends: &[&str]) -> String {
    use std::fmt::Write as _;
    let mut toml = format!("[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nport = {port}\n{rest}\n");
    for address in backends {
        let last = address.rsplit(['.', ':']).next().expect("rsplit gives a part");
        writeln!(toml, "[[service.backend]]\nname = \"b{last}\"\naddress = \"{address}\"")
            .expect("a string takes it");
    }
    toml
}
