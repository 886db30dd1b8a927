//! Whether the maps hold the plan, and writing anew what they do not.

use anyhow::Result;
use lb_common::address::Address;
use tokio::task::block_in_place;
use tracing::warn;

use super::Truth;
use crate::{
    admin::verify::{Difference, LookedAt},
    causes::with_causes,
    daemon::now,
    dataplane::guards::{Astray, Numbered, PlacedRules},
    plan::guards::Guards,
    reconcile::{
        AppliedService,
        verify::{Comparison, Expected, verify},
    },
};

/// What a look at the maps has found.
#[derive(Debug)]
pub(in crate::daemon) struct Found {
    comparison: Comparison,
    guards: Vec<Astray>,
    /// Rules that are still to be read, each with the service's name.
    unread: Vec<(PlacedRules, Option<String>)>,
    /// Whether the maps say of themselves that they are of this version and seed.
    signed: bool,
    /// Why the data plane does not follow the plan.
    behind: Option<String>,
}

impl Found {
    /// What was compared.
    pub(in crate::daemon) const fn looked_at(&self) -> LookedAt {
        self.comparison.looked_at
    }

    /// Reads the rules, which takes its time and nothing of the daemon's, and tells how they differ.
    pub(in crate::daemon) fn read_rules(&mut self) -> Result<Vec<Difference>> {
        let mut told = Vec::new();
        for (rules, service) in self.unread.drain(..) {
            if let Some(astray) = rules.astray()? {
                told.push(difference(&astray, service, None));
                self.guards.push(astray);
            }
        }
        Ok(told)
    }
}

impl Truth {
    /// Compares the maps with what they are to hold, but for rules. What is due is carried out before, as it would be a moment
    /// later, so that the plan is that of now; all of it is made anew, so that nothing is taken for right since it was before.
    pub(in crate::daemon) fn compare_maps(&mut self) -> Result<Found> {
        self.stale.everything();
        let behind = self.converge().err().map(|error| with_causes(error.as_ref()));
        block_in_place(|| {
            let name = |service: &str, address: Address| self.name_of(service, address);
            let expected = Expected { applied: &self.applied, plan: &self.plan, name: &name };
            let comparison = verify(expected, &self.dataplane.held()?, &self.dataplane, now());
            let wanted = Guards::of(&self.plan, &self.applied);
            let guards = self.dataplane.verify_guards(&wanted);
            let named = |rules: PlacedRules| {
                let (service, _) = self.names_of(rules.owner());
                (rules, service)
            };
            let unread = self.dataplane.placed_rules(&wanted)?.into_iter().map(named).collect();
            let signed = self.dataplane.is_signed(&self.config.fleet.seed)?;
            Ok(Found { comparison, guards, unread, signed, behind })
        })
    }

    /// Writes anew what differs.
    pub(in crate::daemon) fn mend_maps(&mut self, found: &Found) -> Result<()> {
        let Found { comparison, guards, signed, .. } = found;
        for difference in self.differences(found) {
            warn!("the kernel does not hold what was applied: {difference}");
        }
        block_in_place(|| {
            self.dataplane.distrust_guards(guards);
            self.dataplane.follow(&comparison.repair, &Guards::of(&self.plan, &self.applied))?;
            if let Some(next) = &comparison.next {
                self.applied = next.clone();
            }
            if !signed {
                self.dataplane.sign(&self.config.fleet.seed)?;
            }
            Ok(())
        })
    }

    /// What is otherwise, in words.
    pub(in crate::daemon) fn differences(&self, found: &Found) -> Vec<Difference> {
        let mut told = found.comparison.differences.clone();
        told.extend(found.guards.iter().map(|astray| {
            let (service, backend) = self.names_of(astray.owner);
            difference(astray, service, backend)
        }));
        if !found.signed {
            let expected = "that of this version and seed";
            let is = "another one, so that the next daemon would not go on with these maps";
            told.push(Difference::new("control", "signature", expected, is));
        }
        let behind =
            found.behind.iter().map(|why| Difference::new("plan", "plan", "that it is applied", why));
        told.extend(
            behind.map(|one| one.remedy("make room by what is found, in [limits], and restart sluice")),
        );
        told
    }

    /// The service and the backend that have the number, as far as it is one's.
    fn names_of(&self, owner: Numbered) -> (Option<String>, Option<String>) {
        let mut services = self.applied.services().map(|(_, service)| service);
        let about = match owner {
            Numbered::Service(id) => services.find(|service| service.id == id).map(|one| (one, None)),
            Numbered::Backend(id) => {
                let index = |service: &AppliedService| id.wrapping_sub(service.entry.first_backend);
                let owner = services.find(|service| index(service) < service.entry.capacity);
                owner.map(|service| (service, service.members.get(index(service) as usize)))
            }
        };
        let service = about.map(|(service, _)| service.name.clone());
        let backend = about.and_then(|(service, member)| {
            let member = member.copied().flatten()?;
            self.name_of(&service.name, member.entry.address)
        });
        (service, backend)
    }

    /// The name of a service's backend, one that leaves included.
    fn name_of(&self, service: &str, address: Address) -> Option<String> {
        let services = &self.config.services;
        let at = services.binary_search_by(|candidate| candidate.name.as_str().cmp(service)).ok()?;
        let mut backends = self.with_wishes(&services[at]).map(|(backend, _)| backend);
        backends.find(|backend| Address::from(backend.address) == address).map(|backend| backend.name.clone())
    }
}

fn difference(astray: &Astray, service: Option<String>, backend: Option<String>) -> Difference {
    let Astray { map, owner, expected, found } = astray;
    let (Numbered::Service(number) | Numbered::Backend(number)) = owner;
    Difference::new(map, format!("entry {number}"), expected, found).of(service, backend)
}
