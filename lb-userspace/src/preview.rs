//! What another configuration would change: the comparison of two sides, each a configuration with its plan and what the
//! data plane holds by it.
//!
//! Pure. The later side has been reconciled and not applied: its slots are in the operations that would write them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::{
    address::Address,
    backend::{Backend as Entry, OldFlows},
    service::{ServiceKey, TableRef},
    slot::Slot,
};

use crate::{
    admin::plan::{BackendChange, Fate, ServiceChange},
    budget,
    config::{Backend, Config, KeyChange, Keys, Service},
    moves::{Concerned, Moves, Standing},
    plan::{Plan, PlannedService},
    reconcile::{Applied, AppliedService, Op, ReadSlots},
};

/// A flow that is remembered, as far as it has a place in its service's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Number of its service.
    pub service: u32,
    /// Upper half of the hash that chooses its slot.
    pub hash: u32,
    /// Index of its backend.
    pub backend: u16,
}

/// One side.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// What it comes to.
    pub plan: &'a Plan,
    /// What the data plane holds by that.
    pub applied: &'a Applied,
}

/// A service on one side.
#[derive(Clone, Copy)]
struct Held<'a> {
    service: &'a Service,
    planned: Option<&'a PlannedService>,
    applied: Option<&'a AppliedService>,
}

/// Slots of either side.
struct Tables<'a, S> {
    slots: &'a S,
    written: HashMap<u32, &'a [Slot]>,
}

impl<S: ReadSlots> Tables<'_, S> {
    fn of(&self, held: Held<'_>) -> Vec<Slot> {
        let table = held.applied.map_or_else(TableRef::default, |applied| applied.entry.table);
        if table.length == 0 { Vec::new() } else { self.slots.slots(table) }
    }

    fn after(&self, held: Held<'_>) -> Vec<Slot> {
        let base = held.applied.map(|applied| applied.entry.table.base);
        let written = base.and_then(|base| self.written.get(&base));
        written.map_or_else(|| self.of(held), |slots| slots.to_vec())
    }
}

/// The services that differ, by name. `ops` lead from one side to the other.
pub fn services(
    before: Side<'_>,
    after: Side<'_>,
    ops: &[Op],
    slots: &impl ReadSlots,
    flows: &[Placed],
) -> Vec<ServiceChange> {
    let written = ops.iter().filter_map(|op| match op {
        Op::WriteSlots { base, slots } => Some((*base, slots.as_slice())),
        _ => None,
    });
    let tables = Tables { slots, written: written.collect() };
    let mut by_service: HashMap<u32, Vec<Placed>> = HashMap::new();
    for flow in flows {
        by_service.entry(flow.service).or_default().push(*flow);
    }
    let (before, after) = (held(before), held(after));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let mut changes: Vec<_> = keys
        .into_iter()
        .filter_map(|key| {
            let (before, after) = (before.get(&key).copied(), after.get(&key).copied());
            let id = before.and_then(|held| held.applied).map(|applied| applied.id);
            let flows = id.and_then(|id| by_service.get(&id)).map_or(&[][..], Vec::as_slice);
            let change = Comparison { before, after, flows }.change(&tables)?;
            let is_any = change.fate != Fate::Changed
                || !change.settings.is_empty()
                || !change.backends.is_empty()
                || change.moved_slots > 0;
            is_any.then_some(change)
        })
        .collect();
    changes.sort_by(|a, b| a.service.cmp(&b.service));
    changes
}

fn held(side: Side<'_>) -> BTreeMap<ServiceKey, Held<'_>> {
    let planned: HashMap<_, _> = side.plan.services.iter().map(|planned| (planned.key, &**planned)).collect();
    let of = |service: &'_ Service| {
        let key = service.key();
        (key, planned.get(&key).copied(), side.applied.service(&key))
    };
    let services = side.config.services.iter().map(|service| (service, of(service)));
    services.map(|(service, (key, planned, applied))| (key, Held { service, planned, applied })).collect()
}

