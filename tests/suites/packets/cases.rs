//! The table, a file for each subject.

mod answers;
mod cookies;
mod decap;
pub mod errors;
mod extensions;
mod fragments;
mod full;
mod icmp;
mod lengths;
mod lists;
mod local;
mod malformed;
mod memory;
mod modes;
mod nat;
mod pass;
mod quic;
mod rates;
mod resets;
mod services;
mod size;
pub mod truncated;
mod vlan;

use crate::case::Case;

/// Every case.
pub fn all() -> Vec<Case> {
    let subjects = [
        ("pass", pass::cases()),
        ("services", services::cases()),
        ("modes", modes::cases()),
        ("nat", nat::cases()),
        ("cookies", cookies::cases()),
        ("size", size::cases()),
        ("vlan", vlan::cases()),
        ("extensions", extensions::cases()),
        ("icmp", icmp::cases()),
        ("errors", errors::cases()),
        ("fragments", fragments::cases()),
        ("lengths", lengths::cases()),
        ("resets", resets::cases()),
        ("quic", quic::cases()),
        ("answers", answers::cases()),
        ("malformed", malformed::cases()),
        ("lists", lists::cases()),
        ("rates", rates::cases()),
        ("full", full::cases()),
        ("memory", memory::cases()),
        ("local", local::cases()),
        ("decap", decap::cases()),
    ];
    subjects
        .into_iter()
        .flat_map(|(subject, cases)| cases.into_iter().map(|case| case.about(subject)))
        .collect()
}
