//! The addresses that packets are translated to: known before flows get them, and for as long as flows have them.

use std::collections::BTreeSet;

use super::*;
use crate::config::Nat;

/// A service behind NAT, with these last octets of pool addresses.
fn translated(octets: &[u8]) -> Config {
    let nat = |backend: Backend| Backend { forwarding: Forwarding::Nat, ..backend };
    let mut config = config_of(vec![service("web", VIP, (1..=3).map(backend).map(nat).collect())]);
    let addresses = octets.iter().map(|&n| address(n)).collect();
    config.balancer.nat = (!octets.is_empty()).then_some(Nat { addresses, ports: 1024..=2047 });
    config
}

fn is_marked(memory: &Memory, octet: u8) -> bool {
    memory
        .find(&ServiceKey::vip(address(octet).into()))
        .is_some_and(|(_, entry)| entry.options & OPTION_NAT != 0)
}

fn is_given(memory: &Memory, octet: u8) -> bool {
    let [pool, _] = &memory.pools;
    pool.addresses[..pool.count as usize].contains(&address(octet).into())
}

impl World {
    /// Reconciles with a configuration while flows have addresses `in_use`.
    fn follow(&mut self, config: &Config, in_use: &[u8], look: impl Fn(&Memory)) {
        let translated: BTreeSet<_> = in_use.iter().map(|&n| address(n)).collect();
        let view = crate::plan::View { translated, ..view(config) };
        let plan = plan(config, &view, &mut self.tables, self.now);
        let (ops, next) = reconcile(&self.applied, &plan, &self.memory, self.now).unwrap();
        for op in &ops {
            self.memory.step(op);
            look(&self.memory);
        }
        self.applied = next;
    }
}

#[test]
fn address_is_known_before_a_flow_gets_it_and_until_the_last_one_has_ended() {
    let mut world = World::new();
    let given_are_known = |memory: &Memory| {
        for octet in [250, 251] {
            assert!(!is_given(memory, octet) || is_marked(memory, octet), "{octet}");
        }
    };
    world.follow(&translated(&[250]), &[], given_are_known);
    assert!(is_given(&world.memory, 250));
    world.follow(&translated(&[251]), &[250], |memory| {
        given_are_known(memory);
        assert!(is_marked(memory, 250));
    });
    assert!(!is_given(&world.memory, 250) && is_given(&world.memory, 251));
    world.follow(&translated(&[251]), &[251], given_are_known);
    assert!(!is_marked(&world.memory, 250) && is_marked(&world.memory, 251));
    world.follow(&translated(&[]), &[], given_are_known);
    assert_eq!(world.memory.pools[0].count, 0);
    assert!(!is_marked(&world.memory, 251));
}

#[test]
fn another_daemon_knows_the_addresses_and_has_nothing_to_do() {
    let mut world = World::new();
    world.follow(&translated(&[250, 251]), &[], |_| {});
    world.restart();
    assert_eq!(world.applied.translated(), BTreeSet::from([address(250), address(251)]));
    world.follow(&translated(&[250, 251]), &[], |_| panic!("an operation"));
}
