//! Metrics, for whoever scrapes them: the status and what the daemon counts of its own work, in one of two text formats.
//!
//! `definitions` is the list of all metrics; nothing is exposed that is not in it.

pub mod definitions;
mod document;
mod exposition;
mod leases;
mod meters;
mod process;
mod samples;

pub use document::document;
pub use exposition::{Exposition, Format};
pub use leases::Leases;
pub use meters::{Ending, Meters};
pub use process::Process;
pub use samples::{Snapshot, expose};
