//! The scheduler against backends that the test decides about, in virtual time.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{Arc, Mutex},
};

use super::{
    super::{Health, Target, agent::Remark, timeline::CONCURRENCY},
    *,
};
use crate::config::{Check, Probe, Via};

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
const JITTER: Duration = Duration::from_millis(125);

/// A world of backends, in which the test decides who answers.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    outcomes: BTreeMap<SocketAddr, Outcome>,
    /// Nobody answers at all.
    silent: bool,
    started: Vec<(Instant, SocketAddr)>,
}

impl Prober for Fake {
    async fn probe(&self, job: &Job) -> Outcome {
        let address = job.address;
        let (silent, outcome) = {
            let mut world = self.0.lock().unwrap();
            world.started.push((Instant::now(), address));
            (world.silent, world.outcomes.get(&address).cloned())
        };
        if silent {
            std::future::pending::<()>().await;
        }
        outcome.unwrap_or(Outcome::Passed)
    }
}

struct Lab {
    world: Fake,
    targets: watch::Sender<Targets>,
    events: mpsc::Receiver<HealthEvent>,
    board: watch::Receiver<Board>,
}

impl Lab {
    fn start(targets: Targets) -> Self {
        let world = Fake::default();
        let (events_sender, events) = mpsc::channel(4096);
        let (scheduler, board) = Scheduler::new(world.clone(), events_sender);
        let (targets, targets_receiver) = watch::channel(targets);
        tokio::spawn(scheduler.run(targets_receiver));
        Self { world, targets, events, board }
    }

    fn answer(&self, n: u16, outcome: Outcome) {
        self.world.0.lock().unwrap().outcomes.insert(address(n), outcome);
    }

    fn starts(&self) -> Vec<(Instant, SocketAddr)> {
        self.world.0.lock().unwrap().started.clone()
    }

    async fn event(&mut self) -> (String, Health, String) {
        let event = self.events.recv().await.unwrap();
        (event.backend, event.health, event.reason)
    }

    async fn nothing_happens(&mut self) {
        let event = time::timeout(INTERVAL * 20, self.events.recv()).await;
        assert!(event.is_err(), "{event:?}");
    }
}

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 1000 + n))
}

fn key(n: u16) -> TargetKey {
    TargetKey { service: "web".to_owned(), backend: format!("b{n}") }
}

fn target(n: u16) -> Target {
    let probe = Probe {
        interval: INTERVAL,
        fast_interval: INTERVAL,
        jitter: JITTER,
        timeout: TIMEOUT,
        rise: 2,
        fall: 3,
        grace: Duration::ZERO,
        concurrency: u32::MAX,
        via: Via::Direct,
        port: 80,
        follows_backend: true,
        check: Arc::new(Check::Tcp),
    };
    Target { address: address(n), probe, by_path: false, known: None }
}

fn targets(range: Range<u16>) -> Targets {
    range.map(|n| (key(n), target(n))).collect()
}

fn refused() -> Outcome {
    Outcome::Failed("connection refused".to_owned())
}

#[tokio::test(start_paused = true)]
async fn backend_that_dies_and_returns_is_told_twice() {
    let mut lab = Lab::start(targets(0..1));
    assert_eq!(lab.event().await, ("b0".into(), Health::Up, "probe passed".into()));

    lab.answer(0, refused());
    let reason = "3 probes in a row failed: connection refused";
    assert_eq!(lab.event().await, ("b0".into(), Health::Down, reason.into()));

    lab.answer(0, Outcome::Passed);
    assert_eq!(lab.event().await, ("b0".into(), Health::Up, "2 probes in a row passed".into()));
    lab.nothing_happens().await;
}

#[tokio::test(start_paused = true)]
async fn backend_that_does_not_answer_times_out() {
    let mut lab = Lab::start(targets(0..1));
    lab.world.0.lock().unwrap().silent = true;
    assert_eq!(lab.event().await.2, "probe failed: timed out after 1s");
}

#[tokio::test(start_paused = true)]
async fn trouble_of_this_host_changes_nothing() {
    let mut lab = Lab::start(targets(0..1));
    lab.event().await;
    lab.answer(0, Outcome::Inconclusive("too many open files".to_owned()));
    lab.nothing_happens().await;
}

