//! What a service asks for beyond forwarding, as the data plane is told.

use bytemuck::Zeroable as _;
use lb_common::policy::Policy;

use crate::config::Service;

/// The service's `OPTION_*`.
pub(super) const fn options(_service: &Service) -> u8 {
    0
}

/// How it has them.
pub(super) fn policy(_service: &Service) -> Policy {
    Policy::zeroed()
}
