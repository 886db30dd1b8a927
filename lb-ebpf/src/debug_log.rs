//! Decisions, told to the daemon by aya-log, in an object that is built for that (`cargo xtask build-ebpf --debug-log`) and
//! in no other.

use core::{ffi::c_void, ptr};

use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;

/// Lines are written to a ring, for which no context is needed, though the macro asks for one.
struct NoContext;

impl EbpfContext for NoContext {
    fn as_ptr(&self) -> *mut c_void {
        ptr::null_mut()
    }
}

/// Tells of a verdict. A global function, so that the ways of packets carry nothing for it: see [`crate::guard`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn log_verdict(reason: u32, action: u32, bytes: u64) -> u32 {
    debug!(NoContext, "reason={} action={} bytes={}", reason, action, bytes);
    0
}
