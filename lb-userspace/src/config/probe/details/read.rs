//! Single values of a probe: what can be sent, named, asked for and run.

use std::ops::RangeInclusive;

use hyper::{
    HeaderMap, Method,
    header::{HeaderName, HeaderValue},
    http::uri::{Authority, PathAndQuery},
};
use rustls::pki_types::ServerName;
use simple_dns::{Name, RCODE, TYPE};
use toml::de::DeValue;

use super::super::{
    super::{Rcode, Record, file::Place, section::Entry, value::in_range},
    STATUSES,
};

pub(super) const RECORDS: &[(&str, Record)] = &[
    ("A", Record(TYPE::A, "A")),
    ("AAAA", Record(TYPE::AAAA, "AAAA")),
    ("CNAME", Record(TYPE::CNAME, "CNAME")),
    ("MX", Record(TYPE::MX, "MX")),
    ("NS", Record(TYPE::NS, "NS")),
    ("PTR", Record(TYPE::PTR, "PTR")),
    ("SOA", Record(TYPE::SOA, "SOA")),
    ("SRV", Record(TYPE::SRV, "SRV")),
    ("TXT", Record(TYPE::TXT, "TXT")),
];

pub(super) const RCODES: &[(&str, Rcode)] = &[
    ("NOERROR", Rcode(RCODE::NoError, "NOERROR")),
    ("NXDOMAIN", Rcode(RCODE::NameError, "NXDOMAIN")),
    ("REFUSED", Rcode(RCODE::Refused, "REFUSED")),
];

pub(super) fn method(entry: &Entry<'_>) -> Option<Method> {
    let text = entry.string("a method such as \"GET\"")?;
    let fits = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT) | Err(_) => refuse_method(entry),
        Ok(method) if fits => Some(method),
        Ok(_) => refuse_method(entry),
    }
}

fn refuse_method(entry: &Entry<'_>) -> Option<Method> {
    entry.refuse(format!("{} is not a method", entry.excerpt()), "expected one such as \"GET\" or \"HEAD\"")
}

pub(super) fn path(entry: &Entry<'_>) -> Option<PathAndQuery> {
    let text = entry.string("a path such as \"/health\"")?;
    match PathAndQuery::try_from(text) {
        Ok(path) if text.starts_with('/') && path.as_str() == text => Some(path),
        _ => entry.refuse(
            format!("{} is not a path", entry.excerpt()),
            "expected one that starts with `/`, with other characters than those of a URL as %20",
        ),
    }
}

pub(super) fn host(entry: &Entry<'_>) -> Option<String> {
    let text = entry.string("a host such as \"www.example.org\"")?;
    match Authority::try_from(text) {
        Ok(host) if !text.contains('@') => Some(host.as_str().to_owned()),
        _ => entry.refuse(
            format!("{} is not a host", entry.excerpt()),
            "expected a name or an address, with its port or without: \"www.example.org:8080\"",
        ),
    }
}

/// The name in a certificate that a host would have.
pub(super) fn name_of_host(host: &str) -> Option<String> {
    let authority = Authority::try_from(host).ok()?;
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(name).is_ok().then(|| name.to_owned())
}

pub(super) fn headers(entry: &Entry<'_>) -> Option<HeaderMap> {
    let DeValue::Table(table) = entry.value else {
        return entry.refuse_type("expected a table such as { \"X-Probe\" = \"sluice\" }");
    };
    let mut headers = HeaderMap::new();
    for (name, value) in table {
        let place =
            Place { key: format!("{}.{}", entry.place.key, name.get_ref()), span: Some(value.span()) };
        let entry = Entry { file: entry.file, place, value: value.get_ref() };
        let (name, value) = header(&entry, name.get_ref())?;
        headers.append(name, value);
    }
    Some(headers)
}

fn header(entry: &Entry<'_>, name: &str) -> Option<(HeaderName, HeaderValue)> {
    // Those say how the request goes on, which is not for the file to say.
    const OWN: [&str; 4] = ["host", "connection", "content-length", "transfer-encoding"];
    let value = entry.string("a header's value")?;
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return entry.refuse(format!("{name:?} is not a header's name"), "expected one such as X-Probe");
    };
    if OWN.contains(&name.as_str()) {
        return entry.refuse(
            format!("`{name}` is not for a probe to choose"),
            "expected another header; the host has a key of its own, `host`",
        );
    }
    match HeaderValue::from_str(value) {
        Ok(value) => Some((name, value)),
        Err(_) => entry.refuse(
            format!("{} is not a header's value", entry.excerpt()),
            "expected visible ASCII characters and spaces",
        ),
    }
}

