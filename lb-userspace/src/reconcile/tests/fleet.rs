//! Two balancers that tell each other what they remember, each with the backends in an order of its own.

use super::{
    super::fleet::{history, published, sightings, take_flows, take_history},
    *,
};

impl World {
    /// Takes all that `peer` has to tell, as when connecting to it.
    fn take_all(&mut self, peer: &Self) {
        for history in history(&peer.applied, &peer.memory, &published(&self.applied)) {
            let ops = take_history(&mut self.applied, &history, &self.memory, self.now);
            self.memory.apply(&ops);
        }
        self.take_flows(peer);
    }

    fn take_flows(&mut self, peer: &Self) {
        let remembered = peer.memory.remembered().unwrap();
        let flow_key = SEED.flow_key();
        let told = sightings(&peer.applied, &remembered, &peer.memory, &flow_key, peer.now);
        let taken = take_flows(&mut self.applied, &told, &self.memory, &flow_key, self.now);
        assert_eq!(taken.strangers, []);
        self.memory.apply(&taken.ops);
    }

    /// Opens connections from `ports`, of which each goes on, and gives their hosts.
    fn open(&mut self, ports: std::ops::Range<u16>) -> HashMap<u16, IpAddr> {
        let opened =
            ports.filter_map(|port| host(&mut self.memory, port, true, self.now).ok().map(|h| (port, h)));
        let opened: HashMap<_, _> = opened.collect();
        self.assert_holds(&opened);
        opened
    }

    /// Two packets of each connection go where they belong.
    fn assert_holds(&mut self, open: &HashMap<u16, IpAddr>) {
        for _ in 0..2 {
            for (port, expected) in open {
                assert_eq!(host(&mut self.memory, *port, false, self.now), Ok(*expected), "port {port}");
            }
        }
    }
}

/// All of five backends, of which those in `weights` have another weight than one, in two orders.
fn weighing(weights: &[(u8, u32)], reversed: bool) -> Config {
    let weight = |n| weights.iter().find(|(of, _)| *of == n).map_or(1, |(_, weight)| *weight);
    let mut backends: Vec<_> = (1..=5).map(|n| Backend { weight: weight(n), ..backend(n) }).collect();
    if reversed {
        backends.reverse();
    }
    config_of(vec![service("web", VIP, backends)])
}

/// One balancer that has gone through `weights` one by one, and the connections that were opened after each.
fn after(weights: &[&[(u8, u32)]]) -> (World, HashMap<u16, IpAddr>) {
    let mut world = World::new();
    let mut open = HashMap::new();
    for (ports, weights) in (0..).step_by(200).zip(weights) {
        world.apply(&weighing(weights, false));
        open.extend(world.open(ports..ports + 200));
    }
    (world, open)
}

fn newcomer(weights: &[(u8, u32)]) -> World {
    let mut world = World::new();
    world.apply(&weighing(weights, true));
    world
}

#[test]
fn new_balancer_takes_flows_of_before_and_after_a_change() {
    let (mut old, open) = after(&[&[], &[(1, 0)]]);
    let mut new = newcomer(&[(1, 0)]);
    assert_ne!(
        new.service().entry.first_backend + 1,
        new.service().backend_id(address(1)).unwrap(),
        "another order"
    );
    new.take_all(&old);
    new.assert_holds(&open);
    assert_eq!(new.service().moved_slots, old.service().moved_slots);
    old.assert_holds(&open);
}

#[test]
fn new_balancer_with_the_next_configuration_takes_flows_too() {
    let (old, open) = after(&[&[], &[(1, 0)]]);
    let mut new = newcomer(&[(1, 0), (2, 5)]);
    new.take_all(&old);
    new.assert_holds(&open);
}

#[test]
fn settled_balancer_with_the_same_table_has_nothing_to_tell() {
    let (old, open) = after(&[&[]]);
    let mut new = newcomer(&[]);
    assert_eq!(history(&old.applied, &old.memory, &published(&new.applied)), []);
    new.take_all(&old);
    assert_eq!((new.service().moved_slots, new.memory.connections.len()), (0, 0));
    new.assert_holds(&open);
}