/// A service on both sides.
struct Comparison<'a> {
    before: Option<Held<'a>>,
    after: Option<Held<'a>>,
    flows: &'a [Placed],
}

impl Comparison<'_> {
    fn change<S: ReadSlots>(&self, tables: &Tables<'_, S>) -> Option<ServiceChange> {
        let named = self.after.or(self.before)?.service;
        let old = self.before.map(|held| tables.of(held)).unwrap_or_default();
        let new = self.after.map(|held| tables.after(held)).unwrap_or_default();
        let moves = self.moves(&old, &new);
        let fate = match (self.before, self.after) {
            (None, _) => Fate::Added,
            (_, None) => Fate::Removed,
            _ => Fate::Changed,
        };
        let keys = |held: Option<Held<'_>>| held.map(|held| held.service.keys()).unwrap_or_default();
        let largest = |held: Option<Held<'_>>| held?.planned.and_then(budget::of_service);
        let largest_after = largest(self.after);
        let (moved_flows, lost_flows) = self.flows(&old, &new);
        Some(ServiceChange {
            service: named.name.clone(),
            fate,
            settings: renamed(self.before, self.after, keys(self.before).changes_to(&keys(self.after))),
            backends: self.backends(&old, &new),
            slots: if new.is_empty() { old.len() } else { new.len() } as u32,
            moved_slots: moves.moved,
            collateral_slots: moves.collateral,
            tracked_flows: self.flows.len() as u32,
            moved_flows,
            lost_flows,
            digest_before: digest(self.before),
            digest_after: digest(self.after),
            largest_packet_before: largest(self.before),
            largest_packet_after: largest_after,
            size_warning: largest_after.and_then(|largest| budget::remedy(&named.key(), largest)),
        })
    }

    /// As what really moves is counted.
    fn moves(&self, old: &[Slot], new: &[Slot]) -> Moves {
        let (Some(before), Some(after)) = (self.before, self.after) else {
            return Moves { moved: 0, collateral: Some(0) };
        };
        if old.is_empty() || new.is_empty() {
            return Moves { moved: 0, collateral: Some(0) };
        }
        let rehashed = before.applied.zip(after.applied).is_some_and(|(before, after)| {
            before.entry.source_bits != after.entry.source_bits || old.len() != new.len()
        });
        if rehashed {
            return Moves::all(new.len() as u32);
        }
        let concerned = Concerned::between(standings(before), standings(after));
        let addresses = after.applied.map(AppliedService::addresses).unwrap_or_default();
        let is_concerned =
            |index: u16| addresses.get(&index).is_none_or(|&address| concerned.include(address));
        Moves::between(old, new, Some(&is_concerned))
    }

    /// Flows whose slot moves, and those that lose their backend.
    fn flows(&self, old: &[Slot], new: &[Slot]) -> (u32, u32) {
        let Some(applied) = self.before.and_then(|held| held.applied) else { return (0, 0) };
        let addresses = applied.addresses();
        let place = |slots: &[Slot], hash: u32| {
            let table = TableRef { base: 0, length: slots.len() as u32 };
            (!slots.is_empty()).then(|| slots[table.slot_of(hash) as usize].current())
        };
        let after = self.after.and_then(|held| held.applied);
        let later = after.map(AppliedService::addresses).unwrap_or_default();
        let goes_elsewhere = |flow: &&Placed| {
            let was = place(old, flow.hash).and_then(|index| addresses.get(&index));
            was != place(new, flow.hash).and_then(|index| later.get(&index))
        };
        let moved = self.flows.iter().filter(goes_elsewhere).count() as u32;
        let kept = |held: Option<&AppliedService>, address: &Address| {
            held.is_some_and(|service| service.entries().get(address).is_some_and(|(_, entry)| keeps(entry)))
        };
        let gives_up: HashMap<u16, bool> = addresses
            .iter()
            .map(|(&index, address)| (index, kept(Some(applied), address) && !kept(after, address)))
            .collect();
        let lost = self.flows.iter().filter(|flow| gives_up.get(&flow.backend).copied().unwrap_or(false));
        (moved, lost.count() as u32)
    }

    fn backends(&self, old: &[Slot], new: &[Slot]) -> Vec<BackendChange> {
        let (old, new) = (parts(self.before, old), parts(self.after, new));
        let of = |held: Option<Held<'_>>| {
            let backends = held.map(|held| held.service.backends.clone()).unwrap_or_default();
            backends.into_iter().map(|backend| (backend.name.clone(), backend)).collect::<BTreeMap<_, _>>()
        };
        let (before, after) = (of(self.before), of(self.after));
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let change = |name: &&String| {
            let (before, after) = (before.get(*name), after.get(*name));
            let known = after.or(before)?;
            let keys = |backend: Option<&Backend>| backend.map(Backend::keys).unwrap_or_default();
            let settings = match (before, after) {
                (Some(_), Some(_)) => keys(before).changes_to(&keys(after)),
                (None, _) => Keys::default().changes_to(&keys(after)),
                _ => Vec::new(),
            };
            let slots = |parts: &HashMap<Address, u32>, backend: Option<&Backend>| {
                backend.and_then(|b| parts.get(&b.address.into()).copied()).unwrap_or(0)
            };
            let change = BackendChange {
                backend: known.name.clone(),
                address: known.address,
                fate: self.fate(before, after),
                settings,
                slots_before: slots(&old, before),
                slots_after: slots(&new, after),
                tracked_flows: self.flows_of(before),
            };
            let is_any = change.fate != Fate::Changed
                || !change.settings.is_empty()
                || change.slots_before != change.slots_after;
            is_any.then_some(change)
        };
        names.iter().filter_map(change).collect()
    }

    fn fate(&self, before: Option<&Backend>, after: Option<&Backend>) -> Fate {
        match (before, after) {
            (None, _) => Fate::Added,
            (Some(_), Some(_)) => Fate::Changed,
            (Some(gone), None) => {
                let entries = self.after.and_then(|held| held.applied).map(AppliedService::entries);
                let entry = entries.as_ref().and_then(|entries| entries.get(&gone.address.into()));
                if entry.is_some_and(|(_, entry)| keeps(entry)) { Fate::Removed } else { Fate::Dropped }
            }
        }
    }

    fn flows_of(&self, backend: Option<&Backend>) -> u32 {
        let (Some(applied), Some(backend)) = (self.before.and_then(|held| held.applied), backend) else {
            return 0;
        };
        let addresses = applied.addresses();
        let is_its = |flow: &&Placed| addresses.get(&flow.backend) == Some(&backend.address.into());
        self.flows.iter().filter(is_its).count() as u32
    }
}

