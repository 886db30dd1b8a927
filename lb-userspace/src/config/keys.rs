//! A configuration as keys with values, by the names that the file uses, defaults filled in: what two of them differ in.
//!
//! The seed is told by a fingerprint, since whoever knows it can aim flows. Of what else is secret it is told only that it is
//! another one: people show plans to each other, and keep them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Debug, Display},
    time::Duration,
};

use humantime::format_duration;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api, Backend, Balancer, Config, Fleet, Guard, Limits, List, MinHealthy, Mss, Probe, Service, Sharing,
    effective::details,
    fingerprint,
    secrets::{REDACTED, REDACTED_OTHER, redact_probe},
};

/// A key whose value is another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct KeyChange {
    /// Its path, such as `weight`, or `service.web.backend.web-1.weight` where it stands alone.
    pub key: String,
    /// What it was, as the file has it; none where it was not there.
    pub before: Option<String>,
    /// What it is then; none where it is not there any more.
    pub after: Option<String>,
    /// Tells secrets apart that look alike in the two; zero where neither is one. It is told to nobody.
    #[serde(skip)]
    pub secret: u64,
}

/// A value, as far as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    text: String,
    /// Fingerprint of what the text leaves out; zero where it leaves out nothing.
    secret: u64,
}

/// Keys with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, Told>);

impl Keys {
    /// What has to change in these to get the others, by key.
    #[must_use]
    pub fn changes_to(&self, after: &Self) -> Vec<KeyChange> {
        let names: BTreeSet<_> = self.0.keys().chain(after.0.keys()).collect();
        let both = names.into_iter().map(|key| (key, self.0.get(key), after.0.get(key)));
        let changes = both.filter(|(_, before, after)| before != after);
        changes.map(|(key, before, after)| KeyChange::between(key, before, after)).collect()
    }

    /// A value as it is.
    fn plain(&mut self, key: &str, value: impl Display) {
        self.0.insert(key.to_owned(), Told { text: value.to_string(), secret: 0 });
    }

    /// A text, in quotes.
    fn text(&mut self, key: &str, value: impl Display) {
        self.plain(key, format_args!("{:?}", value.to_string()));
    }

    /// A variant, whose name in small letters is the file's word for it.
    fn word(&mut self, key: &str, value: impl Debug) {
        self.text(key, format_args!("{value:?}").to_string().to_lowercase());
    }

    fn duration(&mut self, key: &str, value: Duration) {
        self.text(key, format_duration(value));
    }

    fn texts<T: Display>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let values: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
        self.plain(key, format_args!("{values:?}"));
    }

    /// A value that is told as `told`, which leaves out what is secret of it: key by key where it is a table.
    fn redacted(&mut self, key: &str, is: &Value, told: &Value) {
        match (is, told) {
            (Value::Null, _) => {}
            (Value::Object(is), Value::Object(told)) => {
                is.iter().for_each(|(name, is)| self.redacted(&format!("{key}.{name}"), is, &told[name]));
            }
            _ => {
                let secret = if is == told { 0 } else { fingerprint(is.to_string().as_bytes()) };
                self.0.insert(key.to_owned(), Told { text: told.to_string(), secret });
            }
        }
    }

    /// Takes in the keys of a table.
    fn table(&mut self, name: &str, keys: Self) {
        self.0.extend(keys.0.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
    }
}

impl KeyChange {
    fn between(key: &str, before: Option<&Told>, after: Option<&Told>) -> Self {
        let text = |told: Option<&Told>| told.map(|told| told.text.clone());
        let secret = |told: Option<&Told>| told.map_or(0, |told| told.secret);
        let mut change = Self {
            key: key.to_owned(),
            before: text(before),
            after: text(after),
            secret: secret(before).rotate_left(1) ^ secret(after),
        };
        if change.before == change.after {
            change.after = change.after.map(|text| text.replace(REDACTED, REDACTED_OTHER));
        }
        change
    }
}

impl Config {
    /// All keys of the file.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let mut keys = self.keys_beside_services();
        for service in &self.services {
            let name = format!("service.{}", service.name);
            keys.table(&name, service.keys());
            for backend in &service.backends {
                keys.table(&format!("{name}.backend.{}", backend.name), backend.keys());
            }
        }
        keys
    }

    /// Those that belong to no service.
    #[must_use]
    pub fn keys_beside_services(&self) -> Keys {
        let mut keys = Keys::default();
        keys.table("balancer", self.balancer.keys());
        keys.table("fleet", self.fleet.keys());
        keys.table("limits", self.limits.keys());
        for list in &self.lists {
            keys.table(&format!("list.{}", list.name), list.keys());
        }
        keys
    }
}

