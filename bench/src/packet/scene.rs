//! Loaded balancers, their maps filled by the daemon's own plan and reconciliation.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aya::programs::Xdp;
use lb_common::{
    counter::Reason,
    knobs::{
        FEATURE_COOKIES, FEATURE_GUE, FEATURE_LIMITS, FEATURE_LISTS, FEATURE_MSS, FEATURE_NAT, FEATURE_RATES,
        FEATURE_STRICT, FEATURE_TRACKING,
    },
};
use sluice::{
    config::Config,
    dataplane::{DataPlane as _, ebpf::EbpfDataPlane, load::Knobs},
    neighbours::NextHop,
    plan::{Tables, View, guards::Guards, plan},
    reconcile::{Applied, reconcile},
};

const PRELUDE: &str = r#"
[balancer]
interfaces = ["lo"]
[fleet]
seed = "000102030405060708090a0b0c0d0e0f"
"#;

/// Two flows' worth of room for each that a case has, so that what is measured is not eviction; for those that begin, as
/// many as begin in a run. No budget refuses any.
const ROOM_FOR_FLOWS: &str =
    "[limits]\ninserts = 100_000_000\nconnections = 2_097_152\nopenings = 1_200_000\n";

/// As many flows begin as there are packets.
const NO_BUDGET: &str = "[limits]\ninserts = 100_000_000\n";

/// The same for sessions of a million flows over IPv4 and fewer over IPv6.
const ROOM_FOR_SESSIONS: &str =
    "[limits]\ninserts = 100_000_000\nnat_sessions = 1_200_000\nnat_openings = 1_200_000\n";

/// The same for fewer over both.
const ROOM_FOR_FEWER: &str =
    "[limits]\ninserts = 100_000_000\nnat_sessions = 200_000\nnat_openings = 200_000\n";

/// What packets are translated to.
pub(crate) const POOL_V4: &str = "198.51.100.250";
/// See [`POOL_V4`].
pub(crate) const POOL_V6: &str = "2001:db8:51::fa";

/// Which balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A service for every way of forwarding; no slot has moved.
    Settled,
    /// A thousand services.
    Many,
    /// A service all of whose slots have moved.
    Moved,
    /// A service that remembers every flow.
    Always,
    /// One that drops malformed packets.
    Strict,
    /// One that allows a thousand networks.
    FewAllowed,
    /// One that allows a quarter of a million.
    ManyAllowed,
    /// One whose sources may open only so many flows.
    SourceRate,
    /// One of which only so many may be opened.
    ServiceRate,
    /// One whose backends have limits.
    Limited,
    /// One that bounds the MSS of SYNs.
    Bounded,
    /// One of each family that is translated, with room for sessions.
    Translated,
    /// The same with as much room for openings as there is where nothing is said.
    TranslatedOpenings,
    /// The same, which answer SYNs with cookies where there are more than come here.
    RareCookies,
    /// The same, which answer every SYN with a cookie.
    AlwaysCookies,
}

/// Those that were asked for.
pub(crate) struct Scenes {
    egress: u32,
    loaded: Vec<(Name, Scene)>,
}

impl Scenes {
    /// None yet. Packets leave by the interface `egress`: transmitted, where it is the one that they come by.
    pub(crate) const fn new(egress: u32) -> Self {
        Self { egress, loaded: Vec::new() }
    }

    /// That one, which is loaded when it is asked for first.
    pub(crate) fn scene(&mut self, name: Name) -> anyhow::Result<&mut Scene> {
        let at = if let Some(at) = self.loaded.iter().position(|(loaded, _)| *loaded == name) {
            at
        } else {
            let scene = name.load(self.egress).context("cannot fill the balancer's maps")?;
            self.loaded.push((name, scene));
            self.loaded.len() - 1
        };
        Ok(&mut self.loaded[at].1)
    }

    /// An error where flows began that were not remembered, since there was no budget for them.
    pub(crate) fn ensure_nothing_was_refused(&self) -> anyhow::Result<()> {
        for (name, scene) in &self.loaded {
            let refused: u64 = scene.dataplane.refused_entries().iter().sum();
            anyhow::ensure!(refused == 0, "{refused} flows of the scene {name:?} were not remembered");
        }
        Ok(())
    }
}

impl Name {
    /// Whether flows are remembered that are not translated.
    pub(crate) const fn remembers(self) -> bool {
        matches!(self, Self::Moved | Self::Always | Self::Limited)
    }

