//! The admin API: HTTP on a Unix socket, and over TCP where `[balancer.api]` says so.
//!
//! | module | what |
//! | --- | --- |
//! | `listen` | the socket |
//! | `server`, `connection` | who listens where, and what becomes of a connection |
//! | `access` | the files of `[balancer.api]`: hashes of tokens, certificates |
//! | `gate` | what every request passes: `caller` says who sends it, `browser` whether a web page has a hand in it, and `audit` writes changes down |
//! | `routes` | what can be asked for, by subject and by role |
//! | `read`, `ask` | what a handler reads of a request, and how it asks the daemon's one task |
//! | `refused` | the shape of every refusal |
//! | `status`, `order`, `plan`, `rollout`, `explain`, `capture`, `verify` | what travels, as types that the command line reads too |
//! | `client`, `endpoint` | the other end, and where it finds a daemon |
//!
//! On the socket everybody whom its file mode lets in is an operator. Over TCP a request says who sends it by a token
//! (`Authorization: Bearer TOKEN`) or its connection by a certificate; where the file asks for neither, which it may on a
//! loopback address only, everybody may read. A page that a browser shows is open to all and knows nothing: it asks for
//! a token when a request of its own is answered with 401, and keeps that for as long as the tab lives
//! (`sessionStorage`).

mod access;
mod ask;
mod audit;
mod browser;
mod caller;
pub mod capture;
pub mod change;
pub mod client;
mod connection;
mod endpoint;
pub mod explain;
mod gate;
mod listen;
pub mod order;
pub mod plan;
mod read;
mod refused;
pub mod rollout;
mod routes;
mod server;
pub mod status;
pub mod verify;

pub use access::AccessError;
pub use audit::AuditError;
pub use caller::{Caller, Role};
pub use endpoint::Endpoint;
pub use listen::{ListenError, listen};
pub use refused::{Failure, Refused};
pub use server::{Prepared, ServeError, Server};

/// The status with the histories of all backends, which take several times the room of everything else.
pub const WITH_HISTORIES: &str = "/v1/status?histories=true";
