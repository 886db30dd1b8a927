//! Whether the kernel holds what the daemon has applied: maps, pins, and the program on every interface.
//!
//! It is read in the daemon's one task, between two events, since nothing else knows what was applied. Maps are read
//! through the memory that is shared with the kernel, after all services have been planned anew. Rules are read prefix by
//! prefix, and a million of them take seconds: a look leaves that to a thread, with what they are to be, while the task goes
//! on; only a repair reads them in the task, since it writes what it has found. What is fixed with the
//! program (the constants of `lb_common::knobs`) cannot be changed after it was loaded: its number stands for them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    sync::oneshot,
    task::{block_in_place, spawn_blocking},
};
use tracing::warn;

use super::{Owner, interfaces::Attachments, now, truth::Found};
use crate::{
    admin::verify::{Difference, LookedAt, Repair, Verification},
    causes::with_causes,
    dataplane::{
        attach, held,
        pins::{MAPS, PROGRAM},
    },
};

/// Whose turn it is to read rules.
static READING: Mutex<()> = Mutex::new(());

/// What is known of a name in the directory of pins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pin {
    name: String,
    /// What it is to stand for, where that is known: a program tells of the maps that it uses, and of no others.
    expected: Option<u32>,
    /// What it stands for.
    found: Option<u32>,
}

/// An interface, as it is to be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attached {
    /// The program is there, by the pinned link.
    Whole,
    /// It is not.
    Lost(String),
    /// Somebody else's is.
    Foreign(String),
    /// There is no such interface.
    Gone,
}

impl Owner<'_> {
    /// Compares what the kernel holds with what was applied, and has it answered when rules have been read too.
    pub(super) async fn verify(
        &mut self,
        attachments: &Attachments,
        answer: oneshot::Sender<Result<Verification, String>>,
    ) {
        let began = now();
        let looked = self.look_at_all(attachments).await;
        let took = now().saturating_sub(began);
        spawn_blocking(move || {
            // One at a time, however many ask.
            let _turn = READING.lock().unwrap_or_else(PoisonError::into_inner);
            let read = looked.and_then(Looked::with_rules).map(|looked| looked.concluded(took));
            drop(answer.send(read.map_err(|error| with_causes(error.as_ref()))));
        });
    }

    /// The same in this task, rules included, and how long it took.
    async fn look_closely(&mut self, attachments: &Attachments) -> Result<(Looked, Duration), String> {
        let began = now();
        let looked = self.look_at_all(attachments).await;
        let looked = looked.and_then(|looked| block_in_place(|| looked.with_rules()));
        let looked = looked.map_err(|error| with_causes(error.as_ref()))?;
        Ok((looked, now().saturating_sub(began)))
    }

    /// Writes anew what the kernel does not hold, and looks once more.
    pub(super) async fn repair(&mut self, attachments: &mut Attachments) -> Result<Repair, String> {
        let (looked, took) = self.look_closely(attachments).await?;
        if looked.differences.is_empty() {
            let found = looked.concluded(took);
            return Ok(Repair { then: found.clone(), found, failures: Vec::new() });
        }
        let mut failures = Vec::new();
        let mut note =
            |done: Result<()>| failures.extend(done.err().map(|error| with_causes(error.as_ref())));
        let Looked { maps, pins, interfaces, .. } = &looked;
        note(self.truth.mend_maps(maps));
        for pin in pins {
            note(self.mend_pin(pin));
        }
        if interfaces.iter().any(|(_, attached)| *attached != Attached::Whole)
            || pins.iter().any(|pin| pin.name == PROGRAM && pin.is_otherwise())
        {
            note(self.attach_again(attachments).await);
        }
        for failure in &failures {
            warn!("not written anew: {failure}");
        }
        let (then, again) = self.look_closely(attachments).await?;
        Ok(Repair { found: looked.concluded(took), failures, then: then.concluded(again) })
    }

    async fn look_at_all(&mut self, attachments: &Attachments) -> Result<Looked> {
        let maps = self.truth.compare_maps()?;
        let program = self.truth.dataplane_mut().program()?.info()?;
        let pins = self.pins(&program);
        let mut interfaces = Vec::new();
        for name in attachments.names() {
            interfaces.push((name.to_owned(), self.attached(name, program.id()).await));
        }
        let mut differences = self.truth.differences(&maps);
        differences.extend(pins.iter().filter_map(Pin::difference));
        differences.extend(interfaces.iter().filter_map(|(name, attached)| attached.difference(name)));
        Ok(Looked { maps, pins, interfaces, differences })
    }

    fn pins(&self, program: &aya::programs::ProgramInfo) -> Vec<Pin> {
        let used = held::used_maps(program);
        let map = |name: &str| Pin {
            name: name.to_owned(),
            expected: held::used(&used, name),
            found: held::pinned_map(&self.pins.path().join(name)),
        };
        let mut pins: Vec<Pin> = MAPS.into_iter().map(map).collect();
        let found = held::pinned_program(&self.pins.path().join(PROGRAM));
        pins.push(Pin { name: PROGRAM.to_owned(), expected: Some(program.id()), found });
        pins
    }

    async fn attached(&self, name: &str, program: u32) -> Attached {
        let Ok(interface) = self.netlink.interface(name).await else { return Attached::Gone };
        let pin = self.pins.link(name);
        match interface.program.map(|attached| attached.id) {
            Some(id) if id == program && attach::is_attached(&interface, &pin) => Attached::Whole,
            Some(id) if attach::is_attached(&interface, &pin) => {
                Attached::Lost(format!("an earlier program (id {id}) by its link"))
            }
            Some(id) => Attached::Foreign(format!("{} (id {id})", attach::program_name(id))),
            None => Attached::Lost("no program, so that packets pass to this host's stack".to_owned()),
        }
    }

    /// Pins the map that the program uses.
    fn mend_pin(&self, pin: &Pin) -> Result<()> {
        match pin.expected {
            Some(id) if pin.is_otherwise() && pin.name != PROGRAM => {
                Ok(held::pin_map(id, &self.pins.path().join(&pin.name))?)
            }
            _ => Ok(()),
        }
    }
}

