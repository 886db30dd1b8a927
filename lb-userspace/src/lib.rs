//! Sluice's daemon and command line, as a library so that tests reach every part.
//!
//! One task owns the truth ([`daemon`]). Whatever can change it is an event to that task; after events it computes
//! what the data plane ought to hold ([`plan`]), the difference from what it holds ([`reconcile`]), and applies that
//! ([`dataplane`]). The first two are pure.

pub mod admin;
mod alike;
pub mod budget;
pub mod capture;
pub mod causes;
pub mod changes;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod doctor;
pub mod explain;
pub mod fleet;
pub mod health;
pub mod history;
pub mod home;
pub mod host;
pub mod interface;
pub mod measured;
pub mod metrics;
pub mod moves;
pub mod names;
pub mod neighbours;
pub mod path_mtu;
pub mod plan;
pub mod preview;
pub mod reconcile;
pub mod road;
pub mod rules;
pub mod version;
pub mod wishes;