/// Numbers and ranges, as in `[200, "300-399"]`.
pub(super) fn status(entry: &Entry<'_>) -> Option<Vec<RangeInclusive<u16>>> {
    let entries = entry.list("statuses")?;
    if entries.is_empty() {
        return entry.refuse("no status would be right", "expected at least one, such as [200]");
    }
    entries.iter().map(status_range).collect()
}

fn status_range(entry: &Entry<'_>) -> Option<RangeInclusive<u16>> {
    const EXPECTED: &str = "expected 100 to 599, or a range such as \"200-299\"";
    let range = match entry.value {
        DeValue::Integer(integer) => in_range(integer, &STATUSES).map(|status| (status, status)),
        DeValue::String(text) => text.split_once('-').and_then(|(from, to)| {
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (STATUSES.contains(&from) && STATUSES.contains(&to) && from <= to).then_some((from, to))
        }),
        _ => return entry.refuse_type(EXPECTED),
    };
    match range {
        Some((from, to)) => Some(from as u16..=to as u16),
        None => entry.refuse(format!("{} is not a status", entry.excerpt()), EXPECTED),
    }
}

/// A text that is not empty, and short enough to be looked for.
pub(super) fn text(entry: &Entry<'_>, what: &str) -> Option<String> {
    const MAX_BYTES: usize = 1024;
    let text = entry.string(what)?;
    if (1..=MAX_BYTES).contains(&text.len()) {
        return Some(text.to_owned());
    }
    entry.refuse(format!("{} is not {what}", entry.excerpt()), format!("expected 1 to {MAX_BYTES} bytes"))
}

pub(super) fn server_name(entry: &Entry<'_>) -> Option<String> {
    let text = entry.string("a name such as \"www.example.org\"")?;
    if ServerName::try_from(text).is_ok() {
        return Some(text.to_owned());
    }
    entry.refuse(
        format!("{} is not a server's name", entry.excerpt()),
        "expected a host name or an address, without a port",
    )
}

pub(super) fn domain(entry: &Entry<'_>) -> Option<String> {
    let text = entry.string("a name such as \"health.example.org\"")?;
    let bare = text.strip_suffix('.').unwrap_or(text);
    let is_fit = |label: &str| (1..=63).contains(&label.len()) && label.is_ascii();
    if bare.len() <= 253 && bare.split('.').all(is_fit) && Name::new(bare).is_ok() {
        return Some(bare.to_owned());
    }
    entry.refuse(
        format!("{} is not a domain name", entry.excerpt()),
        "expected labels of 1 to 63 ASCII characters between dots",
    )
}

/// A text, or `hex:` and pairs of hexadecimal digits.
pub(super) fn bytes(entry: &Entry<'_>) -> Option<Vec<u8>> {
    const MAX_BYTES: usize = 1024;
    let text = entry.string("bytes as a text, or as \"hex:00ff\"")?;
    let bytes = match text.strip_prefix("hex:") {
        Some(digits) => unhex(digits),
        None => Some(text.as_bytes().to_vec()),
    };
    match bytes {
        Some(bytes) if bytes.len() <= MAX_BYTES => Some(bytes),
        Some(_) => entry.refuse(
            format!("{} is too long", entry.excerpt()),
            format!("expected at most {MAX_BYTES} bytes"),
        ),
        None => entry.refuse(
            format!("{} is not in hexadecimal digits", entry.excerpt()),
            "expected pairs of them after `hex:`, such as \"hex:00ff\"",
        ),
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

/// An absolute path and its arguments.
pub(super) fn command(entry: &Entry<'_>) -> Option<Vec<String>> {
    let entries = entry.list("a program and its arguments")?;
    let Some(program) = entries.first() else {
        return entry.refuse("there is no program", "expected [\"/path/of/it\", \"argument\", …]");
    };
    program.path()?;
    entries.iter().map(argument).collect()
}

fn argument(entry: &Entry<'_>) -> Option<String> {
    let text = entry.string("an argument")?;
    if text.contains('\0') {
        return entry.refuse(format!("{} holds a NUL", entry.excerpt()), "expected an argument without one");
    }
    Some(text.to_owned())
}
