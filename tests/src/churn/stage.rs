//! Where the events of one balancer happen.
//!
//! ```text
//!   clients     balancer    b1 ipip   b2 l2   ...   b10 l2
//!      |          |   |        |        |              |
//!   ---+----------+---|--------+--------+------ ... ---+---
//!                     |
//!                   flood (where there is one)
//! ```
//!
//! Each backend serves all services. `churn` is what events are about; `settle` forgets silent flows soon, and none of
//! its clients is silent; `grace` keeps flows of backends that are down for a moment only, and all of its clients are
//! silent while that happens; `keep` does not give them up after that moment.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    Options,
    balancer::{Balancer, Work},
    clients::{Clients, Manner},
    flood::{self, Attacker, Flooding},
    line::{Awake, Place, Role},
    report::Counted,
    server::{EchoServer, Ports, Probe},
    settings::{Service, Settings},
    wire::Identity,
};
use crate::{
    balancer::Prepared,
    process::wait_until,
    random::Random,
    status::Status,
    topology::{Host, Lan, VIP4, VIP6},
};

/// How many backends there are.
pub(super) const BACKENDS: u8 = 10;

pub(super) const CHURN: Ports = Ports { service: 7000, probe: 7100 };
pub(super) const SETTLE: Ports = Ports { service: 7001, probe: 7101 };
pub(super) const GRACE: Ports = Ports { service: 7002, probe: 7102 };
pub(super) const KEEP: Ports = Ports { service: 7003, probe: 7103 };

/// How long the services `settle` remember a silent flow.
const SETTLE_IDLE: &str = "3s";

/// How long the services `grace` and `keep` do not ask what becomes of the flows of a backend that is down.
pub(super) const DOWN_GRACE: Duration = Duration::from_secs(1);

/// How long slots may take to settle, of which the daemon looks at intervals of seconds.
const LONG: Duration = Duration::from_mins(1);

/// See the module. Fields are dropped in order.
pub(super) struct Stage<'net> {
    pub(super) clients: Clients,
    flooding: Option<Flooding>,
    _attacker: Option<Attacker>,
    pub(super) servers: Vec<Option<EchoServer>>,
    pub(super) balancer: Balancer<'net>,
    _prepared: Vec<Prepared<'net>>,
    pub(super) backends: &'net [Host],
    /// The file that every event starts from and comes back to.
    pub(super) base: Settings,
    pub(super) random: Random,
    pub(super) binary: PathBuf,
    pub(super) other_binary: Option<PathBuf>,
    pub(super) edits: usize,
    pub(super) random_steps: usize,
    pause: Duration,
    /// The cohort that is woken for the event that happens.
    pub(super) cohort: usize,
    woken: bool,
    /// The cohort of the services `grace`.
    silent: usize,
    keys: Vec<(String, String)>,
}

impl<'net> Stage<'net> {
    /// Sets everything up, and waits until all clients are connected. There is a cohort for each of `events`.
    pub(super) fn set_up(lan: &'net Lan, options: &Options, events: usize) -> Result<Self> {
        let attacker =
            options.flood.as_ref().map(|_| Attacker::join(&lan.balancer, &options.object)).transpose()?;
        let prepare = |host| Prepared::up(host, &options.binary, &[VIP4, VIP6], &[]);
        let prepared = lan.backends.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let start = |backend| start_server(&lan.backends, backend, 0, options.pause);
        let servers =
            (0..lan.backends.len()).map(|backend| start(backend).map(Some)).collect::<Result<_>>()?;
        let interfaces = if attacker.is_some() { &["eth0", flood::INTERFACE][..] } else { &["eth0"] };
        // The last backend is there, but joins only when an event lets it.
        let (_, joined) = lan.backends.split_last().context("there are no backends")?;
        let services = services(joined, &options.keys);
        let work = Work { interfaces, peers: &[], services };
        let balancer = Balancer::start(&lan.balancer, &options.binary, work)?;
        let mut random = Random::new(options.seed);
        let places = (0..options.connections).map(|_| place(&mut random, events)).collect();
        let manner = Manner { pause: options.pause, seed: random.next() };
        tune(&lan.client, &lan.backends)?;
        let clients = Clients::start(&lan.client.netns, places, lan.backends.len(), manner)?;
        let flooding = options.flood.as_ref().zip(attacker.as_ref());
        let flooding = flooding.map(|(flood, attacker)| attacker.flood(VIP4, CHURN.service, flood));
        let flooding = flooding.transpose()?;
        Ok(Self {
            clients,
            flooding,
            _attacker: attacker,
            servers,
            base: balancer.settings.clone(),
            balancer,
            _prepared: prepared,
            backends: &lan.backends,
            random,
            binary: options.binary.clone(),
            other_binary: options.other_binary.clone(),
            edits: options.edits,
            random_steps: options.random_steps,
            pause: options.pause,
            cohort: 0,
            woken: false,
            silent: events,
            keys: options.keys.clone(),
        })
    }

