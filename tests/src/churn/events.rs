//! The events: what an operator does, or what happens to a balancer, while connections go on.
//!
//! Each ends with everything as it was, so that it can be told what it alone has broken.

use anyhow::{Context as _, Result};

use super::{
    chaos,
    server::Probe,
    settings::{STEADY, Service},
    stage::{CHURN, DOWN_GRACE, GRACE, KEEP, SETTLE, Stage, let_pass},
};
use crate::{
    process::wait_until,
    status::{self, Status},
    topology::{Host, OTHER_VIP4},
};

/// Something that happens.
pub(super) struct Event {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) act: fn(&mut Stage<'_>) -> Result<()>,
}

/// All of them, in the order in which they happen.
pub(super) const EVENTS: [Event; 15] = [
    Event { name: "calm", what: "nothing happens", act: |stage| stage.wake() },
    Event { name: "add", what: "a tenth backend joins", act: add },
    Event { name: "weight", what: "a weight goes from 1 to 100 and back", act: weigh },
    Event { name: "remove", what: "a backend goes from the file and comes back", act: remove },
    Event { name: "drain", what: "a backend drains, goes, and comes back", act: drain_then_remove },
    Event { name: "order", what: "a backend drains by the command line, over a daemon's death", act: order },
    Event { name: "flap", what: "probes fail within down_grace, backends live", act: flap },
    Event {
        name: "long-flap",
        what: "probes fail beyond down_grace, flows are silent or kept",
        act: flap_beyond_grace,
    },
    Event { name: "reloads", what: "edits of the file, one after the other", act: reload },
    Event { name: "kill-9", what: "the daemon is killed, and started again later", act: kill_daemon },
    Event { name: UPGRADE, what: "another build takes over, and this one again", act: upgrade },
    Event { name: "program-swap", what: "the file needs another program, and does not", act: swap_program },
    Event { name: "settle", what: "slots move, and settle under active flows", act: settle },
    Event { name: "dead-backend", what: "a backend's server dies and comes back", act: kill_backend },
    Event { name: "chaos", what: "all of it at once, at random", act: chaos::reign },
];

/// The event that needs another build.
pub(super) const UPGRADE: &str = "upgrade";

fn add(stage: &mut Stage<'_>) -> Result<()> {
    stage.complete()
}

fn weigh(stage: &mut Stage<'_>) -> Result<()> {
    stage.apply(|settings| settings.edit("b1", |backend| backend.weight = 100))?;
    stage.wake()
}

fn remove(stage: &mut Stage<'_>) -> Result<()> {
    stage.apply(|settings| settings.remove("b2"))?;
    stage.wake()
}

fn drain_then_remove(stage: &mut Stage<'_>) -> Result<()> {
    stage.apply(|settings| settings.edit("b3", |backend| backend.admin = "drain"))?;
    stage.apply(|settings| settings.remove("b3"))?;
    stage.wake()
}

/// What the command line has said outlives the daemon that it was said to.
fn order(stage: &mut Stage<'_>) -> Result<()> {
    let binary = stage.binary.clone();
    let drains = |status: &Status| {
        let mut services = status.services.iter().filter(|service| !service.name.starts_with(STEADY));
        services.all(|service| service.generation > 0 && share_of(service, "b7") < f64::EPSILON)
    };
    stage.balancer.order(&binary, "drain", "b7")?;
    stage.balancer.daemon()?.wait_for("b7 to drain", drains)?;
    stage.settle()?;
    stage.balancer.kill()?;
    stage.balancer.start_daemon(&binary)?;
    stage.balancer.daemon()?.wait_for("b7 to drain still", drains)?;
    stage.wake()?;
    stage.balancer.order(&binary, "ready", "b7")
}

/// The backends are down for a moment, and for less than the service's grace.
fn flap(stage: &mut Stage<'_>) -> Result<()> {
    let are_flapping = |name: &str| matches!(name, "b4" | "b5");
    set_fourth_and_fifth(stage, Probe::Refused);
    stage.wait_for_health("down", CHURN, &are_flapping)?;
    stage.settle()?;
    set_fourth_and_fifth(stage, Probe::Answered);
    stage.wait_for_health("up", CHURN, &are_flapping)?;
    stage.wake()
}

fn set_fourth_and_fifth(stage: &Stage<'_>, probe: Probe) {
    for backend in [3, 4] {
        stage.set_probe(backend, CHURN, probe);
    }
}

