//! Verdicts: the only place that makes an XDP action, and the only one that counts a reason.
//!
//! A verdict may leave work to be done: the packet is to be made an answer, or to be looked at again. That is told by an
//! action that the kernel does not have, so that the ways of most packets carry nothing for it.

use aya_ebpf::bindings::xdp_action;
use lb_common::counter::Reason;

use crate::maps::{REASONS, count};

/// No action yet: [`crate::answer`] has to make the packet an answer. The upper half is a detail.
const ANSWER: u32 = 1 << 8;

/// No action yet: [`crate::icmp`] has to look at what has no ports.
const ICMP: u32 = 1 << 9;

/// No action yet: [`crate::nat`] has to translate what came back from a backend.
const TRANSLATE: u32 = 1 << 10;

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
        Self::back(Reason::Transmitted)
    }

    /// Back out through the interface that it came by, as the answer of that name.
    #[inline(always)]
    pub const fn back(reason: Reason) -> Self {
        Self { action: xdp_action::XDP_TX, reason }
    }

    /// To be answered: `reason` says with what, and `detail` what more there is to say, such as an MTU.
    #[inline(always)]
    pub const fn answer(reason: Reason, detail: u16) -> Self {
        Self { action: ANSWER | (detail as u32) << 16, reason }
    }

    /// For a VIP, and without ports: to be looked at. `options` are those of the VIP's own entry.
    #[inline(always)]
    pub const fn icmp(options: u8) -> Self {
        Self { action: ICMP | (options as u32) << 16, reason: Reason::OtherProtocol }
    }

    /// For no VIP, and without ports: to be looked at, and to pass.
    #[inline(always)]
    pub const fn icmp_for_others() -> Self {
        Self { action: ICMP, reason: Reason::NotOurs }
    }

    /// To be translated: to the backend that was selected, or, of what came to an address of the pool, back.
    #[inline(always)]
    pub const fn translate() -> Self {
        Self { action: TRANSLATE, reason: Reason::NoSession }
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

    /// The same of a packet that goes back to its client.
    #[inline(always)]
    pub const fn returned(self) -> Self {
        match self.reason {
            Reason::Transmitted | Reason::Redirected => Self { reason: Reason::Returned, ..self },
            _ => self,
        }
    }

    /// Whether the packet leaves, and nothing is left to be done with it.
    #[inline(always)]
    pub const fn leaves(self) -> bool {
        self.action == xdp_action::XDP_TX || self.action == xdp_action::XDP_REDIRECT
    }

    /// Whether something is left to be done with the packet.
    #[inline(always)]
    pub const fn is_unfinished(self) -> bool {
        self.action & (ANSWER | ICMP | TRANSLATE) != 0
    }

    /// Whether the packet is to be translated.
    #[inline(always)]
    pub const fn is_translate(self) -> bool {
        self.action & TRANSLATE != 0
    }

    /// Whether the packet goes to a backend.
    #[inline(always)]
    pub const fn is_forward(self) -> bool {
        matches!(self.reason, Reason::Transmitted | Reason::Redirected)
    }

    /// Whether the packet is to be made an answer.
    #[inline(always)]
    pub const fn is_answer(self) -> bool {
        self.action & ANSWER != 0
    }

    /// Whether the packet is to be looked at.
    #[inline(always)]
    pub const fn is_icmp(self) -> bool {
        self.action & ICMP != 0
    }

    /// The verdict in one word: a global function gives back no more.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        (self.reason as u64) << 32 | self.action as u64
    }

    /// The inverse of [`Self::to_word`].
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        let reason = Reason::from_number((word >> 32) as u32);
        Self { action: word as u32, reason: reason.unwrap_or(Reason::Internal) }
    }

    /// Why.
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        self.reason
    }

    /// What more there is to say: of an answer, or the options of the VIP.
    #[inline(always)]
    pub const fn detail(self) -> u16 {
        (self.action >> 16) as u16
    }
}

/// Counts a packet of `bytes` under the reason, and gives the kernel its action.
#[inline(always)]
pub fn finish(bytes: u64, verdict: Result<Verdict, Verdict>) -> u32 {
    let (Ok(verdict) | Err(verdict)) = verdict;
    count(&REASONS, verdict.reason as u32, bytes);
    #[cfg(feature = "debug-log")]
    crate::debug_log::log_verdict(verdict.reason as u32, verdict.action, bytes);
    verdict.action
}
