//! `[balancer.api]`: where the admin API listens beside its socket, and who may use it there.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    file::Located,
    schema,
    section::{Entry, Section},
};

/// Where the admin API listens beside its socket, and who may use it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Address and port.
    pub listen: SocketAddr,
    /// File with hashes of tokens, and their roles.
    pub tokens: Option<PathBuf>,
    /// What the daemon shows of itself; none: plain HTTP.
    pub certificate: Option<Certificate>,
    /// Whose certificates are taken; none: nobody's.
    pub clients: Option<Clients>,
    /// Names that requests may call this host by, beside its addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// A certificate and its key, as files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, and those between it and its authority.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Clients that have certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// File with the authorities, in PEM.
    pub authority: PathBuf,
    /// Names in certificates of operators; others may read.
    pub operators: Vec<String>,
}

/// Reads `[balancer.api]`, if it is there.
pub(super) fn api(balancer: &Section<'_>) -> Option<Api> {
    let section = balancer.section("api", &schema::API)?;
    let listen = section.required("listen", "listen = \"127.0.0.1:9901\"", listen);
    let tokens = section.optional("tokens", Entry::path).map(|path| path.value);
    let hosts = section.optional("hosts", |entry| names(entry, "host names"));
    let certificate = certificate(&section);
    let clients = clients(&section, certificate.is_some());
    let listen = listen?;
    let api = Api {
        listen: listen.value,
        tokens,
        certificate,
        clients,
        hosts: hosts.map(|hosts| hosts.value).unwrap_or_default(),
    };
    refuse_open_doors(&section, &listen, &api);
    Some(api)
}

/// Whoever can send packets to this host can reach it there, and whoever is on the way can read along.
fn refuse_open_doors(section: &Section<'_>, listen: &Located<SocketAddr>, api: &Api) {
    let refuse = |message: &str, expected: &str| {
        let message = format!("{} is no loopback address, and {message}", listen.value.ip());
        section.file.report(section.file.error(&listen.place, message).expected(expected));
    };
    if listen.value.ip().is_loopback() {
        return;
    }
    if api.tokens.is_none() && api.clients.is_none() && !section.mentions("client_ca") {
        refuse(
            "nobody there has to say who he is",
            "add `tokens = \"/etc/sluice/tokens\"` or `client_ca`, or listen on 127.0.0.1",
        );
    } else if api.certificate.is_none() && !section.mentions("certificate") {
        refuse("tokens would travel in clear", "add `certificate` and `key`, or listen on 127.0.0.1");
    }
}

fn listen(entry: &Entry<'_>) -> Option<SocketAddr> {
    const EXPECTED: &str = "expected an address and a port, such as \"127.0.0.1:9901\" or \"[::1]:9901\"";
    let text = entry.string("an address and a port")?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Some(address),
        _ => entry.refuse(format!("{} cannot be listened on", entry.excerpt()), EXPECTED),
    }
}

fn certificate(section: &Section<'_>) -> Option<Certificate> {
    let certificate = section.optional("certificate", Entry::path);
    let key = section.optional("key", Entry::path);
    if section.mentions("certificate") && !section.mentions("key") {
        section.refuse_absence("key", "key = \"/etc/sluice/api.key\"");
    }
    if section.mentions("key") && !section.mentions("certificate") {
        section.refuse_absence("certificate", "certificate = \"/etc/sluice/api.crt\"");
    }
    Some(Certificate { chain: certificate?.value, key: key?.value })
}

fn clients(section: &Section<'_>, has_certificate: bool) -> Option<Clients> {
    let authority = section.optional("client_ca", Entry::path);
    let operators = section.optional("operators", |entry| names(entry, "names of certificates"));
    if section.mentions("operators") && !section.mentions("client_ca") {
        section.refuse_absence("client_ca", "client_ca = \"/etc/sluice/clients.crt\"");
    }
    let authority = authority?;
    if !has_certificate && !section.mentions("certificate") {
        let error = section.file.error(&authority.place, "certificates of clients need TLS");
        section.file.report(error.expected("add `certificate` and `key`"));
    }
    let operators = operators.map(|operators| operators.value).unwrap_or_default();
    Some(Clients { authority: authority.value, operators })
}

fn names(entry: &Entry<'_>, what: &str) -> Option<Vec<String>> {
    Some(entry.list(what)?.iter().filter_map(name).collect())
}

fn name(entry: &Entry<'_>) -> Option<String> {
    let text = entry.string("a name")?;
    if !text.is_empty() && !text.contains(char::is_whitespace) {
        return Some(text.to_owned());
    }
    entry.refuse(format!("{} is not a name", entry.excerpt()), "expected a name without spaces")
}