impl Balancer {
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.texts("interfaces", &self.interfaces);
        keys.word("mode", self.mode);
        keys.text("socket", self.socket.display());
        keys.text("pin_path", self.pin_path.display());
        keys.text("state_path", self.state_path.display());
        keys.plain("probe_mark", format_args!("{:#010x}", self.probe_mark));
        self.audit_path.iter().for_each(|path| keys.text("audit_path", path.display()));
        self.location.iter().for_each(|location| keys.text("location", location));
        self.next_program.iter().for_each(|path| keys.text("next_program", path.display()));
        if let Some(nat) = &self.nat {
            keys.texts("nat.addresses", &nat.addresses);
            keys.text("nat.ports", format_args!("{}-{}", nat.ports.start(), nat.ports.end()));
        }
        self.api.iter().for_each(|api| keys.table("api", api.keys()));
        keys
    }
}

impl Api {
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.text("listen", self.listen);
        self.tokens.iter().for_each(|path| keys.text("tokens", path.display()));
        if let Some(certificate) = &self.certificate {
            keys.text("certificate", certificate.chain.display());
            keys.text("key", certificate.key.display());
        }
        if let Some(clients) = &self.clients {
            keys.text("client_ca", clients.authority.display());
            keys.texts("operators", &clients.operators);
        }
        keys.texts("hosts", &self.hosts);
        keys
    }
}

impl Fleet {
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        let seed = format!("fingerprint {:016x}", fingerprint(&self.seed.0));
        keys.plain(
            "seed",
            if self.seed_is_default { "the one that everybody knows".to_owned() } else { seed },
        );
        keys.texts("peers", &self.peers);
        keys.plain("port", self.port);
        keys
    }
}

impl Limits {
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        let all = [
            ("services", self.services),
            ("backends", self.backends),
            ("slots", self.slots),
            ("connections", self.connections),
            ("openings", self.openings),
            ("inserts", self.inserts),
            ("sources", self.sources),
            ("answers", self.answers),
            ("fragments", self.fragments),
            ("nat_sessions", self.nat_sessions),
            ("nat_openings", self.nat_openings),
        ];
        for (key, value) in all {
            keys.plain(key, value);
        }
        keys
    }
}

impl List {
    /// Of a long list it is told that it is another one: whoever wants to know in what has the file.
    fn keys(&self) -> Keys {
        const SHOWN: usize = 8;
        let mut keys = Keys::default();
        self.file.iter().for_each(|file| keys.text("file", file.display()));
        if self.prefixes.len() <= SHOWN {
            keys.texts("prefixes", self.prefixes.iter());
        } else {
            let all: Vec<_> = self.prefixes.iter().map(ToString::to_string).collect();
            let (count, print) = (all.len(), fingerprint(all.join(" ").as_bytes()));
            keys.plain("prefixes", format_args!("{count} prefixes, fingerprint {print:016x}"));
        }
        keys
    }
}

