//! `POST /v1/capture` and `POST /v1/trace`: packets as they arrive and leave, for as long as somebody looks.

use std::{convert::Infallible, sync::Arc, thread::available_parallelism, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use aya::maps::{MapData, RingBuf};
use futures_util::stream::unfold;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
    task::{spawn, spawn_blocking},
    time::{Instant, sleep_until},
};
use tracing::info;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{
        ask::Daemon,
        capture::{Decision, Request, Untold},
        read::json,
        refused::{Failure, Refused},
    },
    capture::{Captured, decision::decision, pcapng::File},
    causes::with_causes,
    daemon::{BeginCapture, EndCapture, Event, boot},
    dataplane::{
        capture::{CaptureProgram, Ring},
        load::Knobs,
    },
    names::Names,
};

/// Packets that are written at once.
const AT_ONCE: usize = 256;

/// How often names are asked for anew, since services come and go meanwhile.
const NAMES: Duration = Duration::from_secs(2);

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(capture)).routes(routes!(trace))
}

/// Captures packets
///
/// As a pcapng file that goes on until the time is over, the packets are enough, or whoever asked has heard enough. Each
/// packet is there as it arrives and as it leaves, with what was decided as its comment. A program that tells of packets
/// takes the place of the one that balances meanwhile; there is one such at a time.
#[utoipa::path(
    post,
    path = "/v1/capture",
    tag = "packets",
    request_body = Request,
    responses(
        (status = OK, description = "The file", content_type = "application/x-pcapng"),
        (status = CONFLICT, body = Refused, description = "Somebody else looks, or the program has changed meanwhile"),
        (status = INTERNAL_SERVER_ERROR, body = Refused, description = "The kernel does not take the program"),
    )
)]
async fn capture(State(daemon): State<Daemon>, body: Bytes) -> Result<Response, Failure> {
    let request = json::<Request>(&body)?;
    let looking = Looking::begin(daemon, &request).await?;
    let broken =
        |error: pcap_file::PcapError| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let mut file = File::begin(looking.keep, boot()).map_err(broken)?;
    let begun = file.take();
    let format = move |captured: &[Captured], names: &Names, untold: Option<Untold>| {
        // Into memory, where nothing is refused.
        for one in captured {
            drop(file.add(one, names));
        }
        if let Some(untold) = untold {
            drop(file.end(&untold));
        }
        file.take()
    };
    Ok(([(CONTENT_TYPE, "application/x-pcapng")], looking.stream(begun, format)).into_response())
}

/// Follows decisions about packets
///
/// As lines of JSON, each a `Decision`, until the time is over, the packets are enough, or whoever asked has heard enough.
/// The last line says how many could not be told of, where there were such.
#[utoipa::path(
    post,
    path = "/v1/trace",
    tag = "packets",
    request_body = Request,
    responses(
        (status = OK, body = Decision, description = "One for each packet", content_type = "application/x-ndjson"),
        (status = CONFLICT, body = Refused, description = "Somebody else looks, or the program has changed meanwhile"),
        (status = INTERNAL_SERVER_ERROR, body = Refused, description = "The kernel does not take the program"),
    )
)]
async fn trace(State(daemon): State<Daemon>, body: Bytes) -> Result<Response, Failure> {
    let request = json::<Request>(&body)?;
    let looking = Looking::begin(daemon, &request).await?;
    let boot = boot();
    let format = move |captured: &[Captured], names: &Names, untold: Option<Untold>| {
        let mut lines: Vec<_> = captured
            .iter()
            .filter_map(|one| serde_json::to_string(&decision(one, names, boot)).ok())
            .collect();
        lines.extend(untold.filter(Untold::is_any).and_then(|untold| serde_json::to_string(&untold).ok()));
        lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
    };
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], looking.stream(Vec::new(), format)).into_response())
}

/// Somebody who looks at packets.
struct Looking {
    records: AsyncFd<RingBuf<MapData>>,
    ring: Ring,
    /// Told by its end that the program runs no more.
    ended: oneshot::Receiver<()>,
    names: Arc<Names>,
    names_at: Instant,
    until: Instant,
    /// Packets that are still wanted.
    left: u64,
    keep: u32,
    is_over: bool,
    guard: Guard,
}

