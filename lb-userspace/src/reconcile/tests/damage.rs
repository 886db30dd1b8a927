//! Maps that somebody else has written to.

use bytemuck::Zeroable as _;
use lb_common::{service::Service as Line, slot};

use super::{
    super::verify::{Comparison, Expected, verify},
    *,
};

fn look(world: &mut World, config: &Config) -> Comparison {
    let plan = plan(config, &view(config), &mut world.tables, world.now);
    let expected = Expected { applied: &world.applied, plan: &plan, name: &|_, _| None };
    verify(expected, &world.memory.image(), &world.memory, world.now)
}

/// Looks, and writes what differs anew.
fn repair(world: &mut World, config: &Config) -> Comparison {
    let found = look(world, config);
    world.memory.apply(&found.repair);
    if let Some(next) = &found.next {
        world.applied = next.clone();
    }
    found
}

/// Where differences are, and in which field.
fn places(found: &Comparison) -> Vec<(&str, &str)> {
    found.differences.iter().map(|one| (one.place.as_str(), one.field.as_str())).collect()
}

#[track_caller]
fn assert_clean(world: &mut World, config: &Config, after: &str) {
    let found = look(world, config);
    assert_eq!((places(&found), found.repair.len()), (vec![], 0), "{after}");
}

fn of_length(slots: u32) -> Config {
    let mut config = config(1..=4);
    Arc::make_mut(&mut config.services[0]).slots = slots;
    config
}

#[test]
fn what_was_applied_is_what_is_found() {
    let mut world = World::new();
    let steps = [
        ("a service", config(1..=4)),
        ("one more backend", config(1..=5)),
        ("more than its entries hold", config(1..=12)),
        ("one less", config(2..=12)),
        ("another length", of_length(251)),
        ("no service", config_of(Vec::new())),
        ("another service", config(1..=3)),
    ];
    for (what, config) in steps {
        world.apply(&config);
        assert_clean(&mut world, &config, what);
        world.restart();
        world.apply(&config);
        assert_clean(&mut world, &config, &format!("{what}, and another daemon"));
    }
    let counted = look(&mut world, &config(1..=3)).looked_at;
    assert_eq!((counted.services, counted.backends, counted.slots), (1, 3, 499));
}

