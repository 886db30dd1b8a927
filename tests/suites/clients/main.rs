//! Real clients and servers through every way of forwarding and both families, over routers and in network namespaces.
//!
//! Needs root. Every test has namespaces, pins and a socket of its own, so they run in parallel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, at the line that tells what failed")]

mod background;
mod bulk;
mod certificate;
mod content;
mod cookies;
mod cookies_over_time;
mod curl;
mod jumbo;
mod kernel;
mod mode;
mod path;
mod places;
mod quic;
mod scene;
mod trace;
mod web;
mod websocket;
