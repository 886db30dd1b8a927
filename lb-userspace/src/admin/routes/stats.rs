//! `GET /stats/prometheus` and `GET /stats`: metrics for scrapers, and for people.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{ask::Daemon, read::Query, refused::Failure},
    daemon::Event,
    metrics::{Exposition, Format, Process, expose},
};

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(prometheus)).routes(routes!(stats))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Scraped {
    /// Whether the metrics of single backends are wanted, which are most of an answer where there are many.
    #[serde(default = "yes")]
    backends: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Lines that do not hold this are left out.
    #[serde(default)]
    filter: String,
}

const fn yes() -> bool {
    true
}

/// All metrics, for a scraper
///
/// As `OpenMetrics` where that is accepted, otherwise in Prometheus' own text format. docs/metrics.md tells what they mean.
#[utoipa::path(
    get,
    path = "/stats/prometheus",
    tag = "metrics",
    params(Scraped),
    responses(
        (status = OK, content(
            (String = "text/plain; version=0.0.4"),
            (String = "application/openmetrics-text; version=1.0.0"),
        ), description = "All metrics"),
    )
)]
async fn prometheus(
    State(daemon): State<Daemon>,
    Query(Scraped { backends }): Query<Scraped>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Failure> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let text = written(look(&daemon, backends).await?, format)?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text))
}

/// All metrics, a line each
///
/// Histograms without their buckets.
#[utoipa::path(
    get,
    path = "/stats",
    tag = "metrics",
    params(Filter),
    responses(
        (status = OK, body = String, content_type = "text/plain", description = "`name{labels}: value`"),
    )
)]
async fn stats(
    State(daemon): State<Daemon>,
    Query(Filter { filter }): Query<Filter>,
) -> Result<String, Failure> {
    let text = written(look(&daemon, true).await?, Format::Prometheus)?;
    Ok(lines(&text, &filter))
}

async fn look(daemon: &Daemon, backends: bool) -> Result<Exposition, Failure> {
    let mut snapshot = daemon.ask(Event::Metrics).await?;
    snapshot.events.0 = daemon.waiting();
    Ok(expose(&snapshot, Process::read().ok().as_ref(), backends))
}

fn written(exposition: Exposition, format: Format) -> Result<String, Failure> {
    exposition.written(format).map_err(|_| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "a metric has a value that cannot be written")
    })
}

/// What people read of an exposition.
fn lines(text: &str, filter: &str) -> String {
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
    let line = |sample: &str| sample.rsplit_once(' ').map(|(name, value)| format!("{name}: {value}\n"));
    samples.filter_map(line).filter(|line| line.contains(filter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_a_sample_that_holds_the_filter() {
        let text = "# TYPE a counter\na_total{x=\"y z\"} 1\nb_bucket{le=\"1\"} 2\nb_sum 0.5\n";
        assert_eq!(lines(text, ""), "a_total{x=\"y z\"}: 1\nb_sum: 0.5\n");
        assert_eq!(lines(text, "b_"), "b_sum: 0.5\n");
    }
}
