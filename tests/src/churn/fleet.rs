//! The events of a fleet: two balancers with the same file behind a router, one of which leaves and comes back.
//!
//! They happen twice: with balancers that tell each other what they know, and with balancers that do not. The second
//! run shows what that is worth, so what breaks in it is a figure and no fault.

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use super::{
    Options, Row,
    balancer::{Balancer, Work},
    clients::{Clients, Manner},
    line::{Awake, Place, Role},
    report::Happening,
    server::EchoServer,
    settings::{Service, Settings},
    stage::{self, CHURN, start_server, tune},
};
use crate::{
    balancer::Prepared,
    interrupt,
    random::Random,
    status::Status,
    topology::{Fleet, VIP4, VIP6},
};

/// Whether balancers tell each other what they know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peers {
    Talk,
    AreSilent,
}

/// Something that happens to a fleet.
struct Event {
    name: &'static str,
    what: &'static str,
    act: fn(&mut FleetStage<'_>) -> Result<()>,
}

/// They build on one another.
const EVENTS: [Event; 4] = [
    Event { name: "add", what: "a backend joins, on both balancers", act: add },
    Event { name: "leave", what: "a balancer leaves", act: leave },
    Event { name: "return", what: "it comes back, knowing nothing", act: come_back },
    Event { name: "crash", what: "it is killed with all that it knew, and replaced", act: crash },
];

/// The balancer that leaves.
const LEAVING: usize = 1;

/// Where the events happen. Fields are dropped in order.
struct FleetStage<'net> {
    clients: Clients,
    balancers: Vec<Balancer<'net>>,
    _servers: Vec<EchoServer>,
    _prepared: Vec<Prepared<'net>>,
    fleet: &'net Fleet,
    options: &'net Options,
    /// What every balancer's file says of services.
    services: Vec<Service>,
}

/// Runs the events with both kinds of fleet.
pub(super) fn run(options: &Options, tell: &mut dyn FnMut(Row)) -> Result<()> {
    for peers in [Peers::Talk, Peers::AreSilent] {
        if EVENTS.iter().any(|event| options.wants(&peers.name(event))) {
            run_with(options, peers, tell)?;
        }
    }
    Ok(())
}

fn run_with(options: &Options, peers: Peers, tell: &mut dyn FnMut(Row)) -> Result<()> {
    let fleet = Fleet::with_backends(&options.object, stage::BACKENDS)?;
    let happening = Happening::begin(&peers.name(&EVENTS[0]), "the fleet is set up", 0);
    let mut stage = match FleetStage::set_up(&fleet, options, peers) {
        Ok(stage) => stage,
        Err(error) => {
            interrupt::check()?;
            tell(happening.end(Err(error.context("cannot set up the fleet")), super::Tally::default()));
            return Ok(());
        }
    };
    for (cohort, event) in EVENTS.iter().enumerate() {
        let happening = Happening::begin(&peers.name(event), event.what, stage.clients.alive());
        let outcome = (event.act)(&mut stage).and_then(|()| stage.clients.round(Awake::Cohort(cohort)));
        interrupt::check()?;
        let row = happening.end(outcome, stage.clients.take());
        tell(Row { judged: peers == Peers::Talk, ..row });
    }
    Ok(())
}

impl Peers {
    fn name(self, event: &Event) -> String {
        let fleet = match self {
            Self::Talk => "fleet",
            Self::AreSilent => "silent-fleet",
        };
        format!("{fleet}-{}", event.name)
    }
}

impl<'net> FleetStage<'net> {
    fn set_up(fleet: &'net Fleet, options: &'net Options, peers: Peers) -> Result<Self> {
        let prepare = |host| Prepared::up(host, &options.binary, &[VIP4, VIP6], &[]);
        let prepared = fleet.backends.iter().map(prepare).collect::<Result<_>>()?;
        let start = |backend| start_server(&fleet.backends, backend, 0, options.pause);
        let servers = (0..fleet.backends.len()).map(start).collect::<Result<_>>()?;
        let addresses: Vec<IpAddr> = match peers {
            Peers::Talk => fleet.balancers.iter().map(|host| host.v4).collect(),
            Peers::AreSilent => Vec::new(),
        };
        let (_, joined) = fleet.backends.split_last().context("there are no backends")?;
        let services = services(joined, &options.keys);
        let balancer = |host| {
            let work = Work { interfaces: &["eth0"], peers: &addresses, services: services.clone() };
            Balancer::start(host, &options.binary, work)
        };
        let balancers = fleet.balancers.iter().map(balancer).collect::<Result<_>>()?;
        fleet.announce(&[0, 1])?;
        tune(&fleet.client, &fleet.backends)?;
        let mut random = Random::new(options.seed);
        let places = (0..options.connections).map(|_| place(&mut random)).collect();
        let manner = Manner { pause: options.pause, seed: random.next() };
        let clients = Clients::start(&fleet.client.netns, places, fleet.backends.len(), manner)?;
        Ok(Self { clients, balancers, _servers: servers, _prepared: prepared, fleet, options, services })
    }

