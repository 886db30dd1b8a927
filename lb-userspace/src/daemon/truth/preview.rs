//! What another configuration would change, without changing anything.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use lb_common::knobs::{
    FEATURE_AFFINITY, FEATURE_ANY_PORT, FEATURE_ECHO, FEATURE_FRAGMENTS, FEATURE_GUE, FEATURE_LIMITS,
    FEATURE_LISTS, FEATURE_MSS, FEATURE_NAT, FEATURE_NEXT, FEATURE_PASSIVE, FEATURE_PEERS, FEATURE_QUIC,
    FEATURE_RATES, FEATURE_RESET, FEATURE_STRICT, FEATURE_TRACKING,
};
use tokio::task::block_in_place;

use super::{Truth, check_change, features, follow::inherit_health};
use crate::{
    admin::plan::Preview,
    config::Config,
    daemon::now,
    neighbours::NextHop,
    plan::{View, kept::Kept, plan, taking},
    preview::{self, Side},
    reconcile::reconcile,
};

/// What carries what a new backend is sent, as long as nobody knows the way there.
const USUAL_MTU: u16 = 1500;

/// What the program is loaded for, in the words of the configuration.
const FEATURES: [(u32, &str); 17] = [
    (FEATURE_ANY_PORT, "services with every port"),
    (FEATURE_TRACKING, "remembered flows"),
    (FEATURE_AFFINITY, "affinity"),
    (FEATURE_RESET, "TCP resets"),
    (FEATURE_PEERS, "peers of the fleet"),
    (FEATURE_NEXT, "balancer.next_program"),
    (FEATURE_STRICT, "guard.malformed"),
    (FEATURE_LISTS, "guard.allow and guard.deny"),
    (FEATURE_RATES, "guard.max_new and guard.max_new_per_source"),
    (FEATURE_LIMITS, "limits of backends"),
    (FEATURE_PASSIVE, "passive"),
    (FEATURE_ECHO, "echo"),
    (FEATURE_GUE, "gue"),
    (FEATURE_NAT, "nat"),
    (FEATURE_FRAGMENTS, "fragments"),
    (FEATURE_MSS, "mss"),
    (FEATURE_QUIC, "quic"),
];

impl Truth {
    /// What would change if `config` became the running configuration now. Nothing is written by it: it costs as much as
    /// building the tables that would be other ones.
    ///
    /// A backend whose way is not known yet, since nobody has asked, is taken for reachable: so it is a moment later.
    pub(in crate::daemon) fn preview(&mut self, config: &Config) -> Preview {
        let mut preview = Preview::default();
        preview.refused.extend(check_change(&self.config, config).err().map(|error| error.to_string()));
        preview.settings = self.config.keys_beside_services().changes_to(&config.keys_beside_services());
        preview.program = self.missing(config);
        let running = self.fingerprint();
        block_in_place(|| self.compare(&self.as_far_as_it_goes(config), &mut preview));
        preview.concluded(running)
    }

    /// Tells the running configuration from others.
    pub(in crate::daemon) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.config.keys()).hash(&mut hasher);
        hasher.finish()
    }

    /// What cannot change while the daemon runs stays, so that the rest can be compared.
    fn as_far_as_it_goes(&self, config: &Config) -> Config {
        let mut config = config.clone();
        config.limits = self.config.limits;
        config.fleet.seed = self.config.fleet.seed;
        config
    }

    fn missing(&self, config: &Config) -> Vec<String> {
        let missing = features(config, &config.services) & !self.features;
        let named = FEATURES.into_iter().filter(|(feature, _)| missing & feature != 0);
        named.map(|(_, name)| name.to_owned()).collect()
    }

    fn compare(&mut self, config: &Config, preview: &mut Preview) {
        let view = self.view_of(config, &mut preview.assumed);
        let then = plan(config, &view, &mut self.tables, now());
        let (ops, next) = match reconcile(&self.applied, &then, &self.dataplane, now()) {
            Ok(reconciled) => reconciled,
            Err(error) => return preview.refused.push(error.to_string()),
        };
        let before = Side { config: &self.config, plan: &self.plan, applied: &self.applied };
        let after = Side { config, plan: &then, applied: &next };
        preview.services = preview::services(before, after, &ops, &self.dataplane, self.census.placed());
    }

    /// What would be known of the world under `config`.
    fn view_of(&self, config: &Config, assumed: &mut Vec<String>) -> View {
        let mut view = self.view.clone();
        view.wishes.release(&self.config, config, now());
        view.wishes.follow(Some(&self.config), config, now());
        view.wishes.follow_rollouts(config);
        inherit_health(&mut view, config);
        self.assume_ways(config, &mut view, assumed);
        view.damped = self.record.would_be_damped(config);
        view.started.look(taking(config, &view, &Kept::nothing(config), now()), now());
        view
    }

    fn assume_ways(&self, config: &Config, view: &mut View, assumed: &mut Vec<String>) {
        let known = self.view.next_hops.values().max_by_key(|next_hop| next_hop.mtu);
        let (ifindex, mtu) = known.map_or((1, USUAL_MTU), |known| (known.ifindex, known.mtu));
        for backend in config.services.iter().flat_map(|service| &service.backends) {
            let address = backend.address;
            if view.own.contains(&address)
                || view.next_hops.contains_key(&address)
                || self.unreachable.contains_key(&address)
            {
                continue;
            }
            let interface = String::new();
            let (mac, source_mac) = ([0; 6], [0; 6]);
            let way =
                NextHop { ifindex, interface, mac, source_mac, source: address, mtu, vlan: 0, gateway: None };
            view.next_hops.insert(address, Arc::new(way));
            assumed.push(format!("{address} can be reached, by a way that carries {mtu} bytes, and is up"));
        }
    }
}
