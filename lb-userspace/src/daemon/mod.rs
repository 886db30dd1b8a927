//! The daemon: one task that owns the truth, and the tasks that tell it what changed.
//!
//! | task | tells | owner |
//! | --- | --- | --- |
//! | [`crate::neighbours`] | next hops | netlink sockets |
//! | [`crate::path_mtu`] | that a packet was too big | packet sockets |
//! | [`crate::health`] | health | probes |
//! | `reload` | that the file changed, or SIGHUP | watcher |
//! | [`crate::admin`] | what somebody asks or orders | Unix socket |
//! | [`crate::fleet`] | what other balancers ask and tell | TCP connections |
//!
//! All of them speak through channels, and nothing but this task (`truth`) writes a map.

mod candidate;
mod capture;
mod census;
mod event;
mod file;
mod first_look;
mod inputs;
mod interfaces;
mod layers;
mod manager;
mod maps;
mod preflight;
mod record;
mod reload;
mod remember;
mod truth;
mod verify;

use std::{future::pending, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use lb_common::knobs::FEATURE_COOKIES;
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    net::UnixListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task, time,
};
use tracing::{error, info, warn};

use crate::{
    admin,
    causes::with_causes,
    config::{Config, Diagnostics, Text},
    dataplane::{inherited::Inherited, load, next::NextProgram, pins::Pins},
    fleet,
    interface::Netlink,
    road,
};
pub use candidate::CandidateError;
pub use event::{
    ApplyEvent, BeginCapture, EndCapture, Event, OrderEvent, PlanEvent, RolloutEvent, StatusEvent,
};
use inputs::Inputs;
use interfaces::Attachments;
use layers::Layers;
pub use layers::{EditEvent, EditRefused};
use manager::Manager;
use maps::Opened;
pub(crate) use preflight::{is_old_kernel, missing as missing_capabilities};
use reload::{ListFiles, Reload};
use truth::Truth;

/// Events that may wait; senders wait beyond.
const QUEUE: usize = 1024;

/// What `sluice run` was asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Whether the data plane is taken down when the daemon stops. Otherwise it goes on forwarding.
    pub detach: bool,
}