    /// Changes all balancers' files alike, one after the other.
    fn apply(&mut self, change: impl Fn(&mut Settings)) -> Result<()> {
        for balancer in self.balancers.iter_mut().filter_map(Balancer::running) {
            balancer.apply(&change)?;
        }
        self.settle()
    }

    /// Waits until balancers that are to talk to each other do.
    fn wait_for_peers(&mut self) -> Result<()> {
        let talk = |status: &Status| {
            let mut peers = status.fleet.iter().flat_map(|fleet| &fleet.peers);
            peers.all(|peer| peer.heard && peer.listens)
        };
        for balancer in self.balancers.iter_mut().filter_map(Balancer::running) {
            balancer.daemon()?.wait_for("the peers to talk", talk)?;
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.clients.round(Awake::Nobody)
    }

    /// Starts the balancer that has left, with the file that the other one has, and lets the router use it.
    fn start_again(&mut self) -> Result<()> {
        let services = self.balancers[0].settings.services.clone();
        let balancer = &mut self.balancers[LEAVING];
        balancer.settings.services = services;
        balancer.restart(&self.options.binary)?;
        self.fleet.announce(&[0, 1])
    }
}

fn add(stage: &mut FleetStage<'_>) -> Result<()> {
    stage.wait_for_peers()?;
    stage.services = services(&stage.fleet.backends, &stage.options.keys);
    let services = stage.services.clone();
    stage.apply(|settings| settings.services.clone_from(&services))?;
    // Connections that are opened from now on know nothing but what the tables say now.
    stage.settle()
}

fn leave(stage: &mut FleetStage<'_>) -> Result<()> {
    stage.fleet.announce(&[0])?;
    stage.settle()?;
    let balancer = &mut stage.balancers[LEAVING];
    balancer.terminate()?;
    balancer.forget()
}

/// Slots move while it is away.
fn come_back(stage: &mut FleetStage<'_>) -> Result<()> {
    stage.apply(|settings| settings.edit("b1", |backend| backend.weight = 3))?;
    stage.settle()?;
    stage.start_again()
}

/// As a host that loses its power. The router needs a moment to notice.
fn crash(stage: &mut FleetStage<'_>) -> Result<()> {
    stage.wait_for_peers()?;
    stage.apply(|settings| settings.edit("b2", |backend| backend.weight = 3))?;
    stage.fleet.unplug(LEAVING)?;
    let balancer = &mut stage.balancers[LEAVING];
    balancer.kill()?;
    balancer.forget()?;
    stage.fleet.announce(&[0])?;
    stage.settle()?;
    stage.fleet.plug_in(LEAVING)?;
    stage.start_again()
}

fn services(backends: &[crate::topology::Host], keys: &[(String, String)]) -> Vec<Service> {
    let service = |(name, vip)| {
        let service = Service::new(name, vip, CHURN, backends);
        let service = service.with("idle_timeout", "1h").with("down_grace", "1h");
        keys.iter().fold(service, |service, (key, value)| service.with(key, value))
    };
    [("churn4", VIP4), ("churn6", VIP6)].map(service).into()
}

/// A fifth of the clients is silent, and a fifth has short connections.
fn place(random: &mut Random) -> Place {
    let target = (random.pick(&[VIP4, VIP6]), CHURN.service).into();
    let role = match random.below(20) {
        0..4 => Role::Sleeper { cohort: random.below(EVENTS.len()) },
        4..8 => Role::Passer,
        8..10 => Role::Listener,
        _ => Role::Talker,
    };
    Place { target, role }
}
