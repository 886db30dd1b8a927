//! The part `failover`: how long a balancer goes on sending to a backend that it should not send to any more.
//!
//! ```text
//!   client: frames     switch: a witness at the balancer's port     balancer: `sluice run`     b1  b2  b3
//! ```
//!
//! The kernel of the client makes frames all the time, and an XDP program at the switch notes when the last one for the
//! backend passed, so nothing that the balancer says of itself counts.

mod scene;

use std::thread;
use std::time::{Duration, Instant};

use lb_tests::bpf;
use lb_tests::interrupt;
use lb_tests::process::wait_until;
use lb_tests::topology::Lan;
use sluice::daemon::now;

use self::scene::{BRISK, FALL, INTERVAL, Scene, TIMEOUT, Target, WEB};
use crate::Settings;
use crate::report::{Report, Row, Unit};
use crate::timing::{Progress, Spread, spread};

/// How often each end is come to.
const RUNS: usize = 50;
const QUICK_RUNS: usize = 2;

/// Each run ends another one, while those of before still get their slots back.
const BACKENDS: usize = 3;

/// How long nothing may have been sent to the backend until it is taken for the end,
const SILENCE: Duration = Duration::from_millis(250);

/// and how often the client has sent since then: a third of every burst would have been for the backend.
const BURSTS: u64 = 200;

/// Within which a dead backend is to have had its last packet: as long as its probes may take to find it, and a little for
/// everything else.
const PROMISED: Duration =
    INTERVAL.saturating_mul(FALL).saturating_add(TIMEOUT).saturating_add(Duration::from_millis(50));

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a backend ends.
#[derive(Clone, Copy)]
enum End {
    /// Its server is gone, and its kernel refuses probes.
    ServerDies,
    /// It is gone from the network, and nobody is told.
    HostDies,
    /// The operator drains it.
    Drained,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::ServerDies => "a server dies",
            Self::HostDies => "a host dies",
            Self::Drained => "drained",
        }
    }
}

/// One row to be.
struct Case {
    group: &'static str,
    name: &'static str,
    end: End,
    target: &'static Target,
    /// What it is compared with; where it is nothing, with a command that changes nothing.
    at_most: Option<Duration>,
}

const CASES: [Case; 4] = [
    Case {
        group: "from a server's death to the last packet",
        name: "new flows",
        end: End::ServerDies,
        target: &WEB,
        at_most: Some(INTERVAL.saturating_mul(FALL)),
    },
    Case {
        group: "from a host's death to the last packet",
        name: "new flows",
        end: End::HostDies,
        target: &WEB,
        at_most: Some(INTERVAL.saturating_mul(FALL).saturating_add(TIMEOUT)),
    },
    Case {
        group: "from a host's death to the last packet",
        name: "all flows, down_grace = \"0s\"",
        end: End::HostDies,
        target: &BRISK,
        at_most: Some(INTERVAL.saturating_mul(FALL).saturating_add(TIMEOUT)),
    },
    Case {
        group: "from `sluice drain` to the last packet",
        name: "new flows",
        end: End::Drained,
        target: &WEB,
        at_most: None,
    },
];

/// Comes to every end, again and again.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<Report> {
    let runs = if settings.quick { QUICK_RUNS } else { RUNS };
    let object = settings.bench_object()?;
    let lan = Lan::with_backends(&bpf::object()?, BACKENDS as u8)?;
    let mut scene = Scene::set_up(&lan, &object)?;
    let (mut rows, mut kept) = (Vec::new(), Vec::new());
    for case in &CASES {
        let mut samples = Vec::with_capacity(runs);
        let mut progress = Progress::new("run", runs);
        for run in 0..runs {
            progress.tell(run + 1, &format!("{}, {}", case.group, case.name));
            interrupt::check()?;
            let pause = INTERVAL * run as u32 / runs as u32;
            samples.push(milliseconds(case.run(&mut scene, run % BACKENDS, pause)?));
        }
        kept.extend(case.kept(&samples));
        let reference = case.reference(&scene)?;
        let row = Row::new(case.group, case.name, Unit::Milliseconds, spread(samples.clone()), reference);
        rows.push(row.with_samples(samples));
    }
    rows.extend(kept);
    let reference =
        "what the probes' settings allow at most; for drains, a command that changes nothing; all runs";
    let note = format!("probes every {INTERVAL:?} with a timeout of {TIMEOUT:?}, down after {FALL} failures");
    Ok(Report { notes: vec![note], ..Report::new("failover", reference, rows) })
}

