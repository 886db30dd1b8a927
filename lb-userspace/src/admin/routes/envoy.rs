//! `GET /config_dump`, and `GET /clusters` and `GET /listeners` in the text that Envoy's users know, as far as there is something to tell.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{
        ask::Daemon,
        refused::{Failure, Refused},
        status::{Backend, Service, Status},
    },
    config::Effective,
    daemon::{Event, StatusEvent},
};

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(clusters)).routes(routes!(listeners)).routes(routes!(config_dump))
}

/// Services and backends, as Envoy tells of clusters and hosts
///
/// Lines of `service::key::value` and `service::address::key::value`.
#[utoipa::path(
    get,
    path = "/clusters",
    tag = "status",
    responses(
        (status = OK, body = String, content_type = "text/plain", description = "All of them"),
        (status = SERVICE_UNAVAILABLE, body = Refused, description = "The daemon is about to end"),
    )
)]
async fn clusters(State(daemon): State<Daemon>) -> Result<String, Failure> {
    Ok(status(&daemon).await?.services.iter().map(cluster).collect())
}

/// What clients connect to, as Envoy tells of listeners
///
/// A line of `service::address:port` for each; port 0 is every port.
#[utoipa::path(
    get,
    path = "/listeners",
    tag = "status",
    responses(
        (status = OK, body = String, content_type = "text/plain", description = "All of them"),
        (status = SERVICE_UNAVAILABLE, body = Refused, description = "The daemon is about to end"),
    )
)]
async fn listeners(State(daemon): State<Daemon>) -> Result<String, Failure> {
    let listener =
        |service: &Service| format!("{}::{}\n", service.name, socket(service.address, service.port));
    Ok(status(&daemon).await?.services.iter().map(listener).collect())
}

/// The configuration that runs
///
/// By the keys of the file, with all defaults, and without what is secret.
#[utoipa::path(
    get,
    path = "/config_dump",
    tag = "status",
    responses(
        (status = OK, body = Effective, description = "All of it, with a digest"),
        (status = SERVICE_UNAVAILABLE, body = Refused, description = "The daemon is about to end"),
    )
)]
async fn config_dump(State(daemon): State<Daemon>) -> Result<Json<Effective>, Failure> {
    let config = daemon.ask(Event::Config).await?;
    Ok(Json(Effective::of(&config)))
}

async fn status(daemon: &Daemon) -> Result<Status, Failure> {
    daemon.ask(|answer| Event::Status(StatusEvent { histories: false, answer })).await
}

fn socket(address: IpAddr, port: u16) -> SocketAddr {
    (address, port).into()
}

fn cluster(service: &Service) -> String {
    let name = &service.name;
    let mut text = String::new();
    let general: [(&str, &dyn std::fmt::Display); 5] = [
        ("observability_name", name),
        ("table_digest", &service.digest),
        ("table_generation", &service.generation),
        ("available", &service.available),
        ("added_via_api", &false),
    ];
    for (key, value) in general {
        let _ = writeln!(text, "{name}::{key}::{value}");
    }
    for backend in &service.backends {
        host(&mut text, service, backend);
    }
    text
}

fn host(text: &mut String, service: &Service, backend: &Backend) {
    let address = socket(backend.address, service.port);
    let opened = backend.opened_flows.map(|opened| opened.to_string());
    let location = backend.location.as_deref().unwrap_or_default();
    let facts: [(&str, &dyn std::fmt::Display); 10] = [
        ("cx_active", &backend.tracked_flows),
        ("cx_total", &opened.as_deref().unwrap_or_default()),
        ("packets", &backend.traffic.packets),
        ("bytes", &backend.traffic.bytes),
        ("hostname", &backend.name),
        ("health_flags", &health_flags(backend)),
        ("weight", &backend.weight),
        ("zone", &location),
        ("priority", &backend.priority),
        ("share", &backend.share),
    ];
    for (key, value) in facts {
        if key != "cx_total" || opened.is_some() {
            let _ = writeln!(text, "{}::{address}::{key}::{value}", service.name);
        }
    }
}

/// Envoy's words: what failed its probes, what is taken out by the operator, what is about to go.
fn health_flags(backend: &Backend) -> String {
    let flags = [
        (backend.health == "down", "/failed_active_hc"),
        (backend.health == "unknown", "/pending_active_hc"),
        (matches!(backend.admin.as_str(), "drain" | "maintenance"), "/failed_eds_health"),
        (backend.admin == crate::admin::status::LEAVING, "/pending_dynamic_removal"),
    ];
    let told: String = flags.iter().filter(|(is, _)| *is).map(|(_, flag)| *flag).collect();
    if told.is_empty() { "healthy".to_owned() } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{backend, service};

    #[test]
    fn cluster_has_a_line_for_each_fact() {
        let down = Backend { health: "down".to_owned(), admin: "drain".to_owned(), ..backend("web-2") };
        let text = cluster(&service("web", vec![backend("web-1"), down]));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.contains(&"web::192.0.2.11:80::hostname::web-1"), "{text}");
        assert!(lines.contains(&"web::192.0.2.11:80::health_flags::healthy"), "{text}");
        assert!(
            lines.contains(&"web::192.0.2.11:80::health_flags::/failed_active_hc/failed_eds_health"),
            "{text}"
        );
        assert!(lines.contains(&"web::192.0.2.11:80::cx_total::0"), "{text}");
        let untold = cluster(&service("dns", vec![Backend { opened_flows: None, ..backend("dns-1") }]));
        assert!(!untold.contains("cx_total"), "flows that are not counted are not told of: {untold}");
    }
}
