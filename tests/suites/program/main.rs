//! The XDP programs, run by the kernel on one packet at a time (`BPF_PROG_TEST_RUN`): bytes in, verdict, reason and
//! bytes out. No interface carries any of it.

mod answer;
mod capture;
mod decap;
mod forward;
mod fragment;
mod frames;
mod guard_limits;
mod guard_lists;
mod guard_rates;
mod guard_strict;
mod harness;
mod icmp;
mod local;
mod mss;
mod nat;
mod next;
mod opened;
mod pass;
mod passive;
mod path;
mod pooled;
mod quic;
mod remember;
mod reset;
mod road;
mod select;
mod verifier;