#[tokio::test(start_paused = true)]
async fn starts_are_spread_over_the_interval_for_good() {
    let begin = Instant::now();
    let lab = Lab::start(targets(0..1000));
    for n in 0..1000 {
        // Answers that take their time move nobody's place.
        let outcome = if n % 3 == 0 { refused() } else { Outcome::Passed };
        lab.answer(n, outcome);
    }
    time::sleep(INTERVAL * 20).await;
    let mut shares = [0_u32; 200];
    for (start, _) in lab.starts() {
        let share = (start - begin).as_millis() / 200;
        if let Some(share) = shares.get_mut(usize::try_from(share).unwrap()) {
            *share += 1;
        }
    }
    // The first ones are not late by any jitter, which leaves a gap behind them.
    for (n, share) in shares.iter().enumerate().skip(12) {
        assert!((75..=125).contains(share), "{share} in the {n}. tenth of an interval");
    }
}

#[tokio::test(start_paused = true)]
async fn probes_start_an_interval_apart() {
    let mut lab = Lab::start(targets(0..1));
    lab.event().await;
    lab.nothing_happens().await;
    let starts = lab.starts();
    assert!(starts.len() > 10);
    for pair in starts.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        // The clock of tests moves in milliseconds.
        let slack = Duration::from_millis(2);
        let range = INTERVAL.checked_sub(JITTER + slack).unwrap()..=INTERVAL + JITTER + slack;
        assert!(range.contains(&gap), "{gap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn probes_are_faster_while_results_speak_against_the_health() {
    let mut fast = targets(0..1);
    fast.get_mut(&key(0)).unwrap().probe.fast_interval = INTERVAL / 10;
    let mut lab = Lab::start(fast);
    lab.event().await;
    lab.answer(0, refused());
    assert_eq!(lab.event().await.1, Health::Down);
    let starts: Vec<_> = lab.starts().into_iter().map(|(start, _)| start).collect();
    let [.., first, second, third] = starts[..] else { panic!("{starts:?}") };
    for gap in [second - first, third - second] {
        assert!((199..=202).contains(&gap.as_millis()), "{gap:?}");
    }
    let before = lab.starts().len();
    time::sleep(INTERVAL * 10).await;
    assert!((9..=11).contains(&(lab.starts().len() - before)), "back to the usual pace");
}

#[tokio::test(start_paused = true)]
async fn failures_during_the_grace_say_nothing() {
    let mut late = targets(0..2);
    for n in 0..2 {
        late.get_mut(&key(n)).unwrap().probe.grace = INTERVAL * 5;
    }
    let mut lab = Lab::start(late);
    lab.answer(0, refused());
    lab.answer(1, refused());
    time::sleep(INTERVAL * 3).await;
    assert_eq!(lab.board.borrow()[&key(0)].last_failure.as_deref(), Some("connection refused"));
    lab.answer(1, Outcome::Passed);
    assert_eq!(lab.event().await, ("b1".into(), Health::Up, "probe passed".into()));
    assert_eq!(lab.event().await, ("b0".into(), Health::Down, "probe failed: connection refused".into()));
    assert!(lab.starts()[0].0.elapsed() >= INTERVAL * 5);
}

#[tokio::test(start_paused = true)]
async fn service_has_as_many_probes_under_way_as_it_may() {
    let mut narrow = targets(0..20);
    for target in narrow.values_mut() {
        target.probe.concurrency = 2;
    }
    let mut lab = Lab::start(narrow);
    lab.world.0.lock().unwrap().silent = true;
    for _ in 0..20 {
        assert_eq!(lab.event().await.1, Health::Down);
    }
    let starts: Vec<_> = lab.starts().into_iter().map(|(start, _)| start).collect();
    for (n, start) in starts.iter().enumerate() {
        let under_way = starts[..n].iter().filter(|&&earlier| *start - earlier < TIMEOUT).count();
        assert!(under_way < 2, "{under_way}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_says_of_itself_is_told_when_it_changes() {
    let mut agents = targets(0..1);
    agents.get_mut(&key(0)).unwrap().probe.check = Arc::new(Check::Agent { send: Vec::new() });
    let mut lab = Lab::start(agents);
    let says = |line| Outcome::Said(Remark::parse(line).unwrap());
    lab.answer(0, says("up 75%"));
    for (line, health, advice) in [
        ("up 75%", Health::Up, "ready, 75%"),
        ("drain", Health::Up, "drain, 75%"),
        ("down#no disk", Health::Down, "drain, 75%"),
        ("up ready", Health::Down, "ready, 75%"),
    ] {
        lab.answer(0, says(line));
        let event = lab.events.recv().await.unwrap();
        assert_eq!((event.health, event.advice.unwrap().to_string().as_str()), (health, advice), "{line}");
    }
    assert_eq!(lab.event().await.1, Health::Up);
    lab.nothing_happens().await;
}

#[tokio::test(start_paused = true)]
async fn probes_under_way_are_bounded() {
    let mut lab = Lab::start(targets(0..2000));
    lab.world.0.lock().unwrap().silent = true;
    for _ in 0..2000 {
        assert_eq!(lab.event().await.1, Health::Down);
    }
    let starts: Vec<_> = lab.starts().into_iter().map(|(start, _)| start).collect();
    for (n, start) in starts.iter().enumerate() {
        let under_way = starts[..n].iter().filter(|&&earlier| *start - earlier < TIMEOUT).count();
        assert!(under_way < CONCURRENCY, "{under_way}");
    }
}

#[tokio::test(start_paused = true)]
async fn reload_keeps_what_is_known_of_unchanged_addresses() {
    let mut lab = Lab::start(targets(0..2));
    lab.event().await;
    lab.event().await;

    let mut changed = targets(0..2);
    changed.get_mut(&key(0)).unwrap().probe.interval = INTERVAL * 2;
    changed.get_mut(&key(1)).unwrap().address = address(7);
    lab.targets.send_replace(changed);

    assert_eq!(lab.event().await, ("b1".into(), Health::Up, "probe passed".into()));
    assert_eq!(lab.board.borrow()[&key(0)].health, Some(Health::Up));
    lab.nothing_happens().await;
}

#[tokio::test(start_paused = true)]
async fn removed_target_is_probed_no_more() {
    let mut lab = Lab::start(targets(0..2));
    lab.event().await;
    lab.event().await;
    lab.targets.send_replace(targets(0..1));
    tokio::task::yield_now().await;
    let before = lab.starts().len();
    lab.nothing_happens().await;
    assert!(lab.starts()[before..].iter().all(|(_, probed)| *probed == address(0)));
    assert!(!lab.board.borrow().contains_key(&key(1)));
}

#[tokio::test(start_paused = true)]
async fn result_about_an_earlier_address_is_ignored() {
    let mut slow = targets(0..1);
    slow.get_mut(&key(0)).unwrap().probe.timeout = INTERVAL;
    let mut lab = Lab::start(slow.clone());
    lab.world.0.lock().unwrap().silent = true;
    while lab.starts().is_empty() {
        time::sleep(Duration::from_millis(1)).await;
    }

    slow.get_mut(&key(0)).unwrap().address = address(7);
    lab.targets.send_replace(slow);

    assert_eq!(lab.event().await.1, Health::Down);
    let (start, probed) = lab.starts()[1];
    assert_eq!(probed, address(7));
    assert!(start.elapsed() >= INTERVAL, "the second probe has not ended yet");
}

#[tokio::test(start_paused = true)]
async fn board_counts_towards_the_next_change() {
    let mut lab = Lab::start(targets(0..1));
    assert_eq!(lab.board.borrow().get(&key(0)).and_then(|status| status.health), None);
    lab.event().await;
    lab.answer(0, refused());
    time::sleep(INTERVAL * 2).await;
    let status = lab.board.borrow()[&key(0)].clone();
    assert_eq!(status.health, Some(Health::Up));
    assert_eq!(status.last_failure.as_deref(), Some("connection refused"));
    assert!((1..3).contains(&status.streak), "{}", status.streak);
}
