//! What another daemon makes of the maps that it finds.

use super::*;

#[test]
fn restarted_daemon_has_nothing_to_do() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    world.apply(&config(2..=6));
    let moved = world.service().moved_slots;
    world.restart();
    assert_eq!(world.service().moved_slots, moved);
    world.reconcile(&config(2..=6), |_| panic!("an operation")).unwrap();
}

#[test]
fn restart_keeps_a_change_of_length_going() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let old = world.hosts(true);
    world.apply(&longer(config(1..=4)));
    world.restart();
    world.apply(&longer(config(2..=4)));
    assert_eq!(world.hosts(false), old);
}

#[test]
fn daemon_killed_at_any_operation_leaves_nothing_that_the_next_cannot_mend() {
    let steps = |world: &mut World, config: &Config, killed_after: usize| {
        let plan = plan(config, &view(config), &mut world.tables, world.now);
        let (ops, _) = reconcile(&world.applied, &plan, &world.memory, world.now).unwrap();
        world.memory.apply(&ops[..killed_after.min(ops.len())]);
        ops.len()
    };
    let next = longer(config(2..=20));
    for killed_after in 0.. {
        let mut world = World::new();
        world.apply(&config(1..=4));
        let old = world.hosts(true);
        let operations = steps(&mut world, &next, killed_after);
        world.restart();
        world.apply(&next);
        assert_eq!(world.hosts(false), old, "killed after {killed_after} operations");
        if killed_after == operations {
            break;
        }
    }
}

#[test]
fn maps_of_another_size_take_everything_over() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let old = world.hosts(true);
    world.apply(&config(2..=6));
    assert_eq!(world.hosts(false), old);
    let larger = Limits { services: 64, backends: 500, slots: 50_000, ..LIMITS };
    let image = world.memory.image().resized(&larger, SEED.index_key()).unwrap();
    let (applied, leftovers) =
        Applied::adopt(&larger, SEED.index_key(), &image, &world.memory, world.now).unwrap();
    assert_eq!(leftovers, []);
    let mut memory = Memory::new(&larger, SEED.flow_key(), SEED.index_key());
    memory.apply(&applied.contents(&world.memory));
    (memory.connections, memory.openings) = (world.memory.connections, world.memory.openings);
    world.memory = memory;
    (world.applied, world.tables) = (applied, Tables::default());
    world.reconcile(&config(2..=6), |_| panic!("an operation")).unwrap();
    assert_eq!(world.hosts(false), old);
}

#[test]
fn maps_that_are_too_small_take_nothing_over() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let smaller = Limits { backends: 3, ..LIMITS };
    assert!(world.memory.image().resized(&smaller, SEED.index_key()).is_none());
}

#[test]
fn maps_that_contradict_themselves_are_not_adopted() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let mut image = world.memory.image();
    let service = image.services.iter_mut().find(|service| service.table.length > 0).unwrap();
    service.table.base = LIMITS.slots;
    let adopted = Applied::adopt(&LIMITS, SEED.index_key(), &image, &world.memory, world.now);
    assert_eq!(adopted.unwrap_err(), AdoptError::Misplaced(world.service().id));
}
