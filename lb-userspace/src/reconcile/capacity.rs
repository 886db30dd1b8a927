//! Where the maps end: why a plan is refused as a whole.

use lb_common::slot;

/// Why a plan does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    /// No number for a service or VIP.
    #[error(
        "no room for service `{service}`: limits.services is {limit}, and each service and each VIP takes one; \
             raise it and restart"
    )]
    Services {
        /// The service that found no room.
        service: String,
        /// The limit.
        limit: u32,
    },
    /// Both buckets of a key are full.
    #[error("the index has no cell for service `{0}`: raise limits.services and restart")]
    Index(String),
    /// No stretch for a service's backends.
    #[error(
        "no room for {needed} backends of service `{service}`: limits.backends is {limit}, of which {used} are in \
             use; raise it and restart"
    )]
    Backends {
        /// The service that found no room.
        service: String,
        /// How many it asked for.
        needed: u32,
        /// The limit.
        limit: u32,
        /// Entries in use.
        used: u32,
    },
    /// No stretch for a table.
    #[error(
        "no room for {needed} slots of service `{service}`: limits.slots is {limit}, of which {used} are in use \
             (a table's old and new version exist side by side); raise it and restart"
    )]
    Slots {
        /// The service that found no room.
        service: String,
        /// How many it asked for.
        needed: u32,
        /// The limit.
        limit: u32,
        /// Slots in use.
        used: u32,
    },
    /// More backends, those that still keep flows included, than a slot can name.
    #[error("service `{0}` has more backends, with those that still keep old flows, than the {max} that a table can \
             name; wait for the old ones to settle", max = slot::MAX_BACKENDS)]
    Members(String),
}