    /// Makes it the turn of the next event.
    pub(super) fn begin(&mut self, cohort: usize) {
        (self.cohort, self.woken) = (cohort, false);
    }

    /// Lets the backend that has not been in the file join the services, for good.
    pub(super) fn complete(&mut self) -> Result<()> {
        self.base.services = services(self.backends, &self.keys);
        let base = self.base.clone();
        self.apply(|settings| *settings = base)
    }

    /// Waits until every active connection has made a round trip.
    pub(super) fn settle(&self) -> Result<()> {
        self.clients.round(Awake::Nobody)
    }

    /// The same, after waking the clients that were silent until this event.
    pub(super) fn wake(&mut self) -> Result<()> {
        self.woken = true;
        self.clients.round(Awake::Cohort(self.cohort))
    }

    /// The same for the clients of the services `grace`.
    pub(super) fn wake_silent(&self) -> Result<()> {
        self.clients.round(Awake::Cohort(self.silent))
    }

    /// Changes the file, waits until the tables follow, and until every active connection has made a round trip.
    pub(super) fn apply(&mut self, change: impl FnOnce(&mut Settings)) -> Result<()> {
        self.balancer.apply(change)?;
        self.settle()
    }

    /// Makes everything as it was before the event, whatever is left of it.
    pub(super) fn restore(&mut self) -> Result<()> {
        self.servers.iter().flatten().for_each(EchoServer::answer_probes);
        if !self.balancer.is_running() {
            self.balancer.start_daemon(&self.binary)?;
        }
        let base = self.base.clone();
        if self.balancer.settings != base {
            self.balancer.edit(|settings| *settings = base)?;
        }
        for backend in 0..self.servers.len() {
            if self.servers[backend].is_none() {
                self.revive(backend)?;
            }
        }
        self.wait_for_health("up", CHURN, &|_| true)?;
        self.balancer.converge()?;
        if self.woken { self.settle() } else { self.wake() }
    }

    /// Lets the server of a backend die.
    pub(super) fn kill(&mut self, backend: usize) {
        // Before and after: it takes connections until it is dead.
        self.clients.board.bury(backend);
        drop(self.servers[backend].take());
        self.clients.board.bury(backend);
    }

    /// Starts the server of a backend anew.
    pub(super) fn revive(&mut self, backend: usize) -> Result<()> {
        let life = self.clients.board.life(backend);
        self.servers[backend] = Some(start_server(self.backends, backend, life, self.pause)?);
        Ok(())
    }

    /// Lets a service's probes of a backend succeed or fail, while the backend serves on.
    pub(super) fn set_probe(&self, backend: usize, ports: Ports, probe: Probe) {
        if let Some(server) = &self.servers[backend] {
            server.set_probe(ports.probe, probe);
        }
    }

    /// Waits until the backends of a service's ports that are `meant` have this health.
    pub(super) fn wait_for_health(
        &mut self,
        health: &str,
        ports: Ports,
        meant: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let services = &self.balancer.settings.services;
        let names: Vec<_> = services
            .iter()
            .filter(|service| service.address.port() == ports.service)
            .map(|service| service.name.clone())
            .collect();
        let are = |status: &Status| {
            let mut services = names.iter().filter_map(|name| status.service(name));
            services.all(|service| {
                let mut backends = service.backends.iter().filter(|backend| meant(&backend.name));
                backends.all(|backend| backend.health == health)
            })
        };
        self.balancer.daemon()?.wait_for(&format!("the backends to be {health}"), are).map(drop)
    }

