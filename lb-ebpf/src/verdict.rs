//! Verdicts: the only place that makes an XDP action, and the only one that counts a reason.

use aya_ebpf::bindings::xdp_action;
use lb_common::counter::Reason;

use crate::maps::{REASONS, count};

/// What is to become of a packet, and why.
#[derive(Clone, Copy)]
#[must_use]
pub struct Verdict {
    action: u32,
    reason: Reason,
}

impl Verdict {
    /// To the kernel's stack.
    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self { action: xdp_action::XDP_PASS, reason }
    }

    /// Nowhere.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self { action: xdp_action::XDP_DROP, reason }
    }

    /// Back out through the interface that it came by.
    #[inline(always)]
    pub const fn transmit() -> Self {
        Self { action: xdp_action::XDP_TX, reason: Reason::Transmitted }
    }

    /// Back out through the interface that it came by, as a TCP reset, which [`crate::reset`] makes of the packet.
    #[inline(always)]
    pub const fn reset() -> Self {
        Self { action: xdp_action::XDP_TX, reason: Reason::Reset }
    }

    /// Whether the packet is to be made a reset.
    #[inline(always)]
    pub const fn is_reset(self) -> bool {
        matches!(self.reason, Reason::Reset)
    }

    /// Nowhere, unless its first fragment is known: [`crate::fragment`] finds out.
    #[inline(always)]
    pub const fn fragment() -> Self {
        Self::drop(Reason::FragmentUnknown)
    }

    /// Whether the packet is such a fragment.
    #[inline(always)]
    pub const fn is_fragment(self) -> bool {
        matches!(self.reason, Reason::FragmentUnknown)
    }

    /// Out through another interface, which `bpf_redirect` has noted.
    #[inline(always)]
    pub const fn redirected(action: u32) -> Self {
        Self { action, reason: Reason::Redirected }
    }
}

/// Counts a packet of `bytes` under the reason, and gives the kernel its action.
#[inline(always)]
pub fn finish(bytes: u64, verdict: Result<Verdict, Verdict>) -> u32 {
    let (Ok(verdict) | Err(verdict)) = verdict;
    count(&REASONS, verdict.reason as u32, bytes);
    verdict.action
}