/// All that a look has found.
struct Looked {
    maps: Found,
    pins: Vec<Pin>,
    interfaces: Vec<(String, Attached)>,
    differences: Vec<Difference>,
}

impl Looked {
    fn with_rules(mut self) -> Result<Self> {
        self.differences.extend(self.maps.read_rules()?);
        Ok(self)
    }

    fn concluded(self, took: Duration) -> Verification {
        let Self { maps, pins, interfaces, differences } = self;
        let (pins, interfaces) = (pins.len() as u32 + interfaces.len() as u32, interfaces.len() as u32);
        let looked_at = LookedAt { pins, interfaces, ..maps.looked_at() };
        Verification { same: differences.is_empty(), differences, looked_at, took: took.as_secs_f64() }
    }
}

impl Pin {
    fn is_otherwise(&self) -> bool {
        self.found.is_none() || self.expected.is_some_and(|expected| self.found != Some(expected))
    }

    fn difference(&self) -> Option<Difference> {
        if !self.is_otherwise() {
            return None;
        }
        let expected =
            self.expected.map_or_else(|| "a map".to_owned(), |id| format!("number {id} of the kernel's"));
        let found = self.found.map_or_else(|| "nothing".to_owned(), |id| format!("number {id}"));
        let difference = Difference::new("pin", &self.name, expected, found);
        // What the program does not use nobody but the next daemon misses.
        let cured = self.expected.is_some();
        Some(if cured { difference } else { difference.remedy("restart sluice, which then makes new maps") })
    }
}

impl Attached {
    fn difference(&self, name: &str) -> Option<Difference> {
        let told = |found: &str| Some(Difference::new("interface", name, "the program that balances", found));
        match self {
            Self::Whole => None,
            Self::Lost(found) => told(found),
            Self::Foreign(found) => told(found)
                .map(|one| one.remedy(format!("ip link set dev {name} xdp off && sluice verify --repair"))),
            Self::Gone => told("no such interface")
                .map(|one| one.remedy(format!("bring {name} back, or take it out of balancer.interfaces"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(expected: Option<u32>, found: Option<u32>) -> Option<String> {
        let pin = Pin { name: "services".to_owned(), expected, found };
        pin.difference().map(|difference| format!("{difference}; {}", difference.remedy))
    }

    #[test]
    fn pin_stands_for_what_the_program_uses() {
        assert_eq!(pin(Some(7), Some(7)), None);
        assert_eq!(pin(None, Some(8)), None, "the program does not use it");
        let other =
            "pin: services: expected number 7 of the kernel's, found number 8; sluice verify --repair";
        assert_eq!(pin(Some(7), Some(8)).as_deref(), Some(other));
        assert!(pin(Some(7), None).unwrap().contains("found nothing; sluice verify"));
        assert!(pin(None, None).unwrap().contains("restart sluice"));
    }

    #[test]
    fn interface_without_the_program_is_told() {
        assert_eq!(Attached::Whole.difference("eth0"), None);
        let cases = [
            (Attached::Lost("no program".to_owned()), "found no program", "sluice verify --repair"),
            (
                Attached::Foreign("dropall (id 7)".to_owned()),
                "found dropall (id 7)",
                "ip link set dev eth0 xdp off",
            ),
            (Attached::Gone, "found no such interface", "bring eth0 back"),
        ];
        for (attached, found, remedy) in cases {
            let told = attached.difference("eth0").unwrap();
            assert!(told.to_string().ends_with(found) && told.remedy.starts_with(remedy), "{told}");
        }
    }
}