#[test]
fn settled_balancer_tells_one_with_another_table_all_of_its_own() {
    let (old, open) = after(&[&[]]);
    let mut new = newcomer(&[(3, 0)]);
    new.take_all(&old);
    new.assert_holds(&open);
}

#[test]
fn flow_that_contradicts_a_settled_slot_unsettles_it_alone() {
    let mut one = newcomer(&[]);
    let open = one.open(0..200);
    // One probe more or less: the other balancer sees backend 1 down for a moment, opens flows, and sees it up again.
    let (mut other, _) = after(&[&[], &[(1, 0)]]);
    let opened = other.open(1000..1200);
    other.apply(&weighing(&[], false));
    one.take_flows(&other);
    one.assert_holds(&opened);
    one.assert_holds(&open);
    let moved = one.service().moved_slots;
    assert!(moved > 0 && moved < other.service().moved_slots, "{moved}");
}

#[test]
fn later_sighting_wins() {
    let (mut one, open) = after(&[&[], &[(1, 0)]]);
    let mut other = newcomer(&[(1, 0)]);
    other.take_all(&one);
    one.now += Duration::from_secs(30);
    one.assert_holds(&open);
    let seen = |world: &World| world.memory.connections.values().map(|c| c.last_seen_ns).max();
    assert!(seen(&other) < seen(&one));
    other.take_flows(&one);
    assert_eq!(seen(&other), seen(&one));
    one.take_flows(&newcomer(&[(1, 0)]));
    assert_eq!(seen(&other), seen(&one));
}

#[test]
fn flow_that_was_silent_for_too_long_is_neither_told_nor_taken() {
    let (mut one, _) = after(&[&[], &[(1, 0)]]);
    let mut other = newcomer(&[(1, 0)]);
    other.now += Duration::from_secs(61);
    other.take_flows(&one);
    assert_eq!(other.memory.connections.len(), 0);
    one.now = other.now;
    let remembered = one.memory.remembered().unwrap();
    assert_eq!(sightings(&one.applied, &remembered, &one.memory, &SEED.flow_key(), one.now), []);
}

#[test]
fn change_of_length_is_told() {
    let mut old = World::new();
    old.apply(&weighing(&[], false));
    let mut open = old.open(0..200);
    old.apply(&longer(weighing(&[], false)));
    open.extend(old.open(200..400));
    let mut new = World::new();
    new.apply(&longer(weighing(&[], true)));
    new.take_all(&old);
    assert_eq!(new.service().entry.previous_table.length, 499);
    new.assert_holds(&open);
}

#[test]
fn peer_that_has_not_changed_the_length_yet_is_understood() {
    let (old, open) = after(&[&[], &[(1, 0)]]);
    let mut new = World::new();
    new.apply(&longer(weighing(&[(1, 0)], true)));
    new.take_all(&old);
    new.assert_holds(&open);
}

#[test]
fn slot_that_has_a_past_keeps_it() {
    let (old, _) = after(&[&[], &[(1, 0)]]);
    let mut other = newcomer(&[(2, 0)]);
    other.apply(&weighing(&[(1, 0)], true));
    let mut new = newcomer(&[(1, 0)]);
    new.take_all(&old);
    let moved: Vec<_> = moved_slots(&new).collect();
    new.take_all(&other);
    let after: HashMap<_, _> = moved_slots(&new).collect();
    assert!(moved.iter().all(|(index, slot)| after[index] == *slot));
    assert!(after.len() > moved.len());
}

fn moved_slots(world: &World) -> impl Iterator<Item = (u32, Slot)> {
    let slots = world.memory.slots(world.service().entry.table);
    (0..).zip(slots).filter(|(_, slot)| !slot.is_settled())
}

#[test]
fn change_of_affinity_is_told() {
    let by_source = |mut config: Config| {
        Arc::make_mut(&mut config.services[0]).source_bits = 32;
        config
    };
    let mut old = World::new();
    old.apply(&weighing(&[], false));
    let mut open = old.open(0..200);
    old.apply(&by_source(weighing(&[], false)));
    open.extend(old.open(200..400));
    let mut new = World::new();
    new.apply(&by_source(weighing(&[], true)));
    new.take_all(&old);
    new.assert_holds(&open);
}