    fn load(self, egress: u32) -> anyhow::Result<Scene> {
        match self {
            Self::Settled => {
                Scene::with_features(FEATURE_TRACKING | FEATURE_GUE, &settled_services(), egress)
            }
            Self::Many => Scene::new(&many_services(), egress),
            Self::Moved => {
                let mut moved = Scene::new(&[ROOM_FOR_FLOWS, &moved_services(1)].concat(), egress)?;
                moved.reload(&[ROOM_FOR_FLOWS, &moved_services(101)].concat())?;
                Ok(moved)
            }
            Self::Always => Scene::new(&[ROOM_FOR_FLOWS, &always_services()].concat(), egress),
            Self::Strict => guarded(FEATURE_STRICT, "", "", egress),
            Self::FewAllowed => allowing(10, egress),
            Self::ManyAllowed => allowing(18, egress),
            Self::SourceRate => guarded(FEATURE_RATES, "max_new_per_source = 100_000_000", "", egress),
            Self::ServiceRate => guarded(FEATURE_RATES, "max_new = 100_000_000", "", egress),
            Self::Limited => limited(egress),
            Self::Bounded => bounded(egress),
            Self::Translated => translated(0, ROOM_FOR_SESSIONS, "\"off\"", egress),
            Self::TranslatedOpenings => translated(0, NO_BUDGET, "\"off\"", egress),
            Self::RareCookies => {
                translated(FEATURE_COOKIES, ROOM_FOR_FEWER, "{ above = 100_000_000 }", egress)
            }
            Self::AlwaysCookies => translated(FEATURE_COOKIES, ROOM_FOR_FEWER, "\"always\"", egress),
        }
    }
}

/// One loaded balancer.
pub(crate) struct Scene {
    dataplane: EbpfDataPlane,
    applied: Applied,
    tables: Tables,
    egress: u32,
}

impl Scene {
    fn new(toml: &str, egress: u32) -> anyhow::Result<Self> {
        Self::with_features(FEATURE_TRACKING, toml, egress)
    }

    fn with_features(features: u32, toml: &str, egress: u32) -> anyhow::Result<Self> {
        let config = parse(toml)?;
        let limits = &config.limits;
        let knobs = Knobs { limits, seed: &config.fleet.seed, features };
        let dataplane = EbpfDataPlane::load(knobs, None)?;
        let applied = Applied::new(limits, config.fleet.seed.index_key());
        let mut scene = Self { dataplane, applied, tables: Tables::default(), egress };
        scene.converge(&config)?;
        Ok(scene)
    }

    fn reload(&mut self, toml: &str) -> anyhow::Result<()> {
        self.converge(&parse(toml)?)
    }

    fn converge(&mut self, config: &Config) -> anyhow::Result<()> {
        let now: Duration = sluice::daemon::now();
        let mut view = View::default();
        for backend in config.services.iter().flat_map(|service| &service.backends) {
            view.next_hops.insert(backend.address, Arc::new(next_hop(backend.address, self.egress)));
        }
        let plan = plan(config, &view, &mut self.tables, now);
        let (ops, next) = reconcile(&self.applied, &plan, &self.dataplane, now)?;
        self.dataplane.follow(&ops, &Guards::of(&plan, &next))?;
        self.applied = next;
        Ok(())
    }

    /// The balancing program.
    pub(crate) fn program(&mut self) -> anyhow::Result<&mut Xdp> {
        Ok(self.dataplane.program()?)
    }

    /// Packets that were counted under `reason`.
    pub(crate) fn packets(&self, reason: Reason) -> u64 {
        self.dataplane.reasons()[reason as usize].packets
    }
}

fn parse(toml: &str) -> anyhow::Result<Config> {
    let (config, _) = Config::parse("bench.toml", &[PRELUDE, toml].concat())
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("the benchmark's configuration is wrong")?;
    Ok(config)
}

/// The way to a backend.
fn next_hop(address: IpAddr, egress: u32) -> NextHop {
    let source = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 1)),
    };
    NextHop {
        ifindex: egress,
        interface: "lo".to_owned(),
        mac: [2, 0, 0, 0, 1, 1],
        source_mac: [2, 0, 0, 0, 0, 0xee],
        source,
        mtu: 1500,
        vlan: 0,
        gateway: None,
    }
}

fn settled_services() -> String {
    [
        service("203.0.113.1", "forwarding = \"l2\"", backends_v4(1, 100)),
        service("203.0.113.2", "forwarding = \"ipip\"", backends_v4(1, 100)),
        service("2001:db8:113::1", "forwarding = \"l2\"", backends_v6(100)),
        service("2001:db8:113::2", "forwarding = \"ipip\"", backends_v6(100)),
        service("2001:db8:113::3", "forwarding = \"ipip\"", backends_v4(1, 100)),
        service("203.0.113.4", "forwarding = \"gue\"", backends_v4(1, 100)),
        service("2001:db8:113::4", "forwarding = \"gue\"", backends_v6(100)),
    ]
    .concat()
}

