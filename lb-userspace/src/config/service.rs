//! `[[service]]`, as far as it can be read: half of a service is still checked for whatever else is wrong with it.

use std::{net::IpAddr, time::Duration};

use lb_common::{backend::OldFlows, guard::OnFull, maglev::DEFAULT_LENGTH, service::Track};
use toml::de::DeValue;

use super::{
    Backend, OnDeadline, OnRemove, Passive, Probe, Protocol, Rollout, Service,
    affinity::Affinity,
    backend::{Backends, backends},
    file::Located,
    list::Lists,
    passive::passive,
    policy::{OF_SERVICE, Policy},
    quic::QuicReading,
    rollout::rollout,
    section::{Entry, Section},
    value::in_range,
};

const PROTOCOLS: &[(&str, Protocol)] =
    &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("quic", Protocol::Quic)];
const DEFAULT_DOWN_GRACE: Duration = Duration::from_secs(30);

/// One `[[service]]`, with `[defaults]` where it says nothing.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) section: Section<'a>,
    pub(super) name: Option<Located<String>>,
    pub(super) address: Option<Located<IpAddr>>,
    port: Option<u16>,
    pub(super) protocol: Option<Protocol>,
    pub(super) slots: Located<u32>,
    pub(super) policy: Policy,
    pub(super) quic: Option<QuicReading>,
    pub(super) passive: Option<Located<Passive>>,
    pub(super) rollout: Option<Located<Rollout>>,
    pub(super) backends: Backends,
}

impl<'a> Reading<'a> {
    pub(super) fn new(section: Section<'a>, defaults: &Policy) -> Self {
        let policy = Policy::read(&section, &OF_SERVICE).or(defaults);
        Self {
            name: section.required("name", "name = \"web\"", Entry::name),
            address: section.required("address", "address = \"203.0.113.10\"", Entry::address),
            port: section.required("port", "port = 80", port).map(|port| port.value),
            protocol: section
                .required("protocol", "protocol = \"tcp\"", |entry| entry.choice(PROTOCOLS))
                .map(|protocol| protocol.value),
            slots: policy
                .slots
                .clone()
                .unwrap_or_else(|| Located { value: DEFAULT_LENGTH, place: section.place_of("slots") }),
            quic: QuicReading::read(&section),
            passive: section.optional("passive", passive),
            rollout: section.optional("rollout", rollout),
            backends: backends(&section, &policy),
            policy,
            section,
        }
    }

    /// What clients connect to.
    pub(super) fn endpoint(&self) -> Option<(IpAddr, u16, Protocol)> {
        Some((self.address.as_ref()?.value, self.port?, self.protocol?))
    }

    /// How messages about other services call this one.
    pub(super) fn label(&self) -> String {
        self.name
            .as_ref()
            .map_or_else(|| format!("`{}`", self.section.place.key), |name| format!("`{}`", name.value))
    }

    /// The whole service; what is missing for it has been reported.
    pub(super) fn into_service(self, lists: &mut Lists) -> Option<Service> {
        let mut guard = self.policy.guard.resolve(self.section.file, lists);
        // [defaults] do not mean services that send none.
        guard.syn_cookies = guard.syn_cookies.filter(|_| self.may_send_cookies());
        let (address, port, protocol) = self.endpoint()?;
        let probe = self.probe(port, protocol);
        let (track, idle_timeout) = memory_of(protocol);
        // Whoever counts a backend's flows has to know all of them.
        let counts = self.backends.have_limits() || self.passive.is_some();
        let track = if counts { Track::Always } else { track };
        let mut backends: Vec<Backend> =
            self.backends.read.into_iter().map(|reading| reading.backend).collect();
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        // They have been collected in the place of what was read, which is several times as large.
        backends.shrink_to_fit();
        Some(Service {
            name: self.name?.value,
            address,
            port,
            protocol,
            slots: self.slots.value,
            track: value_or(self.policy.track, track),
            idle_timeout: value_or(self.policy.idle_timeout, idle_timeout),
            source_bits: value_or(self.policy.affinity, Affinity::FLOW).source_bits(address),
            down_grace: value_or(self.policy.down_grace, DEFAULT_DOWN_GRACE),
            on_down: value_or(self.policy.on_down, OldFlows::Move),
            on_remove: value_or(self.policy.on_remove, OnRemove::default()),
            drain_deadline: self.policy.drain_deadline.map(|deadline| deadline.value),
            on_deadline: value_or(self.policy.on_deadline, OnDeadline::default()),
            tunnel_source: value_or(self.policy.tunnel_source, Vec::new()),
            gue: value_or(self.policy.gue, super::Gue::default()),
            on_full: value_or(self.policy.on_full, OnFull::default()),
            guard,
            echo: value_or(self.policy.echo, true),
            // QUIC's packets are never fragments (RFC 9000 section 14), so [defaults] do not mean them.
            fragments: value_or(self.policy.fragments, false) && protocol != Protocol::Quic,
            // Only TCP has one, so [defaults] mean no other service.
            mss: self.policy.mss.filter(|_| protocol == Protocol::Tcp).map(|mss| mss.value),
            probe,
            passive: self.passive.map(|passive| passive.value),
            flap: self.policy.flap.and_then(|flap| flap.value.rule()),
            quic: self.quic.and_then(QuicReading::resolve),
            rollout: self.rollout.map(|rollout| rollout.value),
            sharing: self.policy.sharing.resolve(backends.len() as u32),
            backends,
        })
    }

    fn probe(&self, port: u16, protocol: Protocol) -> Option<Probe> {
        let Some(policy) = &self.policy.probe else {
            let file = self.section.file;
            let warning = file.warning(&self.section.place, "the backends are not probed");
            let warning = warning.expected("expected a [service.probe] below");
            file.warn(
                warning
                    .help("a dead backend keeps its share; `type = \"none\"` there says that this is meant"),
            );
            return None;
        };
        policy.resolve(&self.section, port, protocol)
    }
}

fn value_or<T>(located: Option<Located<T>>, default: T) -> T {
    located.map_or(default, |located| located.value)
}

/// TCP and QUIC say by themselves which packets open a flow, so only flows of moved slots need to be remembered. Plain UDP
/// does not.
const fn memory_of(protocol: Protocol) -> (Track, Duration) {
    match protocol {
        Protocol::Tcp => (Track::Moved, Duration::from_mins(5)),
        Protocol::Udp => (Track::Always, Duration::from_mins(1)),
        Protocol::Quic => (Track::Moved, Duration::from_mins(1)),
    }
}

/// A port, or 0 for every port.
fn port(entry: &Entry<'_>) -> Option<u16> {
    const EXPECTED: &str = "expected 1 to 65535, or \"any\" for every port";
    let port = match entry.value {
        DeValue::String(text) if text == "any" => return Some(0),
        DeValue::String(text) if text.parse::<u16>().is_ok_and(|port| port > 0) => {
            return entry.refuse_type(format!("expected an integer: write {text} without quotes"));
        }
        DeValue::Integer(integer) => in_range(integer, &(1..=u32::from(u16::MAX))),
        DeValue::String(_) => None,
        _ => return entry.refuse_type(EXPECTED),
    };
    match port {
        Some(port) => Some(port as u16),
        None => entry.refuse(format!("{} is not a port", entry.excerpt()), EXPECTED),
    }
}