fn keeps(entry: &Entry) -> bool {
    entry.old_flows == OldFlows::Keep as u8
}

fn standings<'a>(held: Held<'a>) -> Vec<Standing<'a, Address>> {
    let targets = held.planned.map(|planned| planned.shares.targets.as_slice()).unwrap_or_default();
    let backends = held.service.backends.iter().zip(targets);
    let standing = |(backend, &target): (&'a Backend, &u64)| Standing {
        name: &backend.name,
        address: backend.address.into(),
        target,
    };
    backends.map(standing).collect()
}

/// Slots of each backend.
fn parts(held: Option<Held<'_>>, slots: &[Slot]) -> HashMap<Address, u32> {
    let addresses = held.and_then(|held| held.applied).map(AppliedService::addresses).unwrap_or_default();
    let mut parts = HashMap::new();
    for address in slots.iter().filter_map(|slot| addresses.get(&slot.current())) {
        *parts.entry(*address).or_insert(0) += 1;
    }
    parts
}

fn digest(held: Option<Held<'_>>) -> Option<String> {
    let entry = held?.applied?.entry;
    (entry.table.length > 0).then(|| format!("{:016x}", entry.digest))
}

/// The name is no key of a service's own, and may be another one.
fn renamed(before: Option<Held<'_>>, after: Option<Held<'_>>, mut changes: Vec<KeyChange>) -> Vec<KeyChange> {
    let (Some(before), Some(after)) = (before, after) else { return changes };
    if before.service.name != after.service.name {
        let quoted = |name: &str| Some(format!("{name:?}"));
        let key = "name".to_owned();
        let (before, after) = (quoted(&before.service.name), quoted(&after.service.name));
        changes.insert(0, KeyChange { key, before, after, secret: 0 });
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        dataplane::memory::Memory,
        plan::{Tables as Memo, View, plan, tests::view},
        reconcile::reconcile,
    };

    const NOW: Duration = Duration::from_secs(1000);

    /// `web` with these backends, each with further keys.
    fn config(keys: &str, backends: &[(&str, u8, &str)]) -> Config {
        let backend = |(name, number, keys): &(&str, u8, &str)| {
            format!("[[service.backend]]\nname = \"{name}\"\naddress = \"192.0.2.{number}\"\n{keys}\n")
        };
        let backends: String = backends.iter().map(backend).collect();
        let text = format!(
            "[balancer]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\n\
             protocol = \"tcp\"\nforwarding = \"l2\"\nslots = 499\ntrack = \"always\"\nprobe = {{ type = \"none\" }}\n\
             {keys}\n{backends}"
        );
        Config::parse("sluice.toml", &text).unwrap().0
    }

    /// A data plane that holds a configuration.
    struct World {
        config: Config,
        view: View,
        plan: Plan,
        applied: Applied,
        memory: Memory,
    }

    impl World {
        fn new(config: Config) -> Self {
            let (limits, seed) = (config.limits, config.fleet.seed);
            let memory = Memory::new(&limits, seed.flow_key(), seed.index_key());
            let mut world = Self {
                view: view(&config),
                plan: Plan::default(),
                applied: Applied::new(&limits, seed.index_key()),
                memory,
                config: config.clone(),
            };
            world.follow(config);
            world
        }

        fn reconciled(&self, config: &Config) -> (View, Plan, Vec<Op>, Applied) {
            let mut known = View { next_hops: view(config).next_hops, ..self.view.clone() };
            known.wishes.release(&self.config, config, NOW);
            known.wishes.follow(None, config, NOW);
            let plan = plan(config, &known, &mut Memo::default(), NOW);
            let (ops, next) = reconcile(&self.applied, &plan, &self.memory, NOW).unwrap();
            (known, plan, ops, next)
        }

        fn preview(&self, config: &Config, flows: &[Placed]) -> Vec<ServiceChange> {
            let (_, plan, ops, next) = self.reconciled(config);
            let before = Side { config: &self.config, plan: &self.plan, applied: &self.applied };
            services(before, Side { config, plan: &plan, applied: &next }, &ops, &self.memory, flows)
        }

        fn follow(&mut self, config: Config) {
            let (known, plan, ops, next) = self.reconciled(&config);
            for op in &ops {
                self.memory.step(op);
            }
            (self.view, self.plan, self.applied, self.config) = (known, plan, next, config);
        }

        fn slots(&self) -> Vec<Slot> {
            let (_, service) = self.applied.services().next().unwrap();
            self.memory.slots(service.entry.table)
        }

        /// A flow for each slot, where the slot sends it.
        fn flows(&self) -> Vec<Placed> {
            let (_, service) = self.applied.services().next().unwrap();
            let slots = self.slots();
            let hash = |at: usize| (((at as u64) << 32) / slots.len() as u64 + 1) as u32;
            let flow = |(at, slot): (usize, &Slot)| Placed {
                service: service.id,
                hash: hash(at),
                backend: slot.current(),
            };
            slots.iter().enumerate().map(flow).collect()
        }
    }

    const THREE: [(&str, u8, &str); 3] = [("b1", 11, ""), ("b2", 12, ""), ("b3", 13, "")];

    fn moved(before: &[Slot], after: &[Slot]) -> u32 {
        before.iter().zip(after).filter(|(before, after)| before.current() != after.current()).count() as u32
    }

    #[test]
    fn what_is_told_is_what_moves() {
        let cases = [
            ("one more", [&THREE[..], &[("b4", 14, "")]].concat()),
            ("one less", THREE[..2].to_vec()),
            ("a weight", vec![("b1", 11, "weight = 3"), THREE[1], THREE[2]]),
            ("a drain", vec![("b1", 11, "admin = \"drain\""), THREE[1], THREE[2]]),
            ("another host", vec![("b1", 21, ""), THREE[1], THREE[2]]),
        ];
        for (what, backends) in cases {
            let mut world = World::new(config("", &THREE));
            let (flows, before) = (world.flows(), world.slots());
            let changed = config("", &backends);
            let [told] = &world.preview(&changed, &flows)[..] else { panic!("{what}") };
            world.follow(changed);
            let moves = moved(&before, &world.slots());
            assert!(moves > 0, "{what}");
            // There is one flow for each slot, and an address that changes is another backend.
            assert_eq!((told.moved_slots, told.moved_flows, told.lost_flows), (moves, moves, 0), "{what}");
            let [] = &world.preview(&world.config, &flows)[..] else { panic!("{what}: it is what runs now") };
        }
    }

    #[test]
    fn failure_or_drain_of_one_is_collateral_to_nobody() {
        let world = World::new(config("", &THREE));
        let drained = config("", &[("b1", 11, "admin = \"drain\""), THREE[1], THREE[2]]);
        let [told] = &world.preview(&drained, &[])[..] else { panic!("one service") };
        assert_eq!(told.collateral_slots, Some(0));
        let of: Vec<_> =
            told.backends.iter().map(|b| (b.backend.as_str(), b.fate, b.slots_after > 0)).collect();
        assert_eq!(
            of,
            [("b1", Fate::Changed, false), ("b2", Fate::Changed, true), ("b3", Fate::Changed, true)]
        );
    }

    #[test]
    fn flows_are_lost_where_their_backend_gives_them_up() {
        for (rule, fate) in [("drain", Fate::Removed), ("drop", Fate::Dropped)] {
            let keys = format!("on_remove = \"{rule}\"");
            let world = World::new(config(&keys, &THREE));
            let [told] = &world.preview(&config(&keys, &THREE[..2]), &world.flows())[..] else {
                panic!("{rule}")
            };
            let gone = &told.backends[2];
            assert_eq!((gone.backend.as_str(), gone.fate), ("b3", fate));
            let lost = if fate == Fate::Dropped { gone.slots_before } else { 0 };
            assert_eq!((told.lost_flows, gone.tracked_flows), (lost, gone.slots_before), "{rule}");
        }
    }

    #[test]
    fn table_of_another_length_moves_as_a_whole() {
        let world = World::new(config("", &THREE));
        let mut longer = config("", &THREE);
        Arc::make_mut(&mut longer.services[0]).slots = 997;
        let [told] = &world.preview(&longer, &[])[..] else { panic!("one service") };
        assert_eq!((told.moved_slots, told.slots, told.collateral_slots), (997, 997, None));
        assert_eq!(told.settings.iter().map(|change| change.key.as_str()).collect::<Vec<_>>(), ["slots"]);
    }

    #[test]
    fn service_comes_and_goes_as_a_whole() {
        let (with, mut without) = (config("", &THREE), config("", &THREE));
        without.services.clear();
        let fate = |from: &Config, to: &Config| World::new(from.clone()).preview(to, &[])[0].fate;
        assert_eq!((fate(&with, &without), fate(&without, &with)), (Fate::Removed, Fate::Added));
    }
}
