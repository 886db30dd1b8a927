//! What a service may say of itself or leave to `[defaults]`.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use ipnet::IpNet;
use lb_common::{
    backend::OldFlows,
    guard::OnFull,
    maglev::{MAX_LENGTH, is_prime, next_prime},
    service::Track,
};

use super::{
    DRAIN_DEADLINES, Forwarding, Gue, OnDeadline, OnRemove,
    affinity::{Affinity, affinity},
    file::Located,
    flap::{Damping, flap},
    guard::GuardPolicy,
    gue::gue,
    mss::{Mss, mss},
    probe::ProbePolicy,
    schema::{self, Schema},
    section::{Entry, Section},
    sharing::SharingPolicy,
};

const TRACKS: &[(&str, Track)] =
    &[("moved", Track::Moved), ("always", Track::Always), ("never", Track::Never)];
const ON_DOWN: &[(&str, OldFlows)] =
    &[("keep", OldFlows::Keep), ("move", OldFlows::Move), ("reset", OldFlows::Reset)];
const ON_DEADLINE: &[(&str, OnDeadline)] = &[("move", OnDeadline::Move), ("reset", OnDeadline::Reset)];
const ON_REMOVE: &[(&str, OnRemove)] = &[("drain", OnRemove::Drain), ("drop", OnRemove::Drop)];
const ON_FULL: &[(&str, OnFull)] = &[("next", OnFull::Next), ("refuse", OnFull::Refuse)];
const FORWARDINGS: &[(&str, Forwarding)] =
    &[("l2", Forwarding::L2), ("ipip", Forwarding::Ipip), ("gue", Forwarding::Gue), ("nat", Forwarding::Nat)];

const MAX_IDLE_TIMEOUT: Duration = Duration::from_hours(7 * 24);
const MAX_DOWN_GRACE: Duration = Duration::from_hours(24);

/// The sub-tables of whoever has a policy.
pub(super) struct SubTables {
    probe: &'static Schema,
    guard: &'static Schema,
}

/// Those of `[[service]]`.
pub(super) const OF_SERVICE: SubTables = SubTables { probe: &schema::PROBE, guard: &schema::GUARD };

/// Those of `[defaults]`.
pub(super) const OF_DEFAULTS: SubTables =
    SubTables { probe: &schema::DEFAULT_PROBE, guard: &schema::DEFAULT_GUARD };

/// Everything here may be absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    pub(super) forwarding: Option<Located<Forwarding>>,
    pub(super) track: Option<Located<Track>>,
    pub(super) slots: Option<Located<u32>>,
    pub(super) affinity: Option<Located<Affinity>>,
    pub(super) idle_timeout: Option<Located<Duration>>,
    pub(super) down_grace: Option<Located<Duration>>,
    pub(super) on_down: Option<Located<OldFlows>>,
    pub(super) on_remove: Option<Located<OnRemove>>,
    pub(super) drain_deadline: Option<Located<Duration>>,
    pub(super) on_deadline: Option<Located<OnDeadline>>,
    pub(super) tunnel_source: Option<Located<Vec<IpNet>>>,
    pub(super) gue: Option<Located<Gue>>,
    pub(super) on_full: Option<Located<OnFull>>,
    pub(super) echo: Option<Located<bool>>,
    pub(super) fragments: Option<Located<bool>>,
    pub(super) mss: Option<Located<Mss>>,
    pub(super) flap: Option<Located<Damping>>,
    pub(super) probe: Option<ProbePolicy>,
    pub(super) guard: GuardPolicy,
    pub(super) sharing: SharingPolicy,
}

