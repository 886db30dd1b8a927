//! SYN cookies: when they are sent, and what is remembered of a connection that one has opened.
//!
//! A cookie is the sequence number of a SYN-ACK that the balancer gives itself. It says all that has to be known of the
//! SYN, so nothing is remembered until a client brings it back. From then on there are two handshakes, one with the
//! client and one with the backend, and the backend's sequence numbers are shifted to those that the client knows.

use bytemuck::{Pod, Zeroable};

use crate::guard::Rate;

/// The rate of a service that answers every SYN with a cookie.
pub const ALWAYS: Rate = Rate { interval_ns: u64::MAX, burst_ns: 0 };

/// How long cookies go on to be sent after the rate was exceeded last: a flood leaves room for some SYNs of its own below
/// any rate, which a backend would get.
pub const HOLD_NS: u64 = 10_000_000_000;

/// How long a cookie may be brought back: the kernel counts in minutes and takes those of the last one
/// (`MAX_SYNCOOKIE_AGE` in include/net/tcp.h).
pub const LIFETIME_NS: u64 = 120_000_000_000;

/// How late [`State::until_ns`] may be brought forward, so that a flood does not write it with every packet.
pub const GRAIN_NS: u64 = 100_000_000;

/// How long a backend has to answer a SYN before a packet of the client makes another one.
pub const AGAIN_NS: u64 = 100_000_000;

/// What a service's cookies follow from, shared by all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct State {
    /// When the next SYN is due at the rate, `CLOCK_MONOTONIC` nanoseconds.
    pub due_ns: u64,
    /// Until when SYNs are answered with cookies; 0: none was yet.
    pub until_ns: u64,
}

impl State {
    /// Whether somebody may still have a cookie.
    #[must_use]
    #[inline]
    pub const fn is_awaited(&self, now_ns: u64) -> bool {
        self.until_ns != 0 && now_ns < self.until_ns.wrapping_add(LIFETIME_NS)
    }
}

/// A connection that a cookie has opened, by the 5-tuple of its client's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Splice {
    /// What the backend's answer has told: [`Self::ANSWERED`] and the shift, in one word, so that it is read whole.
    pub told: u64,
    /// When the last SYN went to the backend, `CLOCK_MONOTONIC` nanoseconds.
    pub sent_ns: u64,
    /// The client's initial sequence number, host byte order.
    pub client: u32,
    /// The cookie, which the client takes for the backend's, host byte order.
    pub cookie: u32,
    /// The MSS that the client has announced, as far as the cookie tells.
    pub mss: u16,
    /// The window that it has opened, host byte order.
    pub window: u16,
    /// Zero.
    pub _pad: u32,
}

impl Splice {
    /// The backend has answered; the lower half is what its sequence numbers have to be raised by.
    pub const ANSWERED: u64 = 1 << 32;

    /// What [`Self::told`] is once the backend has said that its initial sequence number is `backend`.
    #[must_use]
    #[inline]
    pub const fn told_by(&self, backend: u32) -> u64 {
        Self::ANSWERED | self.cookie.wrapping_sub(backend) as u64
    }

    /// Whether a client's packet with these numbers may have opened it.
    #[must_use]
    #[inline]
    pub const fn is_opened_by(&self, sequence: u32, acknowledgement: u32) -> bool {
        self.client == sequence.wrapping_sub(1) && self.cookie == acknowledgement.wrapping_sub(1)
    }
}

/// The MSS that a cookie stands for: how many of the next three numbers are cookies too says which it is, since a cookie
/// counts up to the last one of the kernel's list (`msstab` in net/ipv4/syncookies.c and net/ipv6/syncookies.c).
#[must_use]
#[inline]
pub const fn mss(is_v4: bool, following: u32) -> u16 {
    let [largest, third, second, least] =
        if is_v4 { [1460, 1440, 1300, 536] } else { [8940, 1440, 1420, 1220] };
    match following {
        0 => largest,
        1 => third,
        2 => second,
        _ => least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_awaited_for_as_long_as_the_kernel_takes_them() {
        let state = State { until_ns: 1, ..State::default() };
        assert!(state.is_awaited(0) && state.is_awaited(LIFETIME_NS));
        assert!(!state.is_awaited(LIFETIME_NS + 1));
        assert!(!State::default().is_awaited(0));
    }

    #[test]
    fn shift_leads_from_the_backends_number_to_the_cookie_around_the_end() {
        let splice = Splice { cookie: 5, ..Splice::default() };
        for backend in [0, 4, 5, 6, u32::MAX] {
            let told = splice.told_by(backend);
            assert_eq!(told >> 32, 1);
            assert_eq!(backend.wrapping_add(told as u32), 5, "{backend}");
        }
    }

    #[test]
    fn connection_is_known_by_the_numbers_that_opened_it() {
        let splice = Splice { client: u32::MAX, cookie: 7, ..Splice::default() };
        assert!(splice.is_opened_by(0, 8));
        assert!(!splice.is_opened_by(1, 8) && !splice.is_opened_by(0, 7));
    }

    #[test]
    fn largest_mss_is_what_no_other_cookie_follows() {
        assert_eq!([0, 1, 2, 3].map(|following| mss(true, following)), [1460, 1440, 1300, 536]);
        assert_eq!([0, 1, 2, 3].map(|following| mss(false, following)), [8940, 1440, 1420, 1220]);
    }
}
