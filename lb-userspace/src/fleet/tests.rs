//! Balancers on loopback addresses, each with an owner that is a few lines long.

use bytemuck::Zeroable as _;
use lb_common::{address::Address, flow::Flow, hash::Seed, service::ServiceKey};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

use super::*;
use crate::{
    daemon::now,
    reconcile::fleet::{Host, Past},
};

/// Long enough for a machine that has other things to do.
const DEADLINE: Duration = Duration::from_secs(20);

/// Numbers of the hosts of tests, so that none shares an address with another test's.
static HOSTS: AtomicU32 = AtomicU32::new(0);

/// A balancer, and what its owner hears.
struct Balancer {
    address: IpAddr,
    fleet: Fleet,
    events: mpsc::Receiver<Event>,
    talk: task::JoinHandle<()>,
}

/// Addresses of this host that nobody else has.
fn addresses(count: u8) -> Vec<IpAddr> {
    let test = HOSTS.fetch_add(1, Relaxed) as u8;
    (1..=count).map(|n| [127, 90, test, n].into()).collect()
}

fn settings(peers: &[IpAddr], seed: u8) -> Settings {
    Settings { peers: peers.to_vec(), port: 19_902, key: Key::of(&Seed([seed; 16])) }
}

/// A balancer that takes `own` for its address, although all of `peers` are this host's.
fn start(own: IpAddr, peers: &[IpAddr], seed: u8, here: Here) -> Balancer {
    let (events, inbox) = mpsc::channel(64);
    let (here, known) = watch::channel(here);
    let (run, _) = watch::channel(Run::of(settings(peers, seed)));
    let (letters, letterbox) = mpsc::channel(post::LETTERS);
    let (parcels, _) = broadcast::channel(post::PARCELS);
    task::spawn(post::deliver(letterbox, parcels.clone()));
    let Run { settings, ledger } = run.borrow().clone();
    let shared = Shared { settings, ledger, here: known, parcels, events };
    let found = own::find(&[own], shared.settings.port).unwrap();
    let (fleet, mut stop) = (Fleet { run, here, letters }, shared.here.clone());
    let talk = task::spawn(async move {
        let mut tasks = JoinSet::new();
        tokio::select! {
            never = talk_as(shared, found, &mut tasks) => match never {},
            () = async { while stop.changed().await.is_ok() {} } => {}
        }
        tasks.shutdown().await;
    });
    Balancer { address: own, fleet, events: inbox, talk }
}

impl Balancer {
    /// The next event that `wanted` makes something of.
    async fn expect<T>(&mut self, wanted: impl Fn(Event) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the fleet is there");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        timeout(DEADLINE, search).await.expect("it happens in time")
    }

    async fn stop(self) {
        let Self { fleet, events, talk, .. } = self;
        drop((fleet, events));
        timeout(DEADLINE, talk).await.expect("it ends in time").unwrap();
    }

    async fn answer(&mut self, answer: Answer) -> Question {
        let (question, reply) = self
            .expect(|event| match event {
                Event::Ask(question, reply) => Some((question, reply)),
                _ => None,
            })
            .await;
        reply.send(answer).expect("the asker waits");
        question
    }

    async fn flows(&mut self) -> Vec<Flow> {
        self.expect(|event| match event {
            Event::Flows(_, flows, _) => Some(flows.iter().map(|sighting| sighting.flow).collect()),
            _ => None,
        })
        .await
    }

    async fn hears(&mut self) -> Result<(), String> {
        self.expect(|event| match event {
            Event::Hears(_, state) => Some(state),
            _ => None,
        })
        .await
    }

    async fn complete(&mut self) {
        self.expect(|event| matches!(event, Event::Complete(_)).then_some(())).await;
    }
}

fn flow(port: u16) -> Flow {
    let address = Address::from_v4([203, 0, 113, 10]);
    Flow {
        source: address,
        destination: address,
        source_port: port.to_be_bytes(),
        protocol: 6,
        ..Flow::zeroed()
    }
}

fn host() -> Host {
    Host { address: Address::from_v4([198, 51, 100, 1]), forwarding: None }
}

fn sightings(ports: std::ops::Range<u16>) -> Vec<Sighting> {
    ports.map(|port| Sighting { flow: flow(port), host: host(), closing: 0, seen: now() }).collect()
}

fn published() -> Published {
    Published {
        key: ServiceKey::new(Address::from_v4([203, 0, 113, 10]), 80, 6),
        length: 499,
        source_bits: 0,
        digest: 7,
    }
}

#[tokio::test]
async fn newcomer_is_told_histories_then_flows_then_news() {
    let peers = addresses(2);
    let new = Here { tables: vec![published()], is_new: true };
    let mut one = start(peers[0], &peers, 1, new);
    let mut other = start(peers[1], &peers, 1, Here { tables: vec![published()], is_new: false });
    let slots = (0..499).collect();
    let history = History {
        key: published().key,
        length: 499,
        source_bits: 0,
        pasts: vec![Past { host: host(), slots }],
    };
    let answer = Answer { histories: vec![history.clone()], flows: sightings(0..2_000) };
    assert_eq!(other.answer(answer).await, Question::All(vec![published()]));

    let heard = one
        .expect(|event| match event {
            Event::History(peer, heard, _) => Some((peer, heard)),
            _ => None,
        })
        .await;
    assert_eq!(heard, (other.address, history));
    let mut flows = Vec::new();
    while flows.len() < 2_000 {
        flows.extend(one.flows().await);
    }
    assert_eq!(flows, (0..2_000).map(flow).collect::<Vec<_>>());
    one.complete().await;
    other.fleet.tell(sightings(5_000..5_003));
    assert_eq!(one.flows().await, [flow(5_000), flow(5_001), flow(5_002)]);
    let told = other.fleet.told(one.address);
    assert_eq!((told.flows, told.dropped, told.listening), (2_003, 0, true));
}

