//! What the parts of one service mean together: table and backends, tunnel sources and backends.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::{
    backend::OldFlows,
    maglev::{MAX_LENGTH, SLOTS_PER_MEMBER, next_prime},
    slot::MAX_BACKENDS,
};

use super::{
    AdminState, Backend, Forwarding, OnDeadline, Protocol,
    file::Place,
    policy::{Policy, family},
    service::Reading,
};

impl Reading<'_> {
    /// Reports what cannot work, and warns of what probably is not meant.
    pub(super) fn check(&self) {
        self.check_number_of_backends();
        self.check_slots();
        self.check_takers();
        self.check_shares();
        self.check_resets();
        self.check_guard();
        self.check_passive();
        self.check_sharing();
        self.check_quic();
        self.check_mss();
        self.check_versions();
        self.check_translated_fragments();
        for prefix in self.policy.tunnel_source.iter().flat_map(|source| &source.value) {
            self.check_tunnel_source(*prefix);
        }
    }

    fn check_number_of_backends(&self) {
        let file = self.section.file;
        let place = self.section.place_of("backend");
        match self.backends.written {
            0 => {
                let warning = file.warning(&place, format!("service {} has no backends", self.label()));
                file.warn(warning.expected("expected at least one [[service.backend]] below"));
            }
            count if count > MAX_BACKENDS => {
                let message = format!("{count} backends are too many for one service");
                file.report(file.error(&place, message).expected(format!("expected at most {MAX_BACKENDS}")));
            }
            _ => {}
        }
    }

    fn check_slots(&self) {
        let (slots, backends) = (self.slots.value, self.backends.written);
        let file = self.section.file;
        let better = format!("expected a prime, at least {}", enough_slots(backends));
        if (slots as usize) < backends {
            let message = format!("{slots} slots are fewer than the {backends} backends of {}", self.label());
            file.report(file.error(&self.slots.place, message).expected(better));
        } else if (slots as usize) < backends * SLOTS_PER_MEMBER as usize {
            let message = format!("{slots} slots are few for the {backends} backends of {}", self.label());
            file.warn(file.warning(&self.slots.place, message).expected(better).help(format!(
                "below {SLOTS_PER_MEMBER} slots per backend, equal backends differ in load by more than 1 %",
            )));
        }
    }

    fn check_takers(&self) {
        let backends = &self.backends.read;
        if backends.is_empty() || backends.iter().any(|reading| takes_flows(&reading.backend)) {
            return;
        }
        let message = format!("no backend of {} takes new flows", self.label());
        let file = self.section.file;
        let warning = file.warning(&self.section.place_of("backend"), message);
        file.warn(warning.help("all have weight 0, drain or are in maintenance"));
    }

    /// Whether everybody can have the share that its weight says.
    fn check_shares(&self) {
        let file = self.section.file;
        let backends = &self.backends.read;
        let total: u64 = backends.iter().map(|reading| u64::from(reading.backend.weight)).sum();
        let is_crumb = |weight: u32| weight > 0 && u64::from(weight) * u64::from(self.slots.value) < total;
        if let Some(reading) = backends.iter().find(|reading| is_crumb(reading.backend.weight)) {
            let (weight, slots) = (reading.backend.weight, self.slots.value);
            let message = format!("weight {weight} of {total} is less than one slot of {slots}");
            file.warn(file.warning(&reading.weight, message).help(
                "every backend with weight has a slot: raise `slots`, or bring the weights closer together",
            ));
        }
    }

    /// Nobody can tell which of two comes first where one has no version.
    fn check_versions(&self) {
        let Some(rollout) = &self.rollout else { return };
        let file = self.section.file;
        for reading in self.backends.read.iter().filter(|reading| !reading.mentions_version) {
            let error = file.error(&reading.version, "missing key `version` in [[service.backend]]");
            let error = error.expected("add `version = \"1.0.0\"`");
            file.report(error.related(file.spot(&rollout.place), "every backend of such a service has one"));
        }
    }

    /// There is nothing in UDP that ends a flow, and what does in QUIC only its ends can make.
    fn check_resets(&self) {
        if matches!(self.protocol, None | Some(Protocol::Tcp)) {
            return;
        }
        let Policy { on_down, on_deadline, .. } = &self.policy;
        if let Some(reset) = on_down.as_ref().filter(|chosen| chosen.value == OldFlows::Reset) {
            self.refuse_reset("on_down", &reset.place);
        }
        if let Some(reset) = on_deadline.as_ref().filter(|chosen| chosen.value == OnDeadline::Reset) {
            self.refuse_reset("on_deadline", &reset.place);
        }
    }

    fn refuse_reset(&self, key: &str, place: &Place) {
        let protocol = self.protocol.map_or("udp", Protocol::name);
        let message = format!("{} is {protocol}, whose flows cannot be reset", self.label());
        let error = self.section.file.error(place, message).expected("expected \"move\"");
        let help = format!("only TCP has a reset: say `{key} = \"move\"` in this service");
        self.section.file.report(error.help(help));
    }

    fn check_tunnel_source(&self, prefix: IpNet) {
        let Some(source) = &self.policy.tunnel_source else {
            return;
        };
        let mut tunnelled =
            self.backends.read.iter().filter(|reading| is_tunnelled(&reading.backend, prefix)).peekable();
        if tunnelled.peek().is_none() && self.section.has("tunnel_source") && self.backends.written > 0 {
            self.warn_of_unused(prefix, &source.place);
        } else if let Some(vip) = &self.address
            && tunnelled.peek().is_some()
        {
            self.refuse_within(prefix, vip.value, &vip.place);
        }
        for reading in tunnelled {
            self.refuse_within(prefix, reading.backend.address, &reading.address);
        }
    }

    fn warn_of_unused(&self, prefix: IpNet, place: &Place) {
        let file = self.section.file;
        let family = family(prefix.addr());
        let message = format!("{prefix} is not used: no backend is reached by a tunnel over {family}");
        file.warn(file.warning(place, message));
    }

    /// A backend takes a packet from an address of its own, the VIP included, for a forgery.
    fn refuse_within(&self, prefix: IpNet, address: IpAddr, place: &Place) {
        if !prefix.contains(&address) {
            return;
        }
        let file = self.section.file;
        let error = file.error(place, format!("{address} lies within the service's tunnel_source {prefix}"));
        let source = self.policy.tunnel_source.as_ref().and_then(|source| file.spot(&source.place));
        file.report(error.expected("expected an address outside of it").related(source, "outer source addresses").help(
            "some flows' outer headers would have this address as their source, and the backend would drop them",
        ));
    }
}

/// The shortest table that keeps equal backends within one per cent of each other.
fn enough_slots(backends: usize) -> u32 {
    let backends = backends.clamp(1, MAX_BACKENDS) as u32;
    next_prime(backends * SLOTS_PER_MEMBER).unwrap_or(MAX_LENGTH)
}

fn takes_flows(backend: &Backend) -> bool {
    backend.weight > 0 && backend.admin == AdminState::Ready
}

fn is_tunnelled(backend: &Backend, prefix: IpNet) -> bool {
    matches!(backend.forwarding, Forwarding::Ipip | Forwarding::Gue)
        && backend.address.is_ipv4() == prefix.addr().is_ipv4()
}