/// The clients of `grace` are silent from before the flap until after it; those of `keep` are not.
fn flap_beyond_grace(stage: &mut Stage<'_>) -> Result<()> {
    stage.wake_silent()?;
    set_half(stage, Probe::Refused);
    wait_for_half(stage, "down")?;
    let_pass(2 * DOWN_GRACE)?;
    stage.settle()?;
    set_half(stage, Probe::Answered);
    wait_for_half(stage, "up")?;
    stage.balancer.converge()?;
    stage.wake_silent()
}

fn share_of(service: &status::Service, name: &str) -> f64 {
    service.backend(name).map_or(0.0, |backend| backend.share)
}

/// The first five backends' probes by the services that flap for long.
fn set_half(stage: &Stage<'_>, probe: Probe) {
    for backend in 0..5 {
        for ports in [GRACE, KEEP] {
            stage.set_probe(backend, ports, probe);
        }
    }
}

fn wait_for_half(stage: &mut Stage<'_>, health: &str) -> Result<()> {
    let is_flapping = |name: &str| matches!(name, "b1" | "b2" | "b3" | "b4" | "b5");
    [GRACE, KEEP].iter().try_for_each(|&ports| stage.wait_for_health(health, ports, &is_flapping))
}

fn reload(stage: &mut Stage<'_>) -> Result<()> {
    for _ in 0..stage.edits {
        chaos::edit(stage)?;
        stage.balancer.converge()?;
    }
    stage.settle()?;
    stage.wake()
}

fn kill_daemon(stage: &mut Stage<'_>) -> Result<()> {
    stage.apply(|settings| settings.edit("b6", |backend| backend.weight = 3))?;
    stage.balancer.kill()?;
    stage.settle()?;
    let binary = stage.binary.clone();
    stage.balancer.restart(&binary)?;
    stage.wake()
}

fn upgrade(stage: &mut Stage<'_>) -> Result<()> {
    let other = stage.other_binary.clone().context("there is no other build")?;
    stage.apply(|settings| settings.edit("b7", |backend| backend.weight = 3))?;
    stage.balancer.terminate()?;
    stage.balancer.restart(&other)?;
    stage.wake()?;
    stage.balancer.terminate()?;
    let binary = stage.binary.clone();
    stage.balancer.restart(&binary)?;
    stage.settle()
}

fn swap_program(stage: &mut Stage<'_>) -> Result<()> {
    let before = stage.balancer.programs()?;
    let service = every_port(stage.backends);
    stage.apply(|settings| settings.services.push(service))?;
    wait_for_other_programs(stage, &before)?;
    stage.wake()?;
    stage.apply(|settings| drop(settings.services.pop()))
}

fn wait_for_other_programs(stage: &Stage<'_>, before: &[u64]) -> Result<()> {
    let swapped = || stage.balancer.programs().is_ok_and(|programs| programs != before);
    wait_until(crate::balancer::READY_DEADLINE, "another program on the interfaces", swapped)
}

/// A service on every port, which takes a program that looks twice.
pub(super) fn every_port(backends: &[Host]) -> Service {
    let mut service = Service::new("every-port", OTHER_VIP4, CHURN, &backends[..2]);
    service.address.set_port(0);
    service.probe = None;
    service.with("track", "never")
}

/// The clients of `settle` never pause for as long as its idle timeout. A slot stays moved while the table's owner is
/// another than where a live flow is, so as many as there are flows may not settle.
fn settle(stage: &mut Stage<'_>) -> Result<()> {
    stage.apply(|settings| settings.edit("b8", |backend| backend.weight = 5))?;
    let most = stage.clients.of_port(SETTLE.service);
    let settled = move |status: &Status| {
        let services = status.services.iter().filter(|service| service.name.starts_with("settle"));
        services.map(|service| service.moved_slots as usize).sum::<usize>() <= most
    };
    // A flood asks for more entries than the budget has, and where any was refused nothing may settle for a while.
    if !stage.is_flooded() {
        stage.wait_long("the slots of `settle` to settle", &settled)?;
    }
    stage.wake()
}

fn kill_backend(stage: &mut Stage<'_>) -> Result<()> {
    let is_dead = |name: &str| name == "b6";
    stage.kill(5);
    stage.wait_for_health("down", CHURN, &is_dead)?;
    stage.settle()?;
    stage.revive(5)?;
    stage.wait_for_health("up", CHURN, &is_dead)?;
    stage.wake()
}
