//! The keys of `[service.probe]` that depend on its type, and the check that they add up to.

mod read;

use std::{ops::RangeInclusive, path::PathBuf};

use hyper::{HeaderMap, Method, http::uri::PathAndQuery};
use simple_dns::{RCODE, TYPE};

use super::{
    super::{
        Check, DnsCheck, GrpcCheck, HttpCheck, HttpVersion, Rcode, Record, TlsCheck, Trust, UdpCheck,
        file::Place,
        section::{Entry, Section},
    },
    kind::{Kind, OWNERS},
};

/// What a name server answers that has what it is asked for.
const NOERROR: Rcode = Rcode(RCODE::NoError, "NOERROR");

/// What an address is asked for by.
const A: Record = Record(TYPE::A, "A");

const VERSIONS: &[(&str, HttpVersion)] = &[("1.1", HttpVersion::One), ("2", HttpVersion::Two)];

/// What is written down, each where it is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Details {
    /// The keys that are written, right or wrong.
    written: Vec<(&'static str, Place)>,
    method: Option<Method>,
    path: Option<PathAndQuery>,
    host: Option<String>,
    headers: HeaderMap,
    status: Option<Vec<RangeInclusive<u16>>>,
    body: Option<String>,
    http_version: Option<HttpVersion>,
    verify: Option<bool>,
    ca: Option<PathBuf>,
    server_name: Option<String>,
    tls: Option<bool>,
    grpc_service: Option<String>,
    send: Option<Vec<u8>>,
    expect: Option<Vec<u8>>,
    query: Option<String>,
    record: Option<Record>,
    rcode: Option<Rcode>,
    command: Option<Vec<String>>,
}

