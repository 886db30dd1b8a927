//! Words that several CPUs change at once.
//!
//! The compiler offers no read-modify-write operations for this target (`atomic-cas` in its specification), though the
//! instruction set has them (RFC 9669 section 5.3; `cmpxchg` since Linux 5.12), so these are written as instructions. For any
//! other target, for which lints are run, they are the compiler's.

/// A word of a map's value.
#[derive(Clone, Copy)]
pub struct Word(*mut u64);

impl Word {
    /// The word at an address.
    ///
    /// # Safety
    ///
    /// It is valid for as long as the program runs, aligned, and changed by nobody in another way than this one, or by
    /// whole words.
    #[inline(always)]
    pub const unsafe fn new(at: *mut u64) -> Self {
        Self(at)
    }

    /// What it is now.
    #[inline(always)]
    pub fn load(self) -> u64 {
        // SAFETY: as `new` asks. Volatile, since others change it.
        unsafe { core::ptr::read_volatile(self.0) }
    }

    /// Adds to it, wrapping around.
    #[inline(always)]
    pub fn add(self, addend: u64) {
        // SAFETY: as `new` asks.
        unsafe { add(self.0, addend) }
    }

    /// Replaces it by `next` if it is `held`; what it was otherwise.
    #[inline(always)]
    pub fn replace(self, held: u64, next: u64) -> Result<(), u64> {
        // SAFETY: as `new` asks.
        let was = unsafe { exchange(self.0, held, next) };
        if was == held { Ok(()) } else { Err(was) }
    }
}

#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn add(at: *mut u64, addend: u64) {
    // SAFETY: the caller's, which the verifier checks again.
    unsafe {
        core::arch::asm!("lock *(u64 *)({at} + 0) += {addend}", at = in(reg) at, addend = in(reg) addend)
    }
}

#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn exchange(at: *mut u64, held: u64, next: u64) -> u64 {
    let was;
    // SAFETY: as above. What is compared and what is found are in `r0` by definition.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({at} + 0, r0, {next})",
            at = in(reg) at,
            next = in(reg) next,
            inout("r0") held => was,
        );
    }
    was
}

#[cfg(not(target_arch = "bpf"))]
unsafe fn add(at: *mut u64, addend: u64) {
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
    // SAFETY: the caller's.
    unsafe { AtomicU64::from_ptr(at) }.fetch_add(addend, Relaxed);
}

#[cfg(not(target_arch = "bpf"))]
unsafe fn exchange(at: *mut u64, held: u64, next: u64) -> u64 {
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
    // SAFETY: the caller's.
    unsafe { AtomicU64::from_ptr(at) }
        .compare_exchange(held, next, Relaxed, Relaxed)
        .unwrap_or_else(|was| was)
}
