//! What a service asks for beyond forwarding, as the data plane is told.

use bytemuck::Zeroable as _;
use lb_common::{
    address::Address,
    policy::{OPTION_ECHO, OPTION_FRAGMENTS, OPTION_QUIC, Policy},
    quic::{Quic, ServerId},
};

use crate::config::{Protocol, Service};

/// The service's `OPTION_*`.
pub(super) fn options(service: &Service) -> u8 {
    let asked = [
        (service.echo, OPTION_ECHO),
        (service.fragments, OPTION_FRAGMENTS),
        (service.protocol == Protocol::Quic, OPTION_QUIC),
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
    Policy { quic: quic.unwrap_or_default(), ..Policy::zeroed() }
}

/// The backends that connection ids name.
pub(super) fn server_ids(service: &Service) -> Vec<(Address, ServerId)> {
    let backends = service.backends.iter();
    backends.filter_map(|backend| Some((backend.address.into(), backend.server_id?))).collect()
}
