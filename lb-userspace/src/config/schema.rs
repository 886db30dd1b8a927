//! Which keys each table of the file has: what unknown keys are measured against, and what `docs/config.md` must list.

/// One kind of table.
#[derive(Debug)]
pub(super) struct Schema {
    /// How its header is written.
    pub(super) header: &'static str,
    /// Its keys, required ones first.
    pub(super) keys: &'static [&'static str],
}

pub(super) const ROOT: Schema =
    Schema { header: "the top level", keys: &["balancer", "fleet", "limits", "defaults", "service"] };

pub(super) const BALANCER: Schema =
    Schema { header: "[balancer]", keys: &["interfaces", "mode", "socket", "pin_path", "state_path"] };

pub(super) const FLEET: Schema = Schema { header: "[fleet]", keys: &["seed", "peers", "port"] };

pub(super) const LIMITS: Schema = Schema {
    header: "[limits]",
    keys: &["services", "backends", "slots", "connections", "openings", "inserts", "answers", "fragments"],
};

pub(super) const DEFAULTS: Schema = Schema {
    header: "[defaults]",
    keys: &[
        "forwarding",
        "track",
        "slots",
        "affinity",
        "idle_timeout",
        "down_grace",
        "on_down",
        "on_remove",
        "drain_deadline",
        "on_deadline",
        "tunnel_source",
        "echo",
        "fragments",
        "probe",
    ],
};

pub(super) const SERVICE: Schema = Schema {
    header: "[[service]]",
    keys: &[
        "name",
        "address",
        "port",
        "protocol",
        "forwarding",
        "track",
        "slots",
        "affinity",
        "idle_timeout",
        "down_grace",
        "on_down",
        "on_remove",
        "drain_deadline",
        "on_deadline",
        "tunnel_source",
        "echo",
        "fragments",
        "probe",
        "quic",
        "backend",
    ],
};

pub(super) const AFFINITY: Schema = Schema { header: "affinity", keys: &["ipv4", "ipv6"] };

pub(super) const DEFAULT_PROBE: Schema =
    Schema { header: "[defaults.probe]", keys: &["type", "interval", "timeout", "rise", "fall", "port"] };

pub(super) const PROBE: Schema =
    Schema { header: "[service.probe]", keys: &["type", "interval", "timeout", "rise", "fall", "port"] };

pub(super) const QUIC: Schema = Schema { header: "[service.quic]", keys: &["server_id_length", "config_id"] };

pub(super) const BACKEND: Schema = Schema {
    header: "[[service.backend]]",
    keys: &["name", "address", "weight", "admin", "forwarding", "server_id"],
};

/// Every kind of table.
pub(super) const ALL: [&Schema; 11] = [
    &ROOT,
    &BALANCER,
    &FLEET,
    &LIMITS,
    &DEFAULTS,
    &DEFAULT_PROBE,
    &SERVICE,
    &AFFINITY,
    &PROBE,
    &QUIC,
    &BACKEND,
];

/// Headers of the tables that have `key`.
pub(super) fn homes_of(key: &str) -> Vec<&'static str> {
    ALL.iter().filter(|schema| schema.keys.contains(&key)).map(|schema| schema.header).collect()
}