#[test]
fn backend_that_left_before_a_balancer_came_keeps_its_flows() {
    let mut old = World::new();
    old.apply(&config(1..=5));
    let mut open = old.open(0..200);
    old.apply(&config(2..=5));
    open.extend(old.open(200..400));
    let mut new = World::new();
    new.apply(&config((2..=5).rev()));
    let told = history(&old.applied, &old.memory, &published(&new.applied)).remove(0);
    let (key, host) = super::super::fleet::strangers(&new.applied, &told)[0];
    assert_eq!(host.address, Address::from(address(1)));
    // The way to it is known, as soon as somebody has asked for it.
    let mut view = view(&config(1..=5));
    assert!(view.wishes.take_in(key, address(1), host.forwarding.unwrap(), new.now));
    let plan = plan(&config((2..=5).rev()), &view, &mut new.tables, new.now);
    let (ops, next) = reconcile(&new.applied, &plan, &new.memory, new.now).unwrap();
    new.memory.apply(&ops);
    new.applied = next;
    new.take_all(&old);
    new.assert_holds(&open);
}

#[test]
fn history_of_what_is_not_there_is_ignored() {
    let (old, _) = after(&[&[], &[(1, 0)]]);
    let mut new = newcomer(&[(1, 0)]);
    for history in history(&old.applied, &old.memory, &[]) {
        let unknown = ServiceKey::new(Address::from_v4([192, 0, 2, 1]), 1, 6);
        let mut wrong = history.clone();
        wrong.key = unknown;
        assert_eq!(take_history(&mut new.applied, &wrong, &new.memory, new.now), []);
        let mut wrong = history;
        wrong.pasts.iter_mut().for_each(|past| past.slots = vec![u32::MAX]);
        assert_eq!(take_history(&mut new.applied, &wrong, &new.memory, new.now), []);
    }
}

/// Changes of the weights of ten backends, of which each is followed by new connections at either balancer.
fn weights() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0u32..3, 10), 1..6)
}

fn of_ten(weights: &[u32], reversed: bool) -> Config {
    let mut backends: Vec<_> =
        (0u8..).zip(weights).map(|(n, &weight)| Backend { weight, ..backend(n) }).collect();
    if reversed {
        backends.reverse();
    }
    config_of(vec![service("web", VIP, backends)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn newcomer_forwards_as_the_balancer_whose_word_it_took(changes in weights()) {
        let mut old = World::new();
        let mut open = HashMap::new();
        for (ports, weights) in (0..).step_by(20).zip(&changes) {
            old.apply(&of_ten(weights, false));
            open.extend(old.open(ports..ports + 20));
        }
        let mut new = World::new();
        new.apply(&of_ten(&changes[changes.len() - 1], true));
        new.take_all(&old);
        new.assert_holds(&open);
    }

    #[test]
    fn flows_go_on_at_either_of_two_balancers_that_change_one_after_the_other(
        changes in weights(),
        waits in prop::collection::vec(any::<bool>(), 6),
    ) {
        let (mut one, mut other) = (World::new(), World::new());
        let (mut at_one, mut at_other) = (HashMap::new(), HashMap::new());
        let mut ports = (0..).step_by(10).map(|first| first..first + 10);
        for (weights, waits) in changes.iter().zip(waits) {
            one.apply(&of_ten(weights, false));
            at_one.extend(one.open(ports.next().unwrap()));
            at_other.extend(other.open(ports.next().unwrap()));
            other.apply(&of_ten(weights, true));
            at_one.extend(one.open(ports.next().unwrap()));
            at_other.extend(other.open(ports.next().unwrap()));
            for _ in 0..if waits { 3 } else { 0 } {
                (one.now, other.now) = (one.now + Duration::from_secs(25), other.now + Duration::from_secs(25));
                one.assert_holds(&at_one);
                other.assert_holds(&at_other);
                one.take_flows(&other);
                other.take_flows(&one);
            }
            one.settle();
            other.settle();
        }
        one.take_flows(&other);
        other.take_flows(&one);
        one.assert_holds(&at_other);
        other.assert_holds(&at_one);
    }
}
