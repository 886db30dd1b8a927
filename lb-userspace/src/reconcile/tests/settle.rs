//! When slots settle, and what is given back then.

use super::*;

#[test]
fn old_table_goes_when_its_flows_are_remembered_or_gone() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let old = world.hosts(true);
    world.apply(&longer(config(1..=4)));
    assert_eq!(world.hosts(false), old);
    world.now += Duration::from_secs(61);
    let kept = world.hosts(false);
    world.settle();
    assert_eq!(world.service().entry.previous_table.length, 0);
    assert_eq!(world.applied.arena_use().0, 1008, "997 slots in lines of 16");
    assert_eq!(world.hosts(false), kept, "live flows stay");
    world.memory.connections.clear();
    world.now += Duration::from_secs(61);
    world.settle();
    assert_eq!(world.service().moved_slots, 0);
}

#[test]
fn settled_service_gives_the_index_of_a_removed_backend_to_the_next() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    world.apply(&config(2..=4));
    assert_eq!(world.service().members.iter().flatten().count(), 4, "old flows may still be with b1");
    world.now += Duration::from_secs(61);
    world.settle();
    assert_eq!(world.service().moved_slots, 0);
    assert_eq!(world.service().members.iter().flatten().count(), 4, "a packet in flight may still name b1");
    world.settle();
    assert_eq!(world.service().members.iter().flatten().count(), 3);
    world.apply(&config(2..=5));
    assert_eq!(world.service().members.len(), 4);
}

#[test]
fn slot_with_a_live_flow_elsewhere_is_not_settled() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let old = world.hosts(true);
    world.apply(&config(2..=4));
    assert_eq!(world.hosts(false), old, "which remembers them");
    world.now += Duration::from_secs(61);
    let kept = world.hosts(false);
    world.settle();
    assert_eq!(world.hosts(false), kept);
    assert!(world.service().members.iter().flatten().any(|member| member.retired), "b1 still has flows");
}

#[test]
fn slot_settles_by_its_own_age() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    world.apply(&config(1..=5));
    let early = world.service().moved_slots;
    world.now += Duration::from_secs(45);
    world.apply(&config(1..=6));
    let all = world.service().moved_slots;
    assert!(all > early && early > 0);
    world.now += Duration::from_secs(16);
    world.settle();
    assert_eq!(world.service().moved_slots, all - early, "those that moved first have waited long enough");
    world.now += Duration::from_secs(45);
    world.settle();
    assert_eq!(world.service().moved_slots, 0);
}

#[test]
fn slot_that_moves_again_waits_no_longer() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    world.apply(&config(1..=3));
    let opened = world.hosts(true);
    world.now += Duration::from_secs(45);
    world.apply(&config(1..=2));
    assert_eq!(world.hosts(false), opened);
    world.now += Duration::from_secs(16);
    assert_eq!(world.hosts(false), opened);
    world.settle();
    assert_eq!(world.hosts(false), opened);
}

#[test]
fn slot_whose_live_flows_are_with_a_third_backend_lets_go_of_its_previous_one() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    world.apply(&config(2..=4));
    let third = world.hosts(true);
    world.apply(&config([2, 4]));
    world.now += Duration::from_secs(61);
    assert_eq!(world.hosts(false), third, "live flows, some of them with b3, and none with b1");
    world.settle();
    world.settle();
    let members = || world.service().members.iter().flatten().map(|member| member.entry.address);
    assert!(!members().any(|host| host == address(1).into()), "nothing names b1 any more");
    assert!(members().any(|host| host == address(3).into()));
    assert_eq!(world.hosts(false), third);
}

#[test]
fn nothing_settles_while_a_flow_may_have_gone_unremembered() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let old = world.hosts(true);
    world.apply(&config(2..=4));
    world.memory.refuses = true;
    world.now += Duration::from_secs(59);
    assert_eq!(world.hosts(false), old, "though none is remembered");
    world.applied.note_forgotten(world.now);
    world.now += Duration::from_secs(2);
    world.settle();
    assert_eq!(world.hosts(false), old);
    world.now += Duration::from_mins(1);
    world.settle();
    assert_eq!(world.service().moved_slots, 0);
}
