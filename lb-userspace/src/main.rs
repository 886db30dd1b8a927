//! The `sluice` binary: see [`sluice::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A configuration is many small pieces, which the C library's allocator takes a third of a reload's time for.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    sluice::cli::main()
}
