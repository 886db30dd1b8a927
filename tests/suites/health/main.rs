//! Probes: real servers fail in every way that each type of probe can see, and come back. Verdict and reason are
//! what `sluice status` tells. And what is made of it: roll-outs, damping, histories.
//!
//! Needs root. Every test has a network of its own, so they run in parallel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, at the line that tells what failed")]

mod agent;
mod certificate;
mod clinic;
mod datagrams;
mod haproxy;
mod listener;
mod passive;
mod programs;
mod road;
mod rollout;
mod shares;
mod stage;
mod web;
mod witness;

/// What each service's probe says beside its type.
const PACE: &str = "interval = \"400ms\"\nfast_interval = \"100ms\"\ntimeout = \"300ms\"\nrise = 2\nfall = 2";
