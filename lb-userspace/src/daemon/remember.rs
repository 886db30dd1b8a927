//! What an earlier daemon knew: what it kept in its file, and what the maps say. It holds until somebody says otherwise.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lb_common::{
    address::Address,
    backend::{Backend as Entry, Forwarding, Health as EntryHealth},
};
use tracing::warn;

use super::{now, truth::key};
use crate::{
    causes::with_causes,
    config::{Backend, Config, Service},
    health::{Health, TargetKey},
    history::{Aspect, Histories},
    neighbours::NextHop,
    plan::{Verdict, View, shares::Started},
    reconcile::Applied,
    wishes::file::{Kept, StateFile},
};

/// The world as an earlier daemon knew it.
pub(super) fn view(config: &Config, applied: &Applied, file: &mut StateFile, boot: Duration) -> View {
    let Kept { wishes, started } = kept(config, applied, file, boot);
    let mut view = View { wishes, started: Started::known(started), ..View::default() };
    for service in &config.services {
        let Some(applied) = applied.service(&service.key()) else { continue };
        let entries = applied.entries();
        let leaving: Vec<_> =
            view.wishes.leaving_of(service.key()).map(|leaving| leaving.backend.clone()).collect();
        for backend in service.backends.iter().chain(&leaving) {
            let Some((_, entry)) = entries.get(&Address::from(backend.address)) else { continue };
            view.next_hops.extend(next_hop(entry).map(|next_hop| (backend.address, Arc::new(next_hop))));
            let verdict = verdict(service, backend, entry);
            view.health.extend(verdict.map(|verdict| (key(service, &backend.name), verdict)));
        }
    }
    view
}

/// What was kept. Backends that have gone from the file while no daemon ran are found in the maps.
fn kept(config: &Config, applied: &Applied, file: &mut StateFile, boot: Duration) -> Kept {
    let mut kept = file.load(boot, now()).unwrap_or_else(|error| {
        warn!(
            "{}; what was set by command, since when backends drain, and which ones are leaving is lost; what the \
             configuration says of them holds",
            with_causes(&error)
        );
        Kept::default()
    });
    let wishes = &mut kept.wishes;
    let members = applied
        .services()
        .flat_map(|(&key, service)| service.members.iter().flatten().map(move |member| (key, member.entry)));
    wishes.find(config, members, now());
    for target in wishes.follow(None, config, now()) {
        tell_overruled(&target.service, &target.backend);
    }
    for service in wishes.follow_rollouts(config) {
        tell_overruled_rollout(&service);
    }
    kept
}

/// Why the backends' health is what the maps say.
pub(super) fn causes(view: &View, histories: &Histories) -> BTreeMap<TargetKey, String> {
    let cause = |(key, verdict): (&TargetKey, &Verdict)| {
        let change = histories.last(key, Aspect::Health)?;
        (change.is == verdict.health.to_string()).then(|| (key.clone(), change.why.clone().into_owned()))
    };
    view.health.iter().filter_map(cause).collect()
}

/// The same of a service's roll-out.
pub(super) fn tell_overruled_rollout(service: &str) {
    warn!(
        service,
        "what was set by command of its roll-out does not hold any more: the file says something else now"
    );
}

/// Tells that the file has changed its mind about a backend, so that a command does not hold any more.
pub(super) fn tell_overruled(service: &str, backend: &str) {
    warn!(
        service,
        backend, "what was set by command does not hold any more: the file says something else now"
    );
}

fn verdict(service: &Service, backend: &Backend, entry: &Entry) -> Option<Verdict> {
    let health = match entry.health {
        health if health == EntryHealth::Up as u8 => Health::Up,
        health if health == EntryHealth::Down as u8 => Health::Down,
        _ => return None,
    };
    let target = service.probe_target(backend)?;
    Some(Verdict { target, health, since: Duration::from_secs(u64::from(entry.health_since_s)) })
}

/// The way that packets take, as far as an entry tells it. The kernel is asked for the rest soon.
fn next_hop(entry: &Entry) -> Option<NextHop> {
    (entry.forwarding != Forwarding::Unresolved as u8).then(|| NextHop {
        ifindex: entry.ifindex,
        interface: format!("interface {}", entry.ifindex),
        mac: entry.next_hop_mac,
        source_mac: entry.source_mac,
        source: entry.source.into(),
        mtu: entry.mtu,
        vlan: entry.vlan,
        gateway: None,
    })
}