impl Details {
    /// None where the table has no such keys at all: `[defaults.probe]`.
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        if !section.knows("method") {
            return None;
        }
        let written = OWNERS.iter().filter(|(key, _)| section.has(key));
        Some(Self {
            written: written.map(|(key, _)| (*key, section.place_of(key))).collect(),
            method: value(section, "method", read::method),
            path: value(section, "path", read::path),
            host: value(section, "host", read::host),
            headers: value(section, "headers", read::headers).unwrap_or_default(),
            status: value(section, "status", read::status),
            body: value(section, "body", |entry| read::text(entry, "what the body has to hold")),
            http_version: value(section, "http_version", |entry| entry.choice(VERSIONS)),
            verify: value(section, "verify", Entry::boolean),
            ca: value(section, "ca", Entry::path),
            server_name: value(section, "server_name", read::server_name),
            tls: value(section, "tls", Entry::boolean),
            grpc_service: value(section, "grpc_service", |entry| read::text(entry, "a gRPC service's name")),
            send: value(section, "send", read::bytes),
            expect: value(section, "expect", read::bytes),
            query: value(section, "query", read::domain),
            record: value(section, "record", |entry| entry.choice(read::RECORDS)),
            rcode: value(section, "rcode", |entry| entry.choice(read::RCODES)),
            command: value(section, "command", read::command),
        })
    }

    /// What a probe of `kind` does; none where a mistake has been reported.
    pub(super) fn check(&self, kind: Kind, service: &Section<'_>) -> Option<Check> {
        self.refuse_strangers(kind, service)?;
        Some(match kind {
            Kind::Tcp | Kind::None => Check::Tcp,
            Kind::Http => Check::Http(Box::new(self.http(None))),
            Kind::Https => Check::Http(Box::new(self.http(Some(self.tls(service)?)))),
            Kind::Tls => Check::Tls(self.tls(service)?),
            Kind::Grpc => Check::Grpc(self.grpc(service)?),
            Kind::Udp => Check::Udp(UdpCheck {
                send: self.send.clone().unwrap_or_default(),
                expect: self.expect.clone().unwrap_or_default(),
            }),
            Kind::Dns => Check::Dns(self.dns(service)?),
            Kind::Icmp => Check::Icmp,
            Kind::Exec => Check::Exec(self.command(service)?),
            Kind::Agent => Check::Agent { send: self.send.clone().unwrap_or_default() },
        })
    }

    /// Reports the first key that means nothing to a probe of `kind`.
    fn refuse_strangers(&self, kind: Kind, service: &Section<'_>) -> Option<()> {
        for (key, place) in &self.written {
            let owners = OWNERS.iter().find(|(owned, _)| owned == key).map_or(&[][..], |(_, owners)| owners);
            if owners.contains(&kind) {
                continue;
            }
            let names: Vec<_> = owners.iter().map(|owner| format!("\"{}\"", owner.name())).collect();
            let message = format!("a probe of type {} has no `{key}`", kind.name());
            let error = service.file.error(place, message);
            service.file.report(error.expected(format!(
                "expected `type = {}` beside it, or the key to be taken out",
                names.join(" or ")
            )));
            return None;
        }
        Some(())
    }

    fn http(&self, tls: Option<TlsCheck>) -> HttpCheck {
        HttpCheck {
            method: self.method.clone().unwrap_or(Method::GET),
            path: self.path.clone().unwrap_or_else(|| PathAndQuery::from_static("/")),
            host: self.host.clone(),
            headers: self.headers.clone(),
            status: self.status.clone().unwrap_or_else(|| vec![200..=299]),
            body: self.body.clone(),
            version: self.http_version.unwrap_or(HttpVersion::One),
            tls: tls.map(|tls| self.named_by_host(tls)),
        }
    }

    /// A virtual host's certificate is in its own name.
    fn named_by_host(&self, tls: TlsCheck) -> TlsCheck {
        let host = || self.host.as_deref().and_then(read::name_of_host);
        TlsCheck { server_name: tls.server_name.or_else(host), ..tls }
    }

    fn tls(&self, service: &Section<'_>) -> Option<TlsCheck> {
        if self.verify == Some(false) && self.ca.is_some() {
            return self.refuse("ca", service, "certificates are not verified", "expected `verify = true`");
        }
        let trust = match (&self.ca, self.verify) {
            (_, Some(false)) => Trust::Anybody,
            (Some(path), _) => Trust::File(path.clone()),
            (None, _) => Trust::System,
        };
        Some(TlsCheck { trust, server_name: self.server_name.clone() })
    }

    fn grpc(&self, service: &Section<'_>) -> Option<GrpcCheck> {
        let protected = self.tls == Some(true);
        let stranger = ["verify", "ca", "server_name"].into_iter().find(|key| self.place(key).is_some());
        if let Some(key) = stranger.filter(|_| !protected) {
            return self.refuse(key, service, "the connection is not protected", "expected `tls = true`");
        }
        let tls = if protected { Some(self.tls(service)?) } else { None };
        Some(GrpcCheck { service: self.grpc_service.clone().unwrap_or_default(), tls })
    }

    fn dns(&self, service: &Section<'_>) -> Option<DnsCheck> {
        let name =
            self.required(self.query.as_ref(), ("query", "query = \"health.example.org\""), service)?;
        Some(DnsCheck {
            name: name.clone(),
            record: self.record.unwrap_or(A),
            rcode: self.rcode.unwrap_or(NOERROR),
        })
    }

    fn command(&self, service: &Section<'_>) -> Option<Vec<String>> {
        let example = ("command", "command = [\"/usr/local/bin/check\", \"--quick\"]");
        self.required(self.command.as_ref(), example, service).cloned()
    }

    fn required<'a, T>(
        &self,
        value: Option<&'a T>,
        (key, example): (&str, &str),
        service: &Section<'_>,
    ) -> Option<&'a T> {
        // What is there and wrong has been reported.
        if value.is_none() && self.place(key).is_none() {
            let message = format!("missing key `{key}` in [service.probe]");
            let error = service.file.error(&service.place_of("probe"), message);
            service.file.report(error.expected(format!("add `{example}`")));
        }
        value
    }

    fn refuse<T>(&self, key: &str, service: &Section<'_>, why: &str, expected: &str) -> Option<T> {
        let place = self.place(key).cloned().unwrap_or_default();
        let error = service.file.error(&place, format!("`{key}` means nothing: {why}"));
        service.file.report(error.expected(format!("{expected} beside it, or the key to be taken out")));
        None
    }

    fn place(&self, key: &str) -> Option<&Place> {
        self.written.iter().find(|(written, _)| *written == key).map(|(_, place)| place)
    }
}

fn value<'a, T>(section: &Section<'a>, key: &str, read: impl FnOnce(&Entry<'a>) -> Option<T>) -> Option<T> {
    section.optional(key, read).map(|located| located.value)
}