impl Service {
    /// Its keys, without those of its backends.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.text("address", self.address);
        keys.plain("port", self.port);
        keys.text("protocol", self.protocol.name());
        keys.plain("slots", self.slots);
        keys.word("track", self.track);
        keys.plain("affinity", self.source_bits);
        keys.duration("idle_timeout", self.idle_timeout);
        keys.duration("down_grace", self.down_grace);
        keys.word("on_down", self.on_down);
        keys.word("on_remove", self.on_remove);
        self.drain_deadline.iter().for_each(|deadline| keys.duration("drain_deadline", *deadline));
        keys.word("on_deadline", self.on_deadline);
        keys.texts("tunnel_source", &self.tunnel_source);
        keys.plain("gue.port", self.gue.port);
        keys.plain("gue.variant", self.gue.variant);
        keys.word("on_full", self.on_full);
        keys.plain("echo", self.echo);
        keys.plain("fragments", self.fragments);
        match self.mss {
            Some(Mss::Auto) => keys.text("mss", "auto"),
            Some(Mss::Bytes(bytes)) => keys.plain("mss", bytes),
            None => {}
        }
        keys.table("guard", self.guard.keys());
        self.probe.iter().for_each(|probe| keys.table("probe", probe.keys()));
        self.rules_of_health(&mut keys);
        if let Some(quic) = &self.quic {
            keys.plain("quic.config_id", quic.config_id);
            keys.plain("quic.server_id_length", quic.server_id_length);
        }
        if let Some(rollout) = &self.rollout {
            keys.text("rollout.compatible", &rollout.compatible);
            keys.text("rollout.prefer", rollout.prefer);
            rollout.canary.iter().for_each(|canary| keys.text("rollout.canary", canary));
        }
        self.sharing.add_keys(&mut keys);
        keys
    }

    fn rules_of_health(&self, keys: &mut Keys) {
        if let Some(passive) = &self.passive {
            keys.text("passive.share", format_args!("{}%", passive.share));
            keys.plain("passive.connections", passive.connections);
            keys.duration("passive.window", passive.window);
            keys.duration("passive.hold", passive.hold);
        }
        if let Some(flap) = &self.flap {
            keys.plain("flap.changes", flap.changes);
            keys.duration("flap.within", flap.within);
            keys.duration("flap.hold", flap.hold);
        }
    }
}

impl Guard {
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.text("malformed", if self.drops_malformed { "drop" } else { "forward" });
        if let Some(rules) = &self.rules {
            let print = fingerprint(format!("{:?}", rules.entries()).as_bytes());
            keys.plain("lists", format_args!("{} prefixes, fingerprint {print:016x}", rules.entries().len()));
        }
        if let Some(of_source) = &self.max_new_per_source {
            keys.plain("max_new_per_source", format_args!("{of_source:?}"));
        }
        self.max_new.iter().for_each(|rate| keys.plain("max_new", format_args!("{rate:?}")));
        self.syn_cookies.iter().for_each(|rate| keys.plain("syn_cookies", format_args!("{rate:?}")));
        keys
    }
}

impl Probe {
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.duration("interval", self.interval);
        keys.duration("fast_interval", self.fast_interval);
        keys.duration("jitter", self.jitter);
        keys.duration("timeout", self.timeout);
        keys.plain("rise", self.rise);
        keys.plain("fall", self.fall);
        keys.duration("grace", self.grace);
        keys.plain("concurrency", self.concurrency);
        keys.plain("port", self.port);
        keys.word("via", self.via);
        keys.text("type", self.check.name());
        let details = details(&self.check);
        let mut told = details.clone();
        redact_probe(&mut told, &mut Vec::new());
        details.iter().for_each(|(key, is)| keys.redacted(key, is, &told[key]));
        keys
    }
}

impl Sharing {
    fn add_keys(&self, keys: &mut Keys) {
        keys.text("scope", self.scope.name());
        keys.word("prefer", self.prefer);
        keys.text("overprovisioning", format_args!("{}%", self.overprovisioning));
        keys.text("panic_threshold", format_args!("{}%", self.panic_threshold));
        keys.word("panic", self.panic);
        keys.word("all_down", self.all_down);
        match self.min_healthy {
            Some(MinHealthy::Backends(backends)) => keys.plain("min_healthy", backends),
            Some(MinHealthy::Percent(percent)) => keys.text("min_healthy", format_args!("{percent}%")),
            None => {}
        }
        keys.duration("slow_start", self.slow_start);
    }
}

impl Backend {
    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.text("address", self.address);
        keys.plain("weight", self.weight);
        keys.plain("priority", self.priority);
        keys.word("admin", self.admin);
        keys.text("forwarding", self.forwarding.name());
        self.version.iter().for_each(|version| keys.text("version", version));
        self.location.iter().for_each(|location| keys.text("location", location));
        self.port.iter().for_each(|port| keys.plain("port", port));
        self.server_id.iter().for_each(|id| keys.plain("server_id", format_args!("{id:?}")));
        self.limits.max_new_per_sec.iter().for_each(|most| keys.plain("max_new_per_sec", most));
        self.limits.max_connections.iter().for_each(|most| keys.plain("max_connections", most));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Effective;

    const FULL: &str = include_str!("../../../examples/full.toml");

    fn parse(text: &str) -> Config {
        Config::parse("sluice.toml", text).unwrap().0
    }

    #[test]
    fn equal_configurations_differ_in_nothing() {
        assert_eq!(parse(FULL).keys().changes_to(&parse(FULL).keys()), []);
    }

