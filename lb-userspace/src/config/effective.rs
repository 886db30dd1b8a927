//! The configuration as JSON, by the keys of the file, with every default filled in and without what is secret.

use std::{fmt::Debug, time::Duration};

use humantime::format_duration;
use hyper::header::HeaderValue;
use lb_common::guard::Rate;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{
    Api, Backend, Balancer, Check, Config, DEFAULT_SEED, Fleet, HttpCheck, HttpVersion, Limits, List,
    MinHealthy, Mss, Nat, Probe, Service, Sharing, TlsCheck, Trust,
    secrets::{REDACTED, redact_probe},
};

/// A configuration that can be shown.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Effective {
    /// Tells configurations apart that show a difference: 16 hex digits.
    pub digest: String,
    /// The configuration.
    pub configuration: Value,
}

impl Effective {
    /// What can be shown of `config`.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let Config { balancer: own, fleet: shared, limits, lists, services } = config;
        let configuration = without_nulls(json!({
            "balancer": balancer(own),
            "fleet": fleet(shared),
            "limits": sizes(limits),
            "list": lists.iter().map(list).collect::<Vec<_>>(),
            "service": services.iter().map(|one| service(one)).collect::<Vec<_>>(),
        }));
        let digest = format!("{:016x}", DEFAULT_SEED.sip(configuration.to_string().as_bytes(), 0));
        Self { digest, configuration }
    }
}

/// Leaves out what is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let there = object.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(there.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(values) => values.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

/// A variant as the file has it.
fn word(variant: &impl Debug) -> String {
    format!("{variant:?}").to_lowercase()
}

fn time(duration: Duration) -> String {
    format_duration(duration).to_string()
}

fn balancer(balancer: &Balancer) -> Value {
    let Balancer { interfaces, mode, socket, pin_path, state_path, probe_mark, .. } = balancer;
    let Balancer { location, next_program, nat, api, audit_path, .. } = balancer;
    json!({
        "interfaces": interfaces,
        "mode": word(mode),
        "socket": socket,
        "pin_path": pin_path,
        "state_path": state_path,
        "audit_path": audit_path,
        "probe_mark": format!("{probe_mark:#x}"),
        "location": location.as_ref().map(ToString::to_string),
        "next_program": next_program,
        "nat": nat.as_ref().map(|Nat { addresses, ports }| json!({
            "addresses": addresses,
            "ports": format!("{}-{}", ports.start(), ports.end()),
        })),
        "api": api.as_ref().map(listener),
    })
}

fn listener(api: &Api) -> Value {
    json!({
        "listen": api.listen,
        "tokens": api.tokens,
        "certificate": api.certificate.as_ref().map(|certificate| &certificate.chain),
        "key": api.certificate.as_ref().map(|certificate| &certificate.key),
        "client_ca": api.clients.as_ref().map(|clients| &clients.authority),
        "operators": api.clients.as_ref().map(|clients| &clients.operators),
        "hosts": api.hosts,
    })
}

fn fleet(fleet: &Fleet) -> Value {
    let seed = if fleet.seed_is_default { "(the default)" } else { REDACTED };
    let fingerprint = format!("{:016x}", fleet.seed.fingerprint());
    json!({ "seed": seed, "seed_fingerprint": fingerprint, "peers": fleet.peers, "port": fleet.port })
}

fn sizes(limits: &Limits) -> Value {
    let Limits { services, backends, slots, connections, openings, inserts, .. } = limits;
    let Limits { sources, answers, fragments, nat_sessions, nat_openings, .. } = limits;
    json!({
        "services": services,
        "backends": backends,
        "slots": slots,
        "connections": connections,
        "openings": openings,
        "inserts": inserts,
        "sources": sources,
        "answers": answers,
        "fragments": fragments,
        "nat_sessions": nat_sessions,
        "nat_openings": nat_openings,
    })
}

/// Not each prefix: a list may have hundreds of thousands.
fn list(list: &List) -> Value {
    json!({ "name": list.name, "file": list.file, "prefixes": list.prefixes.len() })
}

fn service(service: &Service) -> Value {
    let mut all = general(service);
    all.extend(flows(service));
    all.extend(sharing(&service.sharing));
    Value::Object(all)
}

