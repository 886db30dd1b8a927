//! What a service asks for beyond forwarding, as the data plane is told.

use bytemuck::Zeroable as _;
use lb_common::{
    address::Address,
    guard::Guard,
    policy::{
        OPTION_ECHO, OPTION_FRAGMENTS, OPTION_GUARD, OPTION_LIMITS, OPTION_MSS, OPTION_NAT, OPTION_QUIC,
        OPTION_STRICT, Policy,
    },
    quic::{Quic, ServerId},
};

use crate::config::{self, Forwarding, Mss, Protocol, Service, SourceRate};

/// The service's `OPTION_*`.
pub(super) fn options(service: &Service) -> u8 {
    let guard = &service.guard;
    let has_limits = service.backends.iter().any(|backend| backend.limits.is_some());
    let asked = [
        (service.echo, OPTION_ECHO),
        (service.protocol == Protocol::Quic, OPTION_QUIC),
        (guard.drops_malformed, OPTION_STRICT),
        (guard.rules.is_some() || guard.has_rates() || guard.syn_cookies.is_some(), OPTION_GUARD),
        (has_limits, OPTION_LIMITS),
        (service.fragments, OPTION_FRAGMENTS),
        (service.mss.is_some(), OPTION_MSS),
        (service.backends.iter().any(|backend| backend.forwarding == Forwarding::Nat), OPTION_NAT),
    ];
    asked.into_iter().filter(|(asked, _)| *asked).fold(0, |options, (_, option)| options | option)
}

/// How it has them.
pub(super) fn policy(service: &Service) -> Policy {
    let quic = service.quic.map(|quic| Quic {
        config_id: quic.config_id,
        server_id_length: quic.server_id_length,
        ..Quic::zeroed()
    });
    let mss = match service.mss {
        None | Some(Mss::Auto) => 0,
        Some(Mss::Bytes(bytes)) => bytes,
    };
    Policy { mss, quic: quic.unwrap_or_default(), guard: guard(service), ..Policy::zeroed() }
}

fn guard(service: &Service) -> Guard {
    let config::Guard { max_new_per_source, max_new, .. } = &service.guard;
    let source = max_new_per_source.unwrap_or_default();
    let SourceRate { ipv4, ipv6, .. } = source;
    Guard {
        source: source.rate,
        service: max_new.unwrap_or_default(),
        source_bits: if service.address.is_ipv4() { 96 + ipv4 } else { ipv6 },
        on_full: service.on_full as u8,
        ..Guard::zeroed()
    }
}

/// The backends that connection ids name.
pub(super) fn server_ids(service: &Service) -> Vec<(Address, ServerId)> {
    let backends = service.backends.iter();
    backends.filter_map(|backend| Some((backend.address.into(), backend.server_id?))).collect()
}