/// What somebody does to maps, and which map and field tell of it.
type Damage = (fn(&mut Memory, &AppliedService), &'static [(&'static str, &'static str)]);

const SLOT: Damage = (
    |memory, service| {
        let base = service.entry.table.base + 17;
        let other = (memory.slots(service.entry.table)[17].current() + 1) % 4;
        memory.step(&Op::WriteSlots { base, slots: vec![Slot::settled(other)] });
    },
    &[("arena", "slot 17")],
);

const PAST: Damage = (
    |memory, service| {
        let current = memory.slots(service.entry.table)[3].current();
        let slots = vec![Slot::new(current, 77)];
        memory.step(&Op::WriteSlots { base: service.entry.table.base + 3, slots });
    },
    &[("arena", "slot 3")],
);

const BACKEND: Damage = (
    |memory, service| {
        let held = service.members[1].unwrap().entry;
        let entry = Entry { next_hop_mac: [9; 6], takes_new: 0, ..held };
        memory.step(&Op::WriteBackend { id: service.entry.first_backend + 1, entry });
    },
    &[("backends", "next_hop_mac"), ("backends", "takes_new")],
);

const NO_BACKEND: Damage = (
    |memory, service| memory.step(&Op::ClearBackends { first: service.entry.first_backend, count: 1 }),
    &[("backends", "entry")],
);

const SERVICE: Damage = (
    |memory, service| {
        let table = TableRef { base: 0, length: 5 };
        let entry = Line { table, first_backend: 3, ..service.entry };
        memory.step(&Op::WriteService { id: service.id, entry });
    },
    &[("services", "first_backend"), ("services", "table")],
);

const NO_SERVICE: Damage = (
    |memory, service| memory.step(&Op::WriteService { id: service.id, entry: Line::zeroed() }),
    &[("services", "entry")],
);

const POLICY: Damage = (
    |memory, service| {
        let policy = Policy { mss: 100, ..memory.image().policies[service.id as usize] };
        memory.step(&Op::WritePolicy { id: service.id, policy });
    },
    &[("policies", "mss")],
);

const STRAY: Damage = (
    |memory, _| {
        let key = ServiceKey::new(Address::from_v4([203, 0, 113, 99]), 80, 6);
        memory.step(&Op::WriteService { id: 7, entry: Line { key, ..Line::zeroed() } });
        let entry = Entry { address: Address::from_v4([198, 51, 100, 99]), ..Entry::zeroed() };
        memory.step(&Op::WriteBackend { id: 40, entry });
    },
    &[("services", "free entry 7"), ("backends", "free entry 40")],
);

const POOL: Damage = (
    |memory, _| memory.pools[0] = Pool { count: 1, first_port: 9, ..Pool::zeroed() },
    &[("nat_pools", "IPv4")],
);

#[test]
fn every_kind_of_damage_is_found_by_name_and_repaired() {
    for (damage, told) in [SLOT, PAST, BACKEND, NO_BACKEND, SERVICE, NO_SERVICE, POLICY, STRAY, POOL] {
        let (mut world, config) = (World::new(), config(1..=4));
        world.apply(&config);
        let hosts = world.hosts(true);
        let service = world.service().clone();
        damage(&mut world.memory, &service);
        let found = repair(&mut world, &config);
        assert_eq!(places(&found), told);
        assert!(found.differences.iter().all(|one| one.expected != one.found), "{:?}", found.differences);
        assert_clean(&mut world, &config, &format!("{told:?}"));
        assert_eq!(world.hosts(true), hosts, "{told:?}");
        world.reconcile(&config, |_| panic!("an operation after {told:?}")).unwrap();
    }
}

#[test]
fn cell_of_the_index_is_taken_out_before_what_it_named_is_cleared() {
    let (mut world, config) = (World::new(), config(1..=4));
    world.apply(&config);
    let service = world.service().clone();
    STRAY.0(&mut world.memory, &service);
    let index = world.memory.image().index;
    let full = (0..).zip(&index).find(|(_, bucket)| bucket.entries[0] != 0).unwrap().0;
    world.memory.step(&Op::WriteIndex(Cell { bucket: full, entry: 0, word: 0 }));
    let free = (0..).zip(&index).find(|(_, bucket)| bucket.entries == [0; 4]).unwrap().0;
    world.memory.step(&Op::WriteIndex(Cell { bucket: free, entry: 2, word: 8 }));
    let found = repair(&mut world, &config);
    let cells: Vec<_> = found.differences.iter().filter(|one| one.place == "service_index").collect();
    assert_eq!(cells.len(), 2, "{cells:?}");
    assert!(cells.iter().any(|one| one.found == "number 7, which is no service"), "{cells:?}");
    let at = |wanted: fn(&Op) -> bool| found.repair.iter().position(wanted).unwrap();
    let out = at(|op| matches!(op, Op::WriteIndex(Cell { word: 0, .. })));
    let in_again = at(|op| matches!(op, Op::WriteIndex(Cell { word: 1.., .. })));
    let (grace, cleared) = (at(|op| *op == Op::Grace), at(|op| matches!(op, Op::ClearService { id: 7 })));
    assert!(out < in_again && in_again < grace && grace < cleared, "{:?}", found.repair);
    assert_clean(&mut world, &config, "the repair");
}

#[test]
fn flow_that_began_in_a_damaged_slot_goes_on_after_the_repair() {
    let (mut world, config) = (World::new(), config(1..=4));
    world.apply(&config);
    let (before, service) = (world.hosts(true), world.service().clone());
    let table = service.entry.table;
    let turned =
        world.memory.slots(table).iter().map(|slot| Slot::settled((slot.current() + 1) % 4)).collect();
    world.memory.step(&Op::WriteSlots { base: table.base, slots: turned });
    let during = world.hosts_of(1000..1200, true);
    repair(&mut world, &config);
    assert_eq!(world.hosts_of(1000..1200, false), during, "what has begun meanwhile");
    assert_eq!(world.hosts(true), before, "new flows");
    assert_eq!(world.service().moved_slots, 499);
    assert_clean(&mut world, &config, "the repair");
    world.memory.connections.clear();
    world.memory.openings.clear();
    world.now += Duration::from_mins(2);
    world.settle();
    assert_eq!(world.service().moved_slots, 0);
    assert_clean(&mut world, &config, "it has settled");
}

#[test]
fn flows_of_before_are_told_by_what_was_noted() {
    let (mut world, three) = (World::new(), config(1..=3));
    world.apply(&config(1..=4));
    let before = world.hosts(true);
    world.apply(&three);
    let table = world.service().entry.table;
    let forgetful = world.memory.slots(table).iter().map(|slot| Slot::settled(slot.current())).collect();
    world.memory.step(&Op::WriteSlots { base: table.base, slots: forgetful });
    let found = repair(&mut world, &three);
    assert!(found.differences[0].expected.contains(", before 198.51.100.4"), "{:?}", found.differences);
    assert_eq!(world.hosts(false), before);
    assert_clean(&mut world, &three, "the repair");
}

#[test]
fn table_of_another_length_is_compared_too() {
    let (mut world, config) = (World::new(), of_length(251));
    world.apply(&of_length(499));
    let before = world.hosts(true);
    world.apply(&config);
    let table = world.service().entry.previous_table;
    assert_eq!(table.length, 499);
    world.memory.step(&Op::WriteSlots { base: table.base + 4, slots: vec![Slot::settled(slot::NONE)] });
    let found = repair(&mut world, &config);
    assert_eq!(places(&found), [("arena", "previous slot 4")]);
    assert_eq!(found.differences[0].found, "nobody");
    assert_eq!(world.hosts(false), before);
    assert_clean(&mut world, &config, "the repair");
}

#[test]
fn many_slots_are_a_few_lines_and_a_number() {
    let (mut world, config) = (World::new(), config(1..=4));
    world.apply(&config);
    let table = world.service().entry.table;
    world.memory.step(&Op::WriteSlots { base: table.base, slots: vec![Slot::EMPTY; 499] });
    let found = look(&mut world, &config);
    let (last, told) = found.differences.split_last().unwrap();
    assert_eq!((told.len(), last.count, last.field.as_str()), (8, 491, "491 more of its slots"));
}
