//! Real clients, servers and kernels: the whole of `sluice`, driven through its command line; and those of
//! its parts that only a kernel can test.
//!
//! Needs root. Every test has namespaces, pins and a socket of its own, so they run in parallel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, at the line that tells what failed")]

#[path = "netns/backend.rs"]
mod backend;
#[path = "netns/health.rs"]
mod health;
#[path = "netns/lifecycle.rs"]
mod lifecycle;
#[path = "netns/neighbours.rs"]
mod neighbours;
#[path = "netns/redirect.rs"]
mod redirect;
#[path = "netns/reload.rs"]
mod reload;
#[path = "netns/scene.rs"]
mod scene;
#[path = "netns/traffic.rs"]
mod traffic;