impl Policy {
    /// Reads the keys that `[defaults]` and `[[service]]` share.
    pub(super) fn read(section: &Section<'_>, of: &SubTables) -> Self {
        let idle_range = Duration::from_secs(1)..=MAX_IDLE_TIMEOUT;
        Self {
            forwarding: section.optional("forwarding", forwarding),
            track: section.optional("track", |entry| entry.choice(TRACKS)),
            slots: section.optional("slots", slots),
            affinity: section.optional("affinity", affinity),
            idle_timeout: section.optional("idle_timeout", |entry| entry.duration(&idle_range)),
            down_grace: section
                .optional("down_grace", |entry| entry.duration(&(Duration::ZERO..=MAX_DOWN_GRACE))),
            on_down: section.optional("on_down", |entry| entry.choice(ON_DOWN)),
            on_remove: section.optional("on_remove", |entry| entry.choice(ON_REMOVE)),
            drain_deadline: section.optional("drain_deadline", |entry| entry.duration(&DRAIN_DEADLINES)),
            on_deadline: section.optional("on_deadline", |entry| entry.choice(ON_DEADLINE)),
            tunnel_source: section.optional("tunnel_source", tunnel_source),
            gue: section.optional("gue", gue),
            on_full: section.optional("on_full", |entry| entry.choice(ON_FULL)),
            echo: section.optional("echo", Entry::boolean),
            fragments: section.optional("fragments", Entry::boolean),
            mss: section.optional("mss", mss),
            flap: section.optional("flap", flap),
            probe: section.section("probe", of.probe).map(|section| ProbePolicy::read(&section)),
            guard: section
                .section("guard", of.guard)
                .map(|section| GuardPolicy::read(&section))
                .unwrap_or_default(),
            sharing: SharingPolicy::read(section),
        }
    }

    /// This policy, with `defaults` where it says nothing.
    pub(super) fn or(self, defaults: &Self) -> Self {
        let defaults = defaults.clone();
        Self {
            forwarding: self.forwarding.or(defaults.forwarding),
            track: self.track.or(defaults.track),
            slots: self.slots.or(defaults.slots),
            affinity: self.affinity.or(defaults.affinity),
            idle_timeout: self.idle_timeout.or(defaults.idle_timeout),
            down_grace: self.down_grace.or(defaults.down_grace),
            on_down: self.on_down.or(defaults.on_down),
            on_remove: self.on_remove.or(defaults.on_remove),
            drain_deadline: self.drain_deadline.or(defaults.drain_deadline),
            on_deadline: self.on_deadline.or(defaults.on_deadline),
            tunnel_source: self.tunnel_source.or(defaults.tunnel_source),
            gue: self.gue.or(defaults.gue),
            on_full: self.on_full.or(defaults.on_full),
            guard: self.guard.or(defaults.guard),
            sharing: self.sharing.or(defaults.sharing),
            echo: self.echo.or(defaults.echo),
            fragments: self.fragments.or(defaults.fragments),
            mss: self.mss.or(defaults.mss),
            flap: self.flap.or(defaults.flap),
            probe: match (self.probe, defaults.probe) {
                (Some(own), Some(default)) => Some(own.or(default)),
                (own, default) => own.or(default),
            },
        }
    }
}

pub(super) fn forwarding(entry: &Entry<'_>) -> Option<Forwarding> {
    entry.choice(FORWARDINGS)
}

/// The length of a lookup table.
fn slots(entry: &Entry<'_>) -> Option<u32> {
    let slots = entry.integer(&(2..=MAX_LENGTH))?;
    if is_prime(slots) {
        return Some(slots);
    }
    let next = next_prime(slots).unwrap_or(MAX_LENGTH);
    entry.refuse(format!("{slots} is not a prime"), format!("expected a prime: the next one is {next}"))
}

fn tunnel_source(entry: &Entry<'_>) -> Option<Vec<IpNet>> {
    let mut seen = HashMap::new();
    let mut prefixes = Vec::new();
    for entry in entry.list("prefixes")? {
        let Some(prefix) = entry.source_prefix() else {
            continue;
        };
        if let Some(first) = seen.insert(prefix.addr().is_ipv4(), entry.place.clone()) {
            let message = format!("{prefix} is a second {} prefix", family(prefix.addr()));
            entry.file.report_second(&entry.place, &first, message, "expected at most one prefix per family");
        }
        prefixes.push(prefix);
    }
    Some(prefixes)
}

/// The name of an address's family.
pub(super) const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