impl Case {
    /// Ends that backend, and gives how long packets were sent to it after that.
    ///
    /// That is `pause` later than it could be: a run begins as soon as a probe has found the backend of the one before, so
    /// all ends would come at the same few moments between two probes.
    fn run(&self, scene: &mut Scene<'_>, backend: usize, pause: Duration) -> anyhow::Result<Duration> {
        scene.wait_whole(self.target)?;
        let traffic = scene.traffic(self.target)?;
        scene.watch(self.target, backend)?;
        wait_until(DEADLINE, "packets to the backend", || {
            scene.last_seen().is_ok_and(|last| last > Duration::ZERO)
        })?;
        thread::sleep(pause);
        let start = now();
        self.end(scene, backend)?;
        let (mut last, mut sent) = (scene.last_seen()?, traffic.sent());
        wait_until(DEADLINE, "the last packet to the backend", || {
            let Ok(seen) = scene.last_seen() else { return false };
            if seen != last {
                (last, sent) = (seen, traffic.sent());
            }
            now().saturating_sub(last) > SILENCE && traffic.sent() - sent > BURSTS
        })?;
        drop(traffic);
        self.undo(scene, backend)?;
        Ok(last.saturating_sub(start))
    }

    /// In how many runs a dead backend had its last packet in time.
    fn kept(&self, samples: &[f64]) -> Option<Row> {
        self.at_most?;
        let in_time = samples.iter().filter(|&&sample| sample <= milliseconds(PROMISED)).count();
        let [in_time, all] = [in_time, samples.len()].map(|count| Spread::exactly(f64::from(count as u32)));
        let case =
            format!("runs with the last packet within {PROMISED:?}: interval \u{d7} fall + timeout + 50 ms");
        let name = format!("{}: {}", self.end.name(), self.name);
        Some(Row::new(&case, &name, Unit::Count, in_time, all))
    }

    fn end(&self, scene: &mut Scene<'_>, backend: usize) -> anyhow::Result<()> {
        match self.end {
            End::ServerDies => scene.servers[backend] = None,
            End::HostDies => scene.lan.backends[backend].netns.ip("link set eth0 down")?,
            End::Drained => scene.sluice(&["drain", &self.drained(scene, backend)])?,
        }
        Ok(())
    }

    fn undo(&self, scene: &mut Scene<'_>, backend: usize) -> anyhow::Result<()> {
        match self.end {
            End::ServerDies => scene.start_server(backend),
            End::HostDies => scene.lan.backends[backend].netns.ip("link set eth0 up"),
            End::Drained => scene.sluice(&["ready", &self.drained(scene, backend)]),
        }
    }

    fn drained(&self, scene: &Scene<'_>, backend: usize) -> String {
        format!("{}/{}", self.target.name, scene.lan.backends[backend].name)
    }

    fn reference(&self, scene: &Scene<'_>) -> anyhow::Result<Spread> {
        if let Some(at_most) = self.at_most {
            return Ok(Spread::exactly(milliseconds(at_most)));
        }
        let status = || -> anyhow::Result<f64> {
            let start = Instant::now();
            scene.sluice(&["status"])?;
            Ok(milliseconds(start.elapsed()))
        };
        Ok(spread((0..11).map(|_| status()).collect::<anyhow::Result<_>>()?))
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