fn general(service: &Service) -> Map<String, Value> {
    object(json!({
        "name": service.name,
        "address": service.address,
        "port": service.port,
        "protocol": service.protocol.name(),
        "slots": service.slots,
        "tunnel_source": service.tunnel_source.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "gue": { "port": service.gue.port, "variant": service.gue.variant },
        "echo": service.echo,
        "fragments": service.fragments,
        "mss": service.mss.map(|mss| match mss {
            Mss::Auto => Value::from("auto"),
            Mss::Bytes(bytes) => Value::from(bytes),
        }),
        "quic": service.quic.map(|quic| json!({
            "config_id": quic.config_id,
            "server_id_length": quic.server_id_length,
        })),
        "guard": {
            "malformed": if service.guard.drops_malformed { "drop" } else { "forward" },
            "rules": service.guard.rules.as_ref().map(|rules| rules.entries().len()),
            "max_new_per_source": service.guard.max_new_per_source.map(|source| json!({
                "rate": rate(source.rate), "ipv4": source.ipv4, "ipv6": source.ipv6,
            })),
            "max_new": service.guard.max_new.map(rate),
            "syn_cookies": service.guard.syn_cookies.map(rate),
        },
        "probe": service.probe.as_ref().map_or_else(|| json!({ "type": "none" }), probe),
        "backend": service.backends.iter().map(backend).collect::<Vec<_>>(),
    }))
}

fn flows(service: &Service) -> Map<String, Value> {
    object(json!({
        "track": word(&service.track),
        "idle_timeout": time(service.idle_timeout),
        "affinity": affinity(service),
        "down_grace": time(service.down_grace),
        "on_down": word(&service.on_down),
        "on_remove": word(&service.on_remove),
        "drain_deadline": service.drain_deadline.map(time),
        "on_deadline": word(&service.on_deadline),
        "on_full": word(&service.on_full),
        "passive": service.passive.map(|passive| json!({
            "share": passive.share,
            "connections": passive.connections,
            "window": time(passive.window),
            "hold": time(passive.hold),
        })),
        "flap": service.flap.map(|flap| json!({
            "changes": flap.changes, "within": time(flap.within), "hold": time(flap.hold),
        })),
        "rollout": service.rollout.as_ref().map(|rollout| json!({
            "compatible": rollout.compatible.to_string(),
            "prefer": rollout.prefer.to_string(),
            "canary": rollout.canary.map(|canary| canary.to_string()),
        })),
    }))
}

fn affinity(service: &Service) -> Option<Value> {
    let family = if service.address.is_ipv4() { "ipv4" } else { "ipv6" };
    (service.source_bits != 0).then(|| json!({ family: service.source_bits }))
}

