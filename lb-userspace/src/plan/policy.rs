//! What a service asks for beyond forwarding, as the data plane is told.

use bytemuck::Zeroable as _;
use lb_common::policy::{OPTION_ECHO, Policy};

use crate::config::Service;

/// The service's `OPTION_*`.
pub(super) fn options(service: &Service) -> u8 {
    let asked = [(service.echo, OPTION_ECHO)];
    asked.into_iter().filter(|(asked, _)| *asked).fold(0, |options, (_, option)| options | option)
}

/// How it has them.
pub(super) fn policy(_service: &Service) -> Policy {
    Policy::zeroed()
}
