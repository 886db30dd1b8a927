//! What an operator sees and touches, with real clients and real packets.
//!
//! Needs root. Every test has namespaces, pins and a socket of its own, so they run in parallel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, at the line that tells what failed")]

mod access;
mod authority;
mod browser;
mod capture;
mod change;
mod contract;
mod curl;
mod dashboard;
mod doctor;
mod explain;
mod manager;
mod metrics;
mod pictures;
mod plan;
mod reach;
mod remote;
mod scrape;
#[path = "../site.rs"]
#[expect(dead_code, reason = "shared with another suite, which uses all of it")]
mod site;
mod stage;
mod tables;
mod terminal;
mod top;
mod verify;
mod wire;
