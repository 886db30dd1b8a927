//! What keeps web pages of others from using a browser of this host as their hand.
//!
//! A page can point its own name at 127.0.0.1 (DNS rebinding), which the header `Host` then shows; and it can have a
//! browser send requests with a certificate or from inside a network, which the header `Origin` shows.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{
        HeaderMap, Method, StatusCode,
        header::{HOST, ORIGIN},
        uri::Authority,
    },
};

use super::refused::Failure;

/// Whether this may be a request that nobody was led to send. `names` are this host's.
///
/// # Errors
///
/// Where another page has a part in it.
pub(super) fn check(request: &Request, names: &[String]) -> Result<(), Failure> {
    let headers = request.headers();
    let host = host(request).ok_or_else(|| Failure::bad("a request over TCP needs one header `Host`"))?;
    if !is_own(host.host(), names) {
        let error = format!("this host is not called {}", host.host());
        return Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, error)
            .remedy("use its address, or have the name in balancer.api.hosts"));
    }
    let only_reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if !only_reads && headers.contains_key(ORIGIN) && !is_from(headers, &host) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "another web page has sent this request"));
    }
    Ok(())
}

/// The host that the request calls this one; none where it does not, or twice.
fn host(request: &Request) -> Option<Authority> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next()?.to_str().ok()?.parse().ok()?;
    hosts.next().is_none().then_some(host)
}

/// An address is nobody's to point elsewhere.
fn is_own(host: &str, names: &[String]) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

fn is_from(headers: &HeaderMap, host: &Authority) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = origins.next().and_then(|origin| origin.to_str().ok());
    let authority = origin.and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
        && origins.next().is_none()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn status(method: &str, headers: &[(&str, &str)]) -> u16 {
        let request = headers
            .iter()
            .fold(Request::builder().method(method), |request, (name, value)| request.header(*name, *value));
        let names = ["lb1.example.net".to_owned()];
        check(&request.body(Body::empty()).unwrap(), &names)
            .map_or_else(|failure| failure.status().as_u16(), |()| 200)
    }

    #[test]
    fn host_is_an_address_or_a_name_of_this_host() {
        let table = [
            ("127.0.0.1:9901", 200),
            ("127.0.0.1", 200),
            ("[::1]:9901", 200),
            ("LocalHost:9901", 200),
            ("lb1.example.net:9901", 200),
            ("lb1.example.net.evil.example", 421),
            ("evil.example:9901", 421),
            ("", 400),
        ];
        for (host, expected) in table {
            assert_eq!(status("GET", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(status("GET", &[]), 400);
        assert_eq!(status("GET", &[("host", "127.0.0.1"), ("host", "evil.example")]), 400);
    }

    #[test]
    fn page_of_another_origin_changes_nothing() {
        let host = ("host", "127.0.0.1:9901");
        let table = [
            ("PUT", "http://127.0.0.1:9901", 200),
            ("PUT", "http://127.0.0.1:8080", 403),
            ("DELETE", "https://evil.example", 403),
            ("POST", "null", 403),
            ("GET", "https://evil.example", 200),
        ];
        for (method, origin, expected) in table {
            assert_eq!(status(method, &[host, ("origin", origin)]), expected, "{method} {origin}");
        }
        assert_eq!(status("PUT", &[host]), 200);
    }
}
