//! Server ids: whom they name, and for how long.

use lb_common::quic::{Server, ServerId, ServerKey};

use super::*;
use crate::config::Quic;

const SECOND: Duration = Duration::from_secs(1);

/// A service whose backends have their numbers as server ids.
fn quic(backends: impl IntoIterator<Item = u8>) -> Config {
    let named = |n| Backend { server_id: ServerId::new(&[n]), ..backend(n) };
    let web = service("web", VIP, backends.into_iter().map(named).collect());
    let form = Some(Quic { config_id: 0, server_id_length: 1 });
    config_of(vec![Service { protocol: Protocol::Quic, quic: form, ..web }])
}

impl World {
    /// The host that each server id names.
    fn named(&self) -> Vec<(u8, IpAddr)> {
        let entry = self.service().entry;
        let mut named: Vec<_> = self
            .memory
            .image()
            .server_ids
            .into_iter()
            .map(|(key, server)| {
                let host =
                    self.memory.image().backends[(entry.first_backend + u32::from(server.backend)) as usize];
                (key.id.bytes()[0], host.address.into())
            })
            .collect();
        named.sort_unstable();
        named
    }

    /// A packet names a backend by this id now.
    fn use_id(&mut self, id: u8) {
        let id = ServerId::new(&[id]).unwrap();
        let key = ServerKey { id, service: self.service().id, _pad: 0 };
        self.memory.server_ids.get_mut(&key).unwrap().used_ns = self.now.as_nanos() as u64;
        self.applied.note_server_ids(&self.memory.image().server_ids);
    }
}

fn hosts(ids: impl IntoIterator<Item = u8>) -> Vec<(u8, IpAddr)> {
    ids.into_iter().map(|n| (n, address(n))).collect()
}

#[test]
fn id_names_its_backend_until_nothing_else_does() {
    let mut world = World::new();
    world.apply(&quic(1..=3));
    assert_eq!(world.named(), hosts(1..=3));
    world.use_id(3);
    world.apply(&quic(1..=2));
    assert_eq!(world.named(), hosts(1..=3), "it has left, and its connections live");
    world.now += 40 * SECOND;
    world.use_id(3);
    world.now += 40 * SECOND;
    world.settle();
    world.settle();
    assert_eq!(world.named(), hosts(1..=3), "no slot names it, but its connections do");
    world.now += 61 * SECOND;
    world.settle();
    assert_eq!(world.named(), hosts(1..=2));
    assert_eq!(world.service().backend_id(address(3)), None);
}

#[test]
fn index_that_a_named_backend_had_is_given_on_only_after_a_grace() {
    let mut world = World::new();
    world.apply(&quic(1..=3));
    world.apply(&quic(1..=2));
    world.now += 61 * SECOND;
    world.settle();
    let graces = world.memory.graces;
    world.settle();
    assert_eq!((world.named(), world.memory.graces), (hosts(1..=2), graces + 1));
}

#[test]
fn id_that_another_backend_has_now_is_the_other_ones() {
    let mut world = World::new();
    world.apply(&quic(1..=3));
    let mut config = quic(1..=4);
    Arc::make_mut(&mut config.services[0]).backends.remove(2);
    Arc::make_mut(&mut config.services[0]).backends[2].server_id = ServerId::new(&[3]);
    world.apply(&config);
    assert_eq!(world.named(), [(1, address(1)), (2, address(2)), (3, address(4))]);
}

#[test]
fn ids_outlive_the_daemon() {
    let mut world = World::new();
    world.apply(&quic(1..=3));
    world.apply(&quic(1..=2));
    world.use_id(3);
    world.restart();
    world.reconcile(&quic(1..=2), |_| panic!("an operation")).unwrap();
    assert_eq!(world.named(), hosts(1..=3));
    assert_eq!(world.service().last_named(2), Some(world.now));
}

#[test]
fn ids_that_name_nobody_are_cleared() {
    let mut world = World::new();
    world.apply(&quic(1..=3));
    let id = ServerId::new(&[9]).unwrap();
    let key = ServerKey { id, service: world.service().id, _pad: 0 };
    let server = |backend| Server { used_ns: 0, backend, _pad: [0; 6] };
    world.memory.server_ids.insert(key, server(7));
    world.memory.server_ids.insert(ServerKey { service: 17, ..key }, server(0));
    world.restart();
    assert_eq!(world.named(), hosts(1..=3));
}

#[test]
fn ids_go_over_to_maps_of_another_size_and_go_with_their_service() {
    let mut world = World::new();
    world.apply(&quic(1..=3));
    world.use_id(2);
    let mut moved = World::new();
    moved.applied = world.applied.clone();
    moved.memory.apply(&world.applied.contents(&world.memory));
    assert_eq!(moved.memory.server_ids, world.memory.server_ids);
    moved.apply(&config_of(Vec::new()));
    assert!(moved.memory.server_ids.is_empty());
}

#[test]
fn daemon_killed_at_any_operation_leaves_ids_that_the_next_mends() {
    let mut killed_after = 0;
    loop {
        let mut world = World::new();
        world.apply(&quic(1..=3));
        let config = quic(2..=6);
        let plan = plan(&config, &view(&config), &mut world.tables, world.now);
        let (ops, _) = reconcile(&world.applied, &plan, &world.memory, world.now).unwrap();
        world.memory.apply(&ops[..killed_after.min(ops.len())]);
        world.restart();
        world.apply(&config);
        let named = world.named();
        assert_eq!(named.iter().filter(|(id, _)| *id > 1).copied().collect::<Vec<_>>(), hosts(2..=6));
        assert!(
            named.iter().all(|&(id, host)| host == address(id)),
            "killed after {killed_after}: {named:?}"
        );
        if killed_after > ops.len() {
            break;
        }
        killed_after += 1;
    }
}
