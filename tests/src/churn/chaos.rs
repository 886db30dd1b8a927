//! Everything at once, at random: steps that do not wait for one another, the same for the same seed.

use anyhow::Result;

use super::{
    events::every_port,
    server::Probe,
    settings::Settings,
    stage::{CHURN, Stage},
};

/// Backends that edits never take out, so that there is always a choice.
const FIXED: usize = 3;

/// What may happen in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Edit,
    EditsAtOnce,
    FailProbes,
    AnswerProbes,
    KillDaemon,
    SwapProgram,
}

/// Edits are what happens most.
const STEPS: [Step; 8] = [
    Step::Edit,
    Step::Edit,
    Step::Edit,
    Step::EditsAtOnce,
    Step::FailProbes,
    Step::AnswerProbes,
    Step::KillDaemon,
    Step::SwapProgram,
];

/// Takes steps, waiting for the tables to follow after some of them only.
pub(super) fn reign(stage: &mut Stage<'_>) -> Result<()> {
    for _ in 0..stage.random_steps {
        match stage.random.pick(&STEPS) {
            Step::Edit => edit(stage)?,
            Step::EditsAtOnce => edits_at_once(stage)?,
            Step::FailProbes => set_probes(stage, Probe::Refused),
            Step::AnswerProbes => set_probes(stage, Probe::Answered),
            Step::KillDaemon => replace_daemon(stage)?,
            Step::SwapProgram => swap(stage)?,
        }
        match stage.random.below(3) {
            0 => drop(stage.balancer.converge()?),
            1 => stage.settle()?,
            _ => {}
        }
    }
    stage.restore()
}

/// Changes one thing of the file.
pub(super) fn edit(stage: &mut Stage<'_>) -> Result<()> {
    let mut settings = stage.balancer.settings.clone();
    edit_settings(stage, &mut settings);
    stage.balancer.edit(|present| *present = settings)
}

fn edits_at_once(stage: &mut Stage<'_>) -> Result<()> {
    let mut settings = stage.balancer.settings.clone();
    for _ in 0..4 {
        edit_settings(stage, &mut settings);
    }
    stage.balancer.edit(|present| *present = settings)
}

fn edit_settings(stage: &mut Stage<'_>, settings: &mut Settings) {
    let random = &mut stage.random;
    let number = FIXED + random.below(stage.backends.len() - FIXED);
    let name = &stage.backends[number].name;
    match random.below(4) {
        0 => toggle(settings, &stage.base, name),
        1 => settings.edit(name, |backend| {
            backend.admin = if backend.admin == "drain" { "ready" } else { "drain" };
        }),
        _ => {
            let weight = random.pick(&[1, 2, 10, 100]);
            settings.edit(name, |backend| backend.weight = weight);
        }
    }
}

/// Takes a backend out of every service, or puts it back.
fn toggle(settings: &mut Settings, base: &Settings, name: &str) {
    let is_there = settings.services.iter().any(|service| {
        base.services.iter().any(|based| based.name == service.name)
            && service.backends.iter().any(|backend| backend.name == name)
    });
    if is_there {
        return settings.remove(name);
    }
    for based in &base.services {
        let backend = based.backends.iter().find(|backend| backend.name == name);
        if let Some(service) = settings.service(&based.name) {
            service.backends.extend(backend.cloned());
        }
    }
}

fn set_probes(stage: &mut Stage<'_>, probe: Probe) {
    let backend = FIXED + stage.random.below(stage.backends.len() - FIXED);
    stage.set_probe(backend, CHURN, probe);
}

fn replace_daemon(stage: &mut Stage<'_>) -> Result<()> {
    stage.balancer.kill()?;
    let binary = stage.binary.clone();
    stage.balancer.start_daemon(&binary)?;
    stage.balancer.daemon()?.wait_for("the daemon to answer", |_| true).map(drop)
}

fn swap(stage: &mut Stage<'_>) -> Result<()> {
    let service = every_port(stage.backends);
    stage.balancer.edit(|settings| {
        let before = settings.services.len();
        settings.services.retain(|present| present.name != service.name);
        if settings.services.len() == before {
            settings.services.push(service);
        }
    })
}
