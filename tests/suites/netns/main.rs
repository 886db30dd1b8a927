//! Real clients, servers and kernels: the whole of `sluice`, driven through its command line; and those of
//! its parts that only a kernel can test.
//!
//! Needs root. Every test has namespaces, pins and a socket of its own, so they run in parallel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, at the line that tells what failed")]

mod backend;
mod beside;
mod drain;
mod fleet;
mod health;
mod lifecycle;
mod local;
mod neighbours;
mod redirect;
mod reload;
mod scene;
mod takeover;
mod traffic;