/// Has the program of before take its place again, whatever ends the looking.
struct Guard {
    daemon: Daemon,
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (daemon, id) = (self.daemon.clone(), self.id);
        spawn(async move { daemon.ask(|answer| Event::EndCapture(EndCapture { id, answer })).await });
    }
}

impl Looking {
    async fn begin(daemon: Daemon, request: &Request) -> Result<Self, Failure> {
        let scene = daemon.ask(Event::Scene).await?;
        let cpus = available_parallelism().map_or(1, |cpus| cpus.get() as u32);
        let bad =
            |(key, error, remedy): crate::admin::capture::Wrong| Failure::bad(error).key(key).remedy(remedy);
        let choice = request.choice(&scene.names, cpus).map_err(bad)?;
        let until = Instant::now() + request.duration().map_err(bad)?;
        let names = Arc::clone(&scene.names);
        // Loading takes the verifier its time, and the daemon's one task has better to do.
        let loaded = spawn_blocking(move || {
            let (limits, seed) = (&scene.config.limits, &scene.config.fleet.seed);
            CaptureProgram::load(Knobs { limits, seed, features: scene.features }, &scene.pin_path, choice)
        });
        let broken = |error: String| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error)
                .remedy("looking at packets needs Linux 5.18")
        };
        let (program, records, ring, ended) =
            loaded.await.map_err(|_| Failure::ending())?.map_err(|error| broken(with_causes(&error)))?;
        let id = program.id();
        #[expect(
            deprecated,
            reason = "the ring owns its descriptor; what is meant to be used instead is unsafe"
        )]
        let records =
            AsyncFd::with_interest(records, Interest::READABLE).map_err(|error| broken(error.to_string()))?;
        let begun =
            daemon.ask(|answer| Event::BeginCapture(BeginCapture { program: Box::new(program), answer }));
        begun.await?.map_err(|error| Failure::new(StatusCode::CONFLICT, error))?;
        info!(?request, "somebody looks at packets");
        Ok(Self {
            records,
            ring,
            ended,
            names,
            names_at: Instant::now(),
            until,
            left: request.count.unwrap_or(u64::MAX),
            keep: choice.keep,
            is_over: false,
            guard: Guard { daemon, id },
        })
    }

    /// What is made of the packets, as a body that goes on.
    fn stream(
        self,
        begun: Vec<u8>,
        format: impl FnMut(&[Captured], &Names, Option<Untold>) -> Vec<u8> + Send + 'static,
    ) -> Body {
        let first = (!begun.is_empty()).then_some(begun);
        Body::from_stream(unfold((self, first, format), |(mut looking, first, mut format)| async move {
            if let Some(first) = first {
                return Some((Ok::<_, Infallible>(first), (looking, None, format)));
            }
            let (captured, untold) = looking.next().await?;
            let chunk = format(&captured, &looking.names, untold);
            Some((Ok(chunk), (looking, None, format)))
        }))
    }

    /// The next packets; at the end what could not be told of; then none.
    async fn next(&mut self) -> Option<(Vec<Captured>, Option<Untold>)> {
        if self.is_over {
            return None;
        }
        loop {
            let captured = self.take();
            self.is_over = self.left == 0 || captured.is_empty() && self.until <= Instant::now();
            if self.is_over {
                let (limited, lost) = self.ring.untold();
                info!(limited, lost, "nobody looks at packets any more");
                return Some((captured, Some(Untold { limited, lost })));
            }
            if !captured.is_empty() {
                self.refresh().await;
                return Some((captured, None));
            }
            tokio::select! {
                ready = self.records.readable_mut() => {
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    // Those that came before it was cleared tell of themselves no more: the ring is asked again.
                }
                () = sleep_until(self.until) => {}
                _ = &mut self.ended => self.until = Instant::now(),
            }
        }
    }

    fn take(&mut self) -> Vec<Captured> {
        let mut captured = Vec::new();
        while captured.len() < AT_ONCE
            && self.left > 0
            && let Some(record) = self.records.get_mut().next()
        {
            let read = Captured::read(&record);
            self.left -= u64::from(read.is_some());
            captured.extend(read);
        }
        captured
    }

    async fn refresh(&mut self) {
        if self.names_at.elapsed() >= NAMES {
            self.names_at = Instant::now();
            if let Ok(scene) = self.guard.daemon.ask(Event::Scene).await {
                self.names = scene.names;
            }
        }
    }
}