    /// Every value that the file has may be changed to another one. What is compared and what is shown ([`Effective`]) are two
    /// lists, since one tells secrets apart that the other hides; this holds them together.
    #[test]
    fn whatever_makes_another_configuration_makes_another_key_here_and_where_it_is_shown() {
        let running = parse(FULL);
        for (line, _) in FULL.lines().enumerate() {
            let without = FULL.lines().enumerate().filter(|(at, _)| *at != line);
            let text: Vec<_> = without.map(|(_, line)| line).collect();
            let Ok((other, _)) = Config::parse("sluice.toml", &text.join("\n")) else { continue };
            if other != running {
                let changes = running.keys().changes_to(&other.keys());
                let told = format!("without line {}: {:?}", line + 1, FULL.lines().nth(line));
                assert!(!changes.is_empty(), "{told}");
                assert_ne!(Effective::of(&running).digest, Effective::of(&other).digest, "{told}");
            }
        }
    }

    #[test]
    fn change_is_told_by_the_names_of_the_file() {
        let heavier = FULL.replacen("weight = 3", "weight = 4", 1);
        let changes = parse(FULL).keys().changes_to(&parse(&heavier).keys());
        let (key, before, after) = ("service.web.backend.web-1.weight", "3", "4");
        let expected = KeyChange {
            key: key.to_owned(),
            before: Some(before.to_owned()),
            after: Some(after.to_owned()),
            secret: 0,
        };
        assert_eq!(changes, [expected]);
    }

    /// Of a service whose probe has these keys.
    fn probed(probe: &str) -> Keys {
        let text = format!(
            "[balancer]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\n\
             protocol = \"tcp\"\nprobe = {{ {probe} }}\n"
        );
        parse(&text).keys()
    }

    /// What a change of the probe is told as: each key with both values, if there are any.
    fn told(before: &str, after: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let changes = probed(before).changes_to(&probed(after)).into_iter();
        changes.map(|KeyChange { key, before, after, .. }| (key, before, after)).collect()
    }

    #[test]
    fn secret_of_a_probe_is_told_to_be_another_one_and_not_what_it_is() {
        let http = |secret: &str, query: &str| {
            format!(
                "type = \"http\", path = \"/up?{query}\", headers = {{ Authorization = \"{secret}\", Cookie = \"same\" }}"
            )
        };
        let key = |key: &str| format!("service.web.probe.{key}");
        let change = |name: &str, before: &str, after: &str| {
            (key(name), Some(before.to_owned()), Some(after.to_owned()))
        };
        assert_eq!(
            told(&http("s1", "k=1"), &http("s2", "k=2")),
            [
                change("headers.authorization", "\"(secret)\"", "\"(another secret)\""),
                change("path", "\"/up?(secret)\"", "\"/up?(another secret)\""),
            ]
        );
        let without = "type = \"http\", path = \"/up?k=1\", headers = { Cookie = \"same\" }";
        let added = (key("headers.authorization"), None, Some("\"(secret)\"".to_owned()));
        assert_eq!(told(without, &http("s1", "k=1")), [added]);
        assert_eq!(
            told(
                "type = \"exec\", command = [\"/bin/c\", \"p1\"]",
                "type = \"exec\", command = [\"/bin/c\", \"p2\"]"
            ),
            [change("command", "[\"/bin/c\",\"(secret)\"]", "[\"/bin/c\",\"(another secret)\"]")]
        );
    }

    #[test]
    fn changes_to_two_secrets_are_two_changes() {
        let send = |payload: &str| probed(&format!("type = \"agent\", port = 7, send = \"{payload}\""));
        let of = |after: &str| send("s1").changes_to(&send(after));
        assert_eq!(of("s1"), []);
        assert_eq!(of("s2")[0].after, of("s3")[0].after);
        assert_ne!(of("s2"), of("s3"), "who has agreed to one has not agreed to the other");
    }

    #[test]
    fn seed_is_not_told() {
        let seed = "00112233445566778899aabbccddeeff";
        let text = format!("[balancer]\ninterfaces = [\"eth0\"]\n[fleet]\nseed = \"{seed}\"\n");
        let keys = format!("{:?}", parse(&text).keys());
        assert!(!keys.contains(seed) && keys.contains("fingerprint"), "{keys}");
    }
}