/// The answer holds what was remembered when it was made.
#[tokio::test]
async fn news_that_come_while_an_answer_is_on_its_way_are_told_after_it() {
    let peers = addresses(2);
    let mut one = start(peers[0], &peers, 1, Here::default());
    let mut other = start(peers[1], &peers, 1, Here::default());
    let asked = |event| match event {
        Event::Ask(_, reply) => Some(reply),
        _ => None,
    };
    let reply = other.expect(asked).await;
    other.fleet.tell(sightings(1..2));
    reply.send(Answer { flows: sightings(0..1), ..Answer::default() }).expect("the asker waits");
    assert_eq!(one.flows().await, [flow(0)]);
    assert_eq!(one.flows().await, [flow(1)]);
}

#[tokio::test]
async fn balancer_that_forwards_asks_for_flows_alone() {
    let peers = addresses(2);
    let _one = start(peers[0], &peers, 1, Here { tables: vec![published()], is_new: false });
    let mut other = start(peers[1], &peers, 1, Here::default());
    assert_eq!(other.answer(Answer::default()).await, Question::Flows);
}

#[tokio::test]
async fn tables_are_told_at_once_and_when_they_change() {
    let peers = addresses(2);
    let mut one = start(peers[0], &peers, 1, Here::default());
    let mut other = start(peers[1], &peers, 1, Here { tables: vec![published()], is_new: false });
    other.answer(Answer::default()).await;
    let tables = |event| match event {
        Event::Tables(_, tables) => Some(tables),
        _ => None,
    };
    assert_eq!(one.expect(tables).await, [published()]);
    let next = Published { digest: 8, ..published() };
    other.fleet.publish(Here { tables: vec![next], is_new: false });
    assert_eq!(one.expect(tables).await, [next]);
}

#[tokio::test]
async fn another_seed_is_refused_and_the_reason_told() {
    let peers = addresses(2);
    let mut one = start(peers[0], &peers, 1, Here::default());
    let mut other = start(peers[1], &peers, 2, Here::default());
    for balancer in [&mut one, &mut other] {
        let mut reason = balancer.hears().await.unwrap_err();
        while reason.contains("refused") {
            reason = balancer.hears().await.unwrap_err();
        }
        assert!(reason.contains("the same fleet.seed"), "{reason}");
    }
    assert!(!one.fleet.has_listeners() && !other.fleet.has_listeners());
}

#[tokio::test]
async fn peer_that_comes_back_is_asked_again() {
    let peers = addresses(2);
    let mut one = start(peers[0], &peers, 1, Here::default());
    let refused = one.hears().await.unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
    for _ in 0..2 {
        let mut other = start(peers[1], &peers, 1, Here::default());
        other.answer(Answer { flows: sightings(1..2), ..Answer::default() }).await;
        assert_eq!(one.flows().await, [flow(1)]);
        one.complete().await;
        other.stop().await;
        while one.hears().await.is_ok() {}
    }
}

#[tokio::test(start_paused = true)]
async fn peer_that_comes_is_asked_at_once() {
    let peers = addresses(2);
    let mut one = start(peers[0], &peers, 1, Here::default());
    let begin = tokio::time::Instant::now();
    // Failures in a row, after which it would wait for ten seconds.
    for _ in 0..12 {
        assert!(one.hears().await.is_err());
    }
    let failed = tokio::time::Instant::now();
    assert!(failed - begin > Duration::from_secs(20));
    let mut other = start(peers[1], &peers, 1, Here::default());
    one.answer(Answer::default()).await;
    other.answer(Answer::default()).await;
    assert!(failed.elapsed() < Duration::from_secs(4), "{:?}", failed.elapsed());
}

#[tokio::test]
async fn garbage_and_strangers_disturb_nobody() {
    let peers = addresses(3);
    let known = &peers[..2];
    let mut one = start(peers[0], known, 1, Here::default());
    for from in [peers[1], peers[2]] {
        for _ in 0..CROWD {
            let mut stream = connect_from(from, peers[0]).await;
            // It may have been closed already, which is as good.
            let _ = stream.write_all(&[0xa5; 4_096]).await;
        }
    }
    let mut other = start(peers[1], known, 1, Here::default());
    one.answer(Answer { flows: sightings(3..4), ..Answer::default() }).await;
    assert_eq!(other.flows().await, [flow(3)]);
}

/// More connections than a peer has room for.
const CROWD: usize = 20;

async fn connect_from(from: IpAddr, to: IpAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect((to, 19_902).into()).await.unwrap()
}

#[tokio::test]
async fn own_address_that_is_missing_is_told() {
    let (events, mut inbox) = mpsc::channel(8);
    let elsewhere = [192, 0, 2, 1].into();
    let fleet = Fleet::start(settings(&[elsewhere], 1), Here::default(), events);
    let Some(Event::Own(Err(reason))) = inbox.recv().await else { panic!("no word of it") };
    assert!(reason.contains("none of fleet.peers"), "{reason}");
    let here = addresses(1);
    fleet.configure(settings(&here, 1));
    let found = async {
        while let Some(event) = inbox.recv().await {
            if let Event::Own(Ok(address)) = event {
                return address;
            }
        }
        panic!("the fleet has ended");
    };
    assert_eq!(timeout(DEADLINE, found).await.unwrap(), here[0]);
}