/// Their VIPs are consecutive, and wrap around nothing.
fn many_services() -> String {
    let first = Ipv4Addr::new(203, 0, 113, 1).to_bits();
    let limits = "[limits]\nservices = 4096\nbackends = 65536\n".to_owned();
    (0..1_000).map(|n| Ipv4Addr::from_bits(first + n).to_string()).fold(limits, |toml, vip| {
        toml + &service(&vip, "forwarding = \"ipip\"\nslots = 1021", backends_v4(1, 10))
    })
}

/// A service whose backends are none of those that another `first` gives.
fn moved_services(first: u8) -> String {
    service("203.0.113.1", "forwarding = \"ipip\"", backends_v4(first, 100))
}

fn always_services() -> String {
    service("203.0.113.1", "forwarding = \"ipip\"\ntrack = \"always\"", backends_v4(1, 100))
}

/// A service with one guard, and nothing else that costs more than without.
fn guarded(feature: u32, guard: &str, lists: &str, egress: u32) -> anyhow::Result<Scene> {
    let malformed = if feature == FEATURE_STRICT { "drop" } else { "forward" };
    let settings = format!("forwarding = \"ipip\"\n[service.guard]\nmalformed = \"{malformed}\"\n{guard}");
    let service = service("203.0.113.1", &settings, backends_v4(1, 100));
    Scene::with_features(FEATURE_TRACKING | feature, &[lists, &service].concat(), egress)
}

/// A service that allows `2^bits` networks: all of 10.0.0.0/8, which the feeder's clients are in.
fn allowing(bits: u32, egress: u32) -> anyhow::Result<Scene> {
    let network = |number: u32| Ipv4Addr::from_bits(10 << 24 | number << (24 - bits));
    let list = (0..1 << bits)
        .fold("[[list]]\nname = \"clients\"\nprefixes = [\n".to_owned(), |list, number| {
            list + &format!("\"{}/{}\",\n", network(number), 8 + bits)
        });
    guarded(FEATURE_LISTS, "allow = [\"clients\"]", &(list + "]\n"), egress)
}

/// As the one that remembers every flow, with room for all of them at every backend.
fn limited(egress: u32) -> anyhow::Result<Scene> {
    let limits = "max_connections = 50_000_000\nmax_new_per_sec = 100_000_000\naddress = \"198";
    let unguarded = "track = \"always\"\n[service.guard]\nmalformed = \"forward\"\n";
    let services =
        always_services().replace("track = \"always\"", unguarded).replace("address = \"198", limits);
    Scene::with_features(FEATURE_TRACKING | FEATURE_LIMITS, &[ROOM_FOR_FLOWS, &services].concat(), egress)
}

fn bounded(egress: u32) -> anyhow::Result<Scene> {
    let service = service("203.0.113.1", "forwarding = \"ipip\"\nmss = 1360", backends_v4(1, 100));
    Scene::with_features(FEATURE_TRACKING | FEATURE_MSS, &service, egress)
}

/// A service of each family that is reached by address translation.
fn translated(feature: u32, limits: &str, syn_cookies: &str, egress: u32) -> anyhow::Result<Scene> {
    let pool = format!("[balancer.nat]\naddresses = [\"{POOL_V4}\", \"{POOL_V6}\"]\n");
    let settings = format!(
        "forwarding = \"nat\"\n[service.guard]\nmalformed = \"forward\"\nsyn_cookies = {syn_cookies}"
    );
    let services = [
        service("203.0.113.1", &settings, backends_v4(1, 100)),
        service("2001:db8:113::1", &settings, backends_v6(100)),
    ];
    let toml = [pool, limits.to_owned(), services.concat()].concat();
    Scene::with_features(FEATURE_TRACKING | FEATURE_NAT | feature, &toml, egress)
}

/// A service in TOML, named by its VIP.
fn service(vip: &str, settings: &str, backends: impl Iterator<Item = String>) -> String {
    let mut toml = format!(
        "[[service]]\nname = \"{}\"\naddress = \"{vip}\"\nport = 80\nprotocol = \"tcp\"\n{settings}\n",
        vip.replace([':', '.'], "-")
    );
    for address in backends {
        writeln!(
            toml,
            "[[service.backend]]\nname = \"b-{}\"\naddress = \"{address}\"",
            address.replace([':', '.'], "-")
        )
        .expect("a string takes it");
    }
    toml
}

fn backends_v4(first: u8, count: u8) -> impl Iterator<Item = String> {
    (first..first + count).map(|last| format!("198.51.100.{last}"))
}

fn backends_v6(count: u8) -> impl Iterator<Item = String> {
    (1..=count).map(|last| format!("2001:db8:51::{last:x}"))
}
