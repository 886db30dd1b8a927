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
    Schema { header: "the top level", keys: &["balancer", "fleet", "limits", "defaults", "list", "service"] };

pub(super) const BALANCER: Schema = Schema {
    header: "[balancer]",
    keys: &[
        "interfaces",
        "mode",
        "socket",
        "pin_path",
        "state_path",
        "probe_mark",
        "location",
        "next_program",
        "audit_path",
        "nat",
        "api",
    ],
};

pub(super) const API: Schema = Schema {
    header: "[balancer.api]",
    keys: &["listen", "tokens", "certificate", "key", "client_ca", "operators", "hosts"],
};

pub(super) const NAT: Schema = Schema { header: "[balancer.nat]", keys: &["addresses", "ports"] };

pub(super) const FLEET: Schema = Schema { header: "[fleet]", keys: &["seed", "peers", "port"] };

pub(super) const LIMITS: Schema = Schema {
    header: "[limits]",
    keys: &[
        "services",
        "backends",
        "slots",
        "connections",
        "openings",
        "inserts",
        "answers",
        "fragments",
        "sources",
        "nat_sessions",
        "nat_openings",
    ],
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
        "gue",
        "on_full",
        "echo",
        "fragments",
        "mss",
        "flap",
        "scope",
        "prefer",
        "overprovisioning",
        "panic_threshold",
        "panic",
        "all_down",
        "min_healthy",
        "slow_start",
        "probe",
        "guard",
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
        "gue",
        "on_full",
        "echo",
        "fragments",
        "mss",
        "flap",
        "rollout",
        "scope",
        "prefer",
        "overprovisioning",
        "panic_threshold",
        "panic",
        "all_down",
        "min_healthy",
        "slow_start",
        "probe",
        "guard",
        "passive",
        "quic",
        "backend",
    ],
};

pub(super) const AFFINITY: Schema = Schema { header: "affinity", keys: &["ipv4", "ipv6"] };

pub(super) const FLAP: Schema = Schema { header: "flap", keys: &["changes", "within", "hold"] };

pub(super) const ROLLOUT: Schema = Schema { header: "rollout", keys: &["compatible", "prefer", "canary"] };

pub(super) const GUE: Schema = Schema { header: "gue", keys: &["port", "variant"] };

pub(super) const PASSIVE: Schema =
    Schema { header: "passive", keys: &["share", "connections", "window", "hold"] };

pub(super) const DEFAULT_PROBE: Schema = Schema {
    header: "[defaults.probe]",
    keys: &[
        "type",
        "interval",
        "fast_interval",
        "jitter",
        "timeout",
        "rise",
        "fall",
        "grace",
        "concurrency",
        "port",
        "via",
    ],
};

pub(super) const PROBE: Schema = Schema {
    header: "[service.probe]",
    keys: &[
        "type",
        "interval",
        "fast_interval",
        "jitter",
        "timeout",
        "rise",
        "fall",
        "grace",
        "concurrency",
        "port",
        "via",
        "method",
        "path",
        "host",
        "headers",
        "status",
        "body",
        "http_version",
        "verify",
        "ca",
        "server_name",
        "tls",
        "grpc_service",
        "send",
        "expect",
        "query",
        "record",
        "rcode",
        "command",
    ],
};

pub(super) const QUIC: Schema = Schema { header: "[service.quic]", keys: &["server_id_length", "config_id"] };

pub(super) const BACKEND: Schema = Schema {
    header: "[[service.backend]]",
    keys: &[
        "name",
        "address",
        "port",
        "weight",
        "version",
        "priority",
        "location",
        "admin",
        "forwarding",
        "max_new_per_sec",
        "max_connections",
        "server_id",
    ],
};

pub(super) const LIST: Schema = Schema { header: "[[list]]", keys: &["name", "file", "prefixes"] };

const GUARD_KEYS: &[&str] = &["malformed", "allow", "deny", "max_new_per_source", "max_new", "syn_cookies"];

pub(super) const DEFAULT_GUARD: Schema = Schema { header: "[defaults.guard]", keys: GUARD_KEYS };

pub(super) const GUARD: Schema = Schema { header: "[service.guard]", keys: GUARD_KEYS };

pub(super) const RATE: Schema = Schema { header: "max_new", keys: &["rate", "burst"] };

pub(super) const SOURCE_RATE: Schema =
    Schema { header: "max_new_per_source", keys: &["rate", "burst", "ipv4", "ipv6"] };

pub(super) const SYN_COOKIES: Schema = Schema { header: "syn_cookies", keys: &["above"] };

/// Every kind of table.
pub(super) const ALL: [&Schema; 23] = [
    &ROOT,
    &BALANCER,
    &NAT,
    &API,
    &FLEET,
    &LIMITS,
    &DEFAULTS,
    &DEFAULT_PROBE,
    &DEFAULT_GUARD,
    &LIST,
    &SERVICE,
    &AFFINITY,
    &GUE,
    &PASSIVE,
    &FLAP,
    &ROLLOUT,
    &PROBE,
    &QUIC,
    &GUARD,
    &RATE,
    &SOURCE_RATE,
    &SYN_COOKIES,
    &BACKEND,
];

/// Headers of the tables that have `key`.
pub(super) fn homes_of(key: &str) -> Vec<&'static str> {
    ALL.iter().filter(|schema| schema.keys.contains(&key)).map(|schema| schema.header).collect()
}
