//! The test harness: real clients, servers and balancers in network namespaces.
//!
//! It drives the `sluice` binary from outside and does not link it, so what it shows is what an operator would see.
//! Everything it makes is removed by drop guards, also after a panic; what a killed run left behind is removed by the
//! next one. It needs root, and leaves the host's interfaces and settings alone.

#![forbid(unsafe_code)]

pub mod answers;
pub mod balancer;
pub mod bpf;
pub mod churn;
pub mod client;
pub mod config;
pub mod errors;
pub mod held;
pub mod interrupt;
pub mod netns;
pub mod packet;
pub mod process;
pub mod random;
pub mod relay;
pub mod server;
pub mod skip;
pub mod status;
pub mod temporary;
pub mod topology;
pub mod translated;