/// The configuration that a daemon starts with.
struct Start {
    config: Config,
    layers: Layers,
    /// The file's text, which later ones are compared with.
    text: Text,
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
///
/// What keeps it from starting, with the remedy. A running daemon logs its errors and goes on.
pub async fn run(options: Options) -> Result<()> {
    let text = Text::read(&options.config)?;
    let (config, layers) = Layers::start(&options.config, &text)?;
    let start = Start { config, layers, text };
    preflight::check()?;
    let pins = Pins::open(&start.config.balancer.pin_path)?;
    let inherited = !pins.linked_interfaces()?.is_empty();
    let result = listen_and_balance(start, &options, &pins).await;
    take_down_road(&pins).await;
    // A failed start takes back what it did, unless a data plane was forwarding before it.
    let keep = if result.is_ok() { !options.detach } else { inherited };
    if keep {
        info!("stopped; the data plane goes on forwarding as it is, until `sluice detach`");
        return result;
    }
    let removed = pins.remove();
    result?;
    info!("stopped and detached");
    Ok(removed?)
}

/// Probes end with the daemon, whatever ends it.
async fn take_down_road(pins: &Pins) {
    let cleared = match Netlink::open() {
        Ok(netlink) => road::clear(&netlink, pins).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = cleared {
        warn!("something of the road of probes stays, until `sluice detach`: {}", with_causes(&error));
    }
}

/// Holds the admin socket for as long as it balances.
async fn listen_and_balance(start: Start, options: &Options, pins: &Pins) -> Result<()> {
    let socket = start.config.balancer.socket.clone();
    let listener = admin::listen(&socket)?;
    // On the heap, since it holds all that the daemon is.
    let result = Box::pin(balance(start, options, pins, listener)).await;
    let _ = std::fs::remove_file(socket);
    result
}

/// Starts everything and serves until a signal says to stop.
async fn balance(start: Start, options: &Options, pins: &Pins, listener: UnixListener) -> Result<()> {
    let Start { config, layers, text } = start;
    let stop = Stop::watch()?;
    let netlink = Netlink::open()?;
    let mut attachments = Attachments::find(&config, &netlink, pins).await?;
    let next = next_program(&config)?;
    // Connections that cookies have opened outlive what has asked for cookies.
    let spliced = if load::has_splices(pins.path()) { FEATURE_COOKIES } else { 0 };
    let features = attachments.features(&config, &config.services)? | spliced;
    let Opened { dataplane, applied, inherited } = maps::open(&config, features, pins)?;

    let (events, inbox) = mpsc::channel(QUEUE);
    let mut api = admin::Server::new(events.clone());
    api.adopt(api.prepare(&config.balancer)?);
    let (lists, listed) = watch::channel(reload::list_files(&config, &options.config));
    let mut truth = Truth::new(config, options.config.clone(), dataplane, applied, features);
    truth.meters().leases.hold(layers.said().changes());
    truth.specialise(truth.features_of_leaving(), next, pins.path())?;
    truth.prepare_roads(&netlink, pins).await;
    let inputs = Inputs::start(&truth, &events)?;
    let (peers, told) = mpsc::channel(QUEUE);
    task::spawn(inputs::forward(told, events.clone(), Event::Peer));
    let manager = Manager::of_this_process();
    let mut owner =
        Owner { truth, layers, inherited, inbox, inputs, peers, api, lists, netlink, pins, manager };
    let watching = reload::watch(&options.config, text, listed, events);
    owner.api.serve(listener);
    let result = match watching {
        Ok(_watching) => owner.serve(&mut attachments, stop).await,
        Err(error) => Err(error),
    };
    Manager::stopping();
    owner.inputs.stop().await;
    result
}

/// Opens the program that gets what passes.
fn next_program(config: &Config) -> Result<Option<NextProgram>> {
    let path = config.balancer.next_program.as_deref();
    Ok(path.map(NextProgram::open).transpose()?)
}

/// An error as a log says it, which has a word of its own for how grave it is.
fn logged(error: &anyhow::Error) -> String {
    error.downcast_ref().map_or_else(|| with_causes(error.as_ref()), Diagnostics::unnamed)
}

/// Time on the monotonic clock, which `bpf_ktime_get_ns` reads too.
#[must_use]
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// When the monotonic clock began, since 1970.
#[must_use]
pub fn boot() -> Duration {
    since_epoch().saturating_sub(now())
}

/// Time since 1970.
fn since_epoch() -> Duration {
    let time = clock_gettime(ClockId::Realtime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The signals that end the daemon. Watched from the start, so that one that comes early is not lost.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn watch() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for a moment of the monotonic clock; forever where there is none.
async fn until(at: Option<Duration>) {
    match at {
        Some(at) => time::sleep(at.saturating_sub(now())).await,
        None => pending().await,
    }
}

/// What has come meanwhile behind `first`: as much as fits into the queue, so that the data plane follows even where more
/// comes all the time.
fn waiting<T>(first: T, inbox: &mut mpsc::Receiver<T>) -> Vec<T> {
    let mut all = vec![first];
    while all.len() < QUEUE
        && let Ok(next) = inbox.try_recv()
    {
        all.push(next);
    }
    all
}

/// The task that owns the truth, with what it needs to act.
struct Owner<'a> {
    truth: Truth,
    layers: Layers,
    inherited: Option<Inherited>,
    inbox: mpsc::Receiver<Event>,
    inputs: Inputs,
    /// Where the fleet's events go.
    peers: mpsc::Sender<fleet::Event>,
    api: admin::Server,
    /// Where the files of lists are told, for whoever watches them.
    lists: watch::Sender<ListFiles>,
    netlink: Netlink,
    pins: &'a Pins,
    manager: Manager,
}

impl Owner<'_> {
    /// Publishes the first tables, attaches, and handles events until a signal says to stop.
    async fn serve(&mut self, attachments: &mut Attachments, mut stop: Stop) -> Result<()> {
        let early = self.first_look().await?;
        self.truth.begin();
        attachments.attach(self.truth.dataplane_mut(), self.pins.path())?;
        attachments.detach_others(self.pins)?;
        if let Some(from) = self.inherited.take() {
            // Those that came between the first copy and the swap of the program.
            self.truth.dataplane_mut().take_flows(&from);
        }
        self.truth.set_interfaces(attachments.report());
        self.truth.open_to_peers();
        self.truth.note_forwarding();
        info!(services = self.truth.config().services.len(), "forwarding");
        self.manager.ready(self.truth.summary());
        if let Some(reload) = early {
            self.handle(Event::Reload(reload), attachments).await;
        }
        loop {
            tokio::select! {
                () = stop.asked() => {
                    self.leave_without_capture(attachments).await;
                    return Ok(());
                }
                () = until(Some(self.truth.next_look())) => self.look(),
                () = until(self.truth.next_change()) => self.truth.converge_or_log(),
                () = until(self.truth.next_judgement()) => self.truth.judge(),
                () = until(self.truth.next_telling()) => self.truth.tell_peers(),
                () = until(self.layers.next_lapse()) => self.lapse(attachments).await,
                () = until(self.manager.next_ping()) => self.manager.ping(),
                event = self.inbox.recv() => {
                    let Some(event) = event else { return Ok(()) };
                    self.handle(event, attachments).await;
                }
            }
        }
    }

    /// Walks through the tables of flows, and looks no more after backends that have left by that.
    fn look(&mut self) {
        if self.truth.look() {
            self.inputs.update(&self.truth);
        }
        self.manager.status(self.truth.summary());
    }

    /// Takes in an event and all that have come meanwhile, then makes the data plane follow.
    async fn handle(&mut self, event: Event, attachments: &mut Attachments) {
        let mut changed = false;
        for event in waiting(event, &mut self.inbox) {
            changed |= !event.only_asks() && !matches!(event, Event::Peer(_) | Event::TooBig(_));
            match event {
                Event::Reload(reload) => self.reload(reload, attachments).await,
                // Nobody waits any more where an answer fails.
                Event::Plan(PlanEvent { text, path, answer }) => {
                    drop(answer.send(Box::pin(self.plan(&text, path.as_deref())).await));
                }
                Event::Edit(EditEvent { edit, condition, dry_run, answer }) => {
                    let edited = Box::pin(self.edit(&edit, &condition, dry_run, attachments)).await;
                    drop(answer.send(edited));
                }
                Event::Said(answer) => drop(answer.send(self.layers.said().clone())),
                Event::Apply(ApplyEvent { text, digest, answer }) => {
                    drop(answer.send(Box::pin(self.apply(&text, digest.as_deref(), attachments)).await));
                }
                Event::Verify(answer) => Box::pin(self.verify(attachments, answer)).await,
                Event::Repair(answer) => drop(answer.send(Box::pin(self.repair(attachments)).await)),
                Event::BeginCapture(begin) => self.begin_capture(begin, attachments).await,
                Event::EndCapture(end) => self.end_capture(end, attachments).await,
                event => self.note(event),
            }
        }
        if changed {
            self.truth.converge_or_log();
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Peer(event) => {
                if self.truth.hear(event) {
                    self.inputs.update(&self.truth);
                }
            }
            event => self.truth.note(event),
        }
    }

    /// Reads the file again. Whatever is wrong with it, what ran goes on running.
    async fn reload(&mut self, reload: Reload, attachments: &mut Attachments) {
        Manager::reloading();
        let Reload { cause, text } = reload;
        let reloaded = self.try_reload(text, attachments).await;
        self.truth.meters().note_reload(reloaded.is_ok(), now());
        match reloaded {
            Ok(before) => {
                self.inputs.follow(&before, &self.truth);
                info!(%cause, services = self.truth.config().services.len(), "configuration reloaded");
            }
            Err(error) => {
                let causes = logged(&error);
                error!("configuration not reloaded ({cause}), the running one stays: {causes}");
            }
        }
        self.manager.ready(self.truth.summary());
    }

    /// Gives the configuration before.
    async fn try_reload(
        &mut self,
        text: Result<Text, Diagnostics>,
        attachments: &mut Attachments,
    ) -> Result<Arc<Config>> {
        let (config, said, overruled) = self.layers.load(self.truth.path(), &text?)?;
        let api = self.api.prepare(&config.balancer)?;
        let before = Arc::clone(self.truth.config());
        self.try_adopt(config, attachments).await?;
        self.api.adopt(api);
        self.layers.adopt_or_log(said, &overruled, &self.truth.meters().leases);
        Ok(before)
    }

    async fn try_adopt(&mut self, mut config: Config, attachments: &mut Attachments) -> Result<()> {
        config.share(self.truth.config());
        inputs::replace(&self.lists, reload::list_files(&config, self.truth.path()));
        truth::check_change(self.truth.config(), &config)?;
        let mut wanted = Attachments::find(&config, &self.netlink, self.pins).await?;
        let next = next_program(&config)?;
        // What the others use the program has already.
        let changed = self.truth.config().changes(&config).filter_map(|(_, after)| after);
        let features = wanted.features(&config, changed)?;
        let former = self.truth.specialise(features, next, self.pins.path())?;
        self.truth.roads_mut().prepare(&config, &self.netlink, self.pins).await;
        let result = wanted
            .attach(self.truth.dataplane_mut(), self.pins.path())
            .and_then(|()| self.truth.adopt(config));
        if result.is_err() {
            if let Err(error) = self.truth.dataplane_mut().replace_next(former) {
                warn!("the program before gets no packets any more: {}", with_causes(&error));
            }
            attachments.detach_others(self.pins)?;
            return result;
        }
        self.truth.configure_fleet();
        wanted.detach_others(self.pins)?;
        *attachments = wanted;
        self.truth.set_interfaces(attachments.report());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_waits_is_lost_between_two_rounds() {
        let all = 3 * QUEUE;
        let (sender, mut inbox) = mpsc::channel(all);
        (0..all).for_each(|number| sender.try_send(number).expect("there is room"));
        let mut taken = Vec::new();
        while let Ok(first) = inbox.try_recv() {
            let round = waiting(first, &mut inbox);
            assert!(round.len() <= QUEUE);
            taken.extend(round);
        }
        assert_eq!(taken, (0..all).collect::<Vec<_>>());
    }
}
