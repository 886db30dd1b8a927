//! What an operator sees of `sluice`: what it prints, what it refuses, and what it leaves behind.
//!
//! Needs root. No packet is sent here. Every test has a namespace, pins and a socket of its own, so they run in
//! parallel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, at the line that tells what failed")]

mod attach;
mod check;
mod drain;
mod history;
mod maps;
mod next;
mod programs;
mod refuse;
mod reload;
mod restart;
mod road;
#[path = "../site.rs"]
mod site;
mod status;