fn sharing(sharing: &Sharing) -> Map<String, Value> {
    object(json!({
        "scope": sharing.scope.name(),
        "prefer": word(&sharing.prefer),
        "overprovisioning": format!("{}%", sharing.overprovisioning),
        "panic_threshold": format!("{}%", sharing.panic_threshold),
        "panic": word(&sharing.panic),
        "all_down": word(&sharing.all_down),
        "min_healthy": sharing.min_healthy.map(|least| match least {
            MinHealthy::Backends(backends) => Value::from(backends),
            MinHealthy::Percent(percent) => Value::from(format!("{percent}%")),
        }),
        "slow_start": time(sharing.slow_start),
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn rate(rate: Rate) -> Value {
    let every = rate.interval_ns.max(1);
    json!({ "per_second": 1_000_000_000 / every, "burst": rate.burst_ns / every + 1 })
}

fn backend(backend: &Backend) -> Value {
    json!({
        "name": backend.name,
        "address": backend.address,
        "weight": backend.weight,
        "version": backend.version.as_ref().map(ToString::to_string),
        "priority": backend.priority,
        "location": backend.location.as_ref().map(ToString::to_string),
        "admin": backend.admin,
        "forwarding": backend.forwarding.name(),
        "port": backend.port,
        "max_new_per_sec": backend.limits.max_new_per_sec,
        "max_connections": backend.limits.max_connections,
    })
}

fn probe(probe: &Probe) -> Value {
    let mut all = object(json!({
        "type": probe.check.name(),
        "interval": time(probe.interval),
        "fast_interval": time(probe.fast_interval),
        "jitter": time(probe.jitter),
        "timeout": time(probe.timeout),
        "rise": probe.rise,
        "fall": probe.fall,
        "grace": time(probe.grace),
        "concurrency": (probe.concurrency != u32::MAX).then_some(probe.concurrency),
        "port": probe.port,
        "via": word(&probe.via),
    }));
    all.extend(details(&probe.check));
    redact_probe(&mut all, &mut Vec::new());
    Value::Object(all)
}

/// What a check asks for and expects, secrets included.
pub(super) fn details(check: &Check) -> Map<String, Value> {
    let bytes = |bytes: &[u8]| (!bytes.is_empty()).then(|| bytes.escape_ascii().to_string());
    match check {
        Check::Tcp | Check::Icmp => Map::new(),
        Check::Http(check) => http(check),
        Check::Tls(check) => tls(check),
        Check::Grpc(check) => {
            let mut all = object(json!({ "grpc_service": check.service, "tls": check.tls.is_some() }));
            all.extend(check.tls.as_ref().map(tls).unwrap_or_default());
            all
        }
        Check::Udp(check) => object(json!({ "send": bytes(&check.send), "expect": bytes(&check.expect) })),
        Check::Dns(check) => {
            object(json!({ "query": check.name, "record": check.record.1, "rcode": check.rcode.1 }))
        }
        Check::Exec(command) => object(json!({ "command": command })),
        Check::Agent { send } => object(json!({ "send": bytes(send) })),
    }
}

fn http(check: &HttpCheck) -> Map<String, Value> {
    let value = |value: &HeaderValue| value.as_bytes().escape_ascii().to_string();
    let headers: Map<String, Value> =
        check.headers.iter().map(|(name, is)| (name.to_string(), value(is).into())).collect();
    let status: Vec<_> =
        check.status.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
    let version = if check.version == HttpVersion::Two { "2" } else { "1.1" };
    let mut all = object(json!({
        "method": check.method.as_str(),
        "path": check.path.as_str(),
        "host": check.host,
        "headers": headers,
        "status": status,
        "body": check.body,
        "http_version": version,
    }));
    all.extend(check.tls.as_ref().map(tls).unwrap_or_default());
    all
}

fn tls(check: &TlsCheck) -> Map<String, Value> {
    let ca = if let Trust::File(path) = &check.trust { Some(path) } else { None };
    object(json!({ "verify": check.trust != Trust::Anybody, "ca": ca, "server_name": check.server_name }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::schema::{self, Schema};

    fn example() -> (Config, String) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/full.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        (Config::load(&path).unwrap().0, text)
    }

    /// Whether the key is anywhere in `value`.
    fn has(value: &Value, key: &str) -> bool {
        match value {
            Value::Object(object) => object.contains_key(key) || object.values().any(|value| has(value, key)),
            Value::Array(values) => values.iter().any(|value| has(value, key)),
            _ => false,
        }
    }

    #[test]
    fn every_key_of_the_file_is_shown() {
        let shown = Effective::of(&example().0).configuration;
        let keys = |schema: &Schema| schema.keys.to_vec();
        let all = [schema::BALANCER, schema::FLEET, schema::LIMITS, schema::SERVICE]
            .iter()
            .flat_map(keys)
            .collect::<Vec<_>>();
        let missing: Vec<_> = all.into_iter().filter(|key| !has(&shown, key)).collect();
        assert_eq!(missing, Vec::<&str>::new(), "{shown:#}");
    }

    #[test]
    fn secrets_are_not_shown_and_the_digest_tells_seeds_apart() {
        let (mut config, text) = example();
        let shown = Effective::of(&config);
        let seed = text.split("seed = \"").nth(1).unwrap().split('"').next().unwrap();
        let json = shown.configuration.to_string();
        assert!(!json.contains(seed), "the seed is shown");
        assert!(json.contains("\"x-probe\":\"(secret)\""), "{json}");
        assert!(!json.contains(":null"), "{json}");
        assert_eq!(Effective::of(&config), shown);
        config.fleet.seed.0[0] ^= 1;
        assert_ne!(Effective::of(&config).digest, shown.digest);
    }
}
