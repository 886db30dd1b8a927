//! What Sluice's XDP programs and its daemon share.
//!
//! `no_std`, so that the same source is compiled for the BPF virtual machine and for the host, where it is tested.
//! The layouts that live in BPF maps are plain old data: `repr(C)`, explicit zeroed padding, byte order said per
//! field, size asserted in [`pod`]. With the feature `alloc` come the lookup tables ([`maglev`]), which only the
//! daemon builds.

#![no_std]
#![forbid(unsafe_code)]
#![expect(clippy::pub_underscore_fields, reason = "whoever builds a map's value has to zero its padding")]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod address;
pub mod backend;
pub mod budget;
pub mod capture;
pub mod checksum;
pub mod connection;
pub mod control;
pub mod cookie;
pub mod counter;
pub mod ecn;
pub mod flow;
pub mod fragment;
pub mod guard;
pub mod hash;
pub mod knobs;
#[cfg(feature = "alloc")]
pub mod maglev;
pub mod nat;
pub mod passive;
pub mod pod;
pub mod policy;
pub mod quic;
pub mod service;
pub mod slot;
pub mod strict;
pub mod way;