    /// Waits until the status meets a condition that takes its time.
    pub(super) fn wait_long(&mut self, what: &str, condition: &dyn Fn(&Status) -> bool) -> Result<()> {
        let balancer = &self.balancer;
        wait_until(LONG, what, || balancer.status().is_ok_and(|status| condition(&status)))
    }

    /// The balancer's and the flood's counters.
    pub(super) fn counted(&mut self) -> Result<Counted> {
        let status = self.balancer.daemon()?.wait_for("the counters", |_| true)?;
        Ok(Counted { reasons: status.packets_by_reason(), sent: self.flooding.as_ref().map(Flooding::sent) })
    }

    /// Whether there is a flood.
    pub(super) const fn is_flooded(&self) -> bool {
        self.flooding.is_some()
    }
}

/// Settings of the hosts at both ends: a port for every connection, those of the last minute included; and where packets
/// were lost, another try within a second, for longer than the clients wait, so that silence is no accident of a full
/// queue and no kernel gives up before.
pub(super) fn tune(client: &Host, backends: &[Host]) -> Result<()> {
    client.netns.set_sysctl("ipv4/ip_local_port_range", "10000 65535")?;
    for host in backends.iter().chain([client]) {
        // Linux 6.15 or later.
        let _ = host.netns.set_sysctl("ipv4/tcp_rto_max_ms", "1000");
        host.netns.set_sysctl("ipv4/tcp_retries2", "100")?;
    }
    Ok(())
}

/// Lets time pass where there is nothing to look at: a grace, for one, ends silently.
pub(super) fn let_pass(duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    wait_until(2 * duration, "time to pass", || Instant::now() >= end)
}

pub(super) fn start_server(hosts: &[Host], backend: usize, life: u64, pause: Duration) -> Result<EchoServer> {
    let identity = Identity { backend: backend as u64, life };
    EchoServer::start(&hosts[backend], identity, &[CHURN, SETTLE, GRACE, KEEP], pause)
}

fn services(backends: &[Host], keys: &[(String, String)]) -> Vec<Service> {
    let of_vip = |(suffix, vip)| {
        let service = |name, ports| {
            let service = Service::new(&format!("{name}{suffix}"), vip, ports, backends);
            keys.iter().fold(service, |service, (key, value)| service.with(key, value))
        };
        let grace = format!("{}s", DOWN_GRACE.as_secs());
        [
            service("churn", CHURN).with("idle_timeout", "1h").with("down_grace", "1h"),
            service("settle", SETTLE).with("idle_timeout", SETTLE_IDLE).with("down_grace", "1h"),
            service("grace", GRACE).with("idle_timeout", "1h").with("down_grace", &grace),
            service("keep", KEEP)
                .with("idle_timeout", "1h")
                .with("down_grace", &grace)
                .with("on_down", "keep"),
        ]
    };
    [("4", VIP4), ("6", VIP6)].into_iter().flat_map(of_vip).collect()
}

/// One of a hundred clients in these parts: 4 silent ones of `grace`, 6 of `settle`, 4 of `keep`; of `churn` 20 silent
/// ones, 10 whose connections are short, 6 that only listen, and the others, which talk.
fn place(random: &mut Random, cohorts: usize) -> Place {
    let vip = random.pick(&[VIP4, VIP6]);
    let (ports, role) = match random.below(100) {
        0..4 => (GRACE, Role::Sleeper { cohort: cohorts }),
        4..6 => (SETTLE, Role::Passer),
        6..10 => (SETTLE, Role::Talker),
        10..14 => (KEEP, Role::Talker),
        14..34 => (CHURN, Role::Sleeper { cohort: random.below(cohorts) }),
        34..44 => (CHURN, Role::Passer),
        44..50 => (CHURN, Role::Listener),
        _ => (CHURN, Role::Talker),
    };
    Place { target: (vip, ports.service).into(), role }
}
