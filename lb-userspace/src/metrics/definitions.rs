//! Every metric that there is: the one list that both the exposition and `docs/metrics.md` are made of.
//!
//! Names are stable: a metric keeps its name and its labels, and what it means. Another meaning is another name.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and begins at zero where what counts begins anew.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How often what took how long.
    Histogram,
    /// Always 1: what there is to say is in its labels.
    Info,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name, without what its kind adds.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// Metrics of one subject.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// In the order of the exposition.
    pub metrics: &'static [Definition],
}

impl Definition {
    /// The name that it has in a query.
    #[must_use]
    pub fn queried(&self) -> String {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{suffix}", self.name)
    }
}

macro_rules! definitions {
    ($($title:literal { $($id:ident = $kind:ident $name:literal $labels:tt $help:literal)* })*) => {
        $($(
            #[doc = $help]
            pub const $id: Definition =
                Definition { name: $name, kind: Kind::$kind, labels: &$labels, help: $help };
        )*)*

        /// All of them, by subject.
        pub const ALL: &[Group] = &[$(Group { title: $title, metrics: &[$($id),*] }),*];
    };
}

definitions! {
    "Backends" {
        BACKEND_PACKETS = Counter "sluice_backend_packets" ["service", "backend"]
            "Packets that were forwarded to the backend"
        BACKEND_BYTES = Counter "sluice_backend_bytes" ["service", "backend"]
            "Bytes of those packets, as they arrived"
        BACKEND_OPENED = Counter "sluice_backend_opened_flows" ["service", "backend"]
            "New flows that clients opened with the backend; not there for udp that is not tracked, whose packets do not tell"
        BACKEND_TRACKED = Gauge "sluice_backend_tracked_flows" ["service", "backend"]
            "Live flows that are remembered to be with the backend, as the last walk through their tables has found"
        BACKEND_HEALTH = Gauge "sluice_backend_health" ["service", "backend", "state"]
            "1 for the health that the backend has: up, down or unknown"
        BACKEND_ADMIN = Gauge "sluice_backend_admin" ["service", "backend", "state"]
            "1 for the admin state that the backend has: ready, drain, maintenance or leaving"
        BACKEND_WEIGHT = Gauge "sluice_backend_weight" ["service", "backend"]
            "Weight of the backend by the file"
        BACKEND_PROMISED = Gauge "sluice_backend_share_promised" ["service", "backend"]
            "Part of the new flows that the backend is to have, 0 to 1"
        BACKEND_SHARE = Gauge "sluice_backend_share" ["service", "backend"]
            "Part of the table that the backend has, 0 to 1: as near to the promise as slots can come"
        BACKEND_MEASURED = Gauge "sluice_backend_share_measured" ["service", "backend"]
            "Part of the service's packets that the backend got within the last minute, 0 to 1; not there without packets"
        BACKEND_EMPTY = Gauge "sluice_backend_empty" ["service", "backend"]
            "1 where the backend gets no packet any more"
    }
    "Services" {
        SERVICE_PACKETS = Counter "sluice_service_packets" ["service"]
            "Packets that were forwarded for the service"
        SERVICE_BYTES = Counter "sluice_service_bytes" ["service"]
            "Bytes of those packets, as they arrived"
        SERVICE_OPENED = Counter "sluice_service_opened_flows" ["service"]
            "New flows that clients opened with the service's backends; not there for udp that is not tracked"
        SERVICE_REFUSED = Counter "sluice_service_refused_packets" ["service", "cause"]
            "Packets of the service that its guards and limits turned away"
        SERVICE_AVAILABLE = Gauge "sluice_service_available" ["service"]
            "1 where clients should be sent here"
        SERVICE_PROBES_FOLLOWED = Gauge "sluice_service_probes_followed" ["service"]
            "0 where probes are not followed, since too many backends fail them, or all at once"
        SERVICE_BACKENDS = Gauge "sluice_service_backends" ["service", "health"]
            "Backends of the service by their health"
        SERVICE_TRACKED = Gauge "sluice_service_tracked_flows" ["service"]
            "Live flows of the service that are remembered"
    }
    "Tables" {
        TABLE = Info "sluice_service_table" ["service", "address", "port", "protocol", "digest"]
            "The service's table: balancers with the same one have the same digest"
        TABLE_SLOTS = Gauge "sluice_service_slots" ["service"]
            "Length of the service's table"
        TABLE_GENERATION = Gauge "sluice_service_generation" ["service"]
            "How many tables were published for the service"
        TABLE_UNSETTLED = Gauge "sluice_service_unsettled_slots" ["service"]
            "Slots whose old flows may still be elsewhere"
        TABLE_MOVED = Counter "sluice_service_moved_slots" ["service"]
            "Slots whose new flows went to another backend, by all changes since the daemon began"
        TABLE_COLLATERAL = Counter "sluice_service_collateral_slots" ["service"]
            "Those of the moved slots that went between backends that the change was not about"
        TABLE_LAST_MOVED = Gauge "sluice_service_last_change_moved_slots" ["service"]
            "Slots that the last change of the table has moved"
        TABLE_LAST_COLLATERAL = Gauge "sluice_service_last_change_collateral_slots" ["service"]
            "Those of them that were collateral; not there where that cannot be told"
        TABLE_LAST_CHANGE = Gauge "sluice_service_last_change_timestamp_seconds" ["service"]
            "When the table changed last, in seconds since 1970"
    }
    "Packets" {
        REASON_PACKETS = Counter "sluice_packets" ["reason", "fate"]
            "All packets that were seen, by what became of them and why: every packet has exactly one reason"
        REASON_BYTES = Counter "sluice_bytes" ["reason", "fate"]
            "Their bytes, as they arrived"
    }
    "What is remembered" {
        TRACKING_ENTRIES = Gauge "sluice_flow_entries" ["table"]
            "Entries of the tables of flows, as the last walk through them has found"
        TRACKING_MOST = Gauge "sluice_flow_entries_limit" ["table"]
            "The most entries that they may have"
        TRACKING_REFUSED = Counter "sluice_flow_entries_refused" ["table"]
            "Entries that were not made, since there was no budget for them (`limits.inserts`)"
        NAT_ADDRESS_FLOWS = Gauge "sluice_nat_address_flows" ["address"]
            "Translated flows that have an address of the pool"
        ARENA_USED = Gauge "sluice_arena_used_slots" []
            "Slots of the arena that are in use"
        ARENA_SLOTS = Gauge "sluice_arena_slots" []
            "All slots of the arena (`limits.slots`)"
    }
    "Probes" {
        PROBES = Counter "sluice_probes" ["service", "type", "result"]
            "Probes by how they ended: passed, failed, `timed_out`, or inconclusive where this host kept them from being made"
        PROBE_SECONDS = Histogram "sluice_probe_duration_seconds" ["service", "type"]
            "How long probes took, those that timed out included"
    }
    "The fleet" {
        PEER_HEARD = Gauge "sluice_peer_heard" ["peer"]
            "1 where the other balancer is heard"
        PEER_TOLD = Counter "sluice_peer_told_flows" ["peer"]
            "Flows that it was told of"
        PEER_DROPPED = Counter "sluice_peer_dropped_flows" ["peer"]
            "Flows that it was not told of, since they came faster than it took them"
        PEER_HEARD_FLOWS = Counter "sluice_peer_heard_flows" ["peer"]
            "Flows that it has told of"
        PEER_OTHER_TABLES = Gauge "sluice_peer_other_tables" ["peer"]
            "Services whose table is another one there, or not known"
    }
    "The daemon" {
        BUILD = Info "sluice_build" ["version"]
            "The daemon's version"
        INTERFACE = Info "sluice_interface" ["interface", "mode"]
            "An interface that the program is attached to"
        FORWARDING = Gauge "sluice_forwarding" []
            "1 once the daemon has published its first tables and attached its program"
        RELOADS = Counter "sluice_reloads" ["result"]
            "Reloads of the configuration: ok, or failed, and then the one before goes on"
        RELOAD_LAST = Gauge "sluice_last_reload_timestamp_seconds" []
            "When the configuration that runs was read, in seconds since 1970"
        RELOAD_LAST_OK = Gauge "sluice_last_reload_successful" []
            "0 where the last reload has failed"
        PLAN_SECONDS = Histogram "sluice_plan_duration_seconds" []
            "How long it took to decide what the data plane ought to hold"
        APPLY_SECONDS = Histogram "sluice_apply_duration_seconds" []
            "How long it took to make it hold that, grace periods included"
        WALK_SECONDS = Histogram "sluice_walk_duration_seconds" []
            "How long a walk through the tables of flows took"
        FOLLOW_FAILED = Counter "sluice_apply_failures" []
            "How often the data plane could not be made to hold what it ought to"
        EVENTS_WAITING = Gauge "sluice_events_waiting" []
            "Events that wait for the task that owns the truth"
        EVENTS_MOST = Gauge "sluice_events_limit" []
            "How many may wait before senders do"
    }
    "The process" {
        CPU_SECONDS = Counter "process_cpu_seconds" []
            "CPU time that the daemon has taken, in user and kernel mode"
        RESIDENT_BYTES = Gauge "process_resident_memory_bytes" []
            "Memory of the daemon that is in RAM, mapped maps included"
        VIRTUAL_BYTES = Gauge "process_virtual_memory_bytes" []
            "Its address space"
        OPEN_FDS = Gauge "process_open_fds" []
            "Its open file descriptors"
        MAX_FDS = Gauge "process_max_fds" []
            "The most that it may have"
        START_SECONDS = Gauge "process_start_time_seconds" []
            "When it began, in seconds since 1970"
    }
}

/// All of them, one after the other.
pub fn all() -> impl Iterator<Item = &'static Definition> {
    ALL.iter().flat_map(|group| group.metrics)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_as_the_format_wants_them() {
        let mut seen = HashSet::new();
        for Definition { name, labels, help, kind } in all() {
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("sluice_") || name.starts_with("process_"), "{name}");
            assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{name}: its kind adds that");
            let fits = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(fits(name) && labels.iter().all(|label| fits(label)), "{name} {labels:?}");
            assert!(!labels.contains(&"le"), "{name}: `le` is a histogram's own");
            assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
            assert_eq!(*kind == Kind::Histogram, name.ends_with("_duration_seconds"), "{name}");
        }
    }
}
