//! Real connections through a balancer with two backends, kernel sockets at both ends: how many in a second, and how
//! many bytes.
//!
//! ```text
//!   client ------ balancer ------ b1, b2
//! ```
//!
//! Answers are routed by the balancer's kernel, also where Sluice forwards what comes: so all have the same way to go.

use std::io::{Read as _, Write as _, copy, repeat, sink};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lb_tests::balancer::{Prepared, binary};
use lb_tests::topology::{TwoArmed, VIP4};
use rustix::net::sockopt::set_socket_linger;

use super::balancers::{BALANCERS, Balancer};
use crate::report::{Row, Unit};
use crate::server::{Server, close};
use crate::timing::{Contender, race};

/// Port of the service.
pub(super) const PORT: u16 = 7000;

/// Where the daemon's probes go.
const PROBED: u16 = 80;

/// Threads of the client, each with one connection at a time.
const CLIENTS: u32 = 8;

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a connection is for. A client's first bytes say it, and how many bytes follow.
#[derive(Clone, Copy)]
enum Errand {
    /// A byte there, a byte back.
    Connect = 0,
    Upload = 1,
    Download = 2,
}

struct Measure {
    name: &'static str,
    errand: Errand,
    unit: Unit,
    /// Connections of each client, one after the other.
    connections: u32,
    /// In each.
    bytes: u64,
}

const MEASURES: [Measure; 3] = [
    Measure {
        name: "connections, one after the other by eight clients",
        errand: Errand::Connect,
        unit: Unit::PerSecond,
        connections: 1_000,
        bytes: 0,
    },
    Measure {
        name: "upload, eight connections",
        errand: Errand::Upload,
        unit: Unit::GigabitsPerSecond,
        connections: 1,
        bytes: 1 << 26,
    },
    Measure {
        name: "download, eight connections",
        errand: Errand::Download,
        unit: Unit::GigabitsPerSecond,
        connections: 1,
        bytes: 1 << 26,
    },
];

/// How many times less a quick run does.
const QUICK: u32 = 20;

/// Measures all balancers, in turn.
pub(super) fn measure(quick: bool) -> anyhow::Result<Vec<Row>> {
    let net = TwoArmed::new()?;
    let binary = binary()?;
    let prepare = |host| Prepared::up(host, &binary, &[VIP4], &[]);
    let _prepared = net.backends.iter().map(prepare).collect::<anyhow::Result<Vec<_>>>()?;
    let mut servers = Vec::new();
    for host in &net.backends {
        servers.push(Server::start(&host.netns, PORT, serve)?);
        servers.push(Server::start(&host.netns, PROBED, close)?);
    }
    let (rounds, fraction) = if quick { (1, QUICK) } else { (5, 1) };
    let mut rows = Vec::new();
    for measure in &MEASURES {
        rows.extend(measure.rows(&net, rounds, fraction)?);
    }
    Ok(rows)
}

impl Measure {
    fn rows(&self, net: &TwoArmed, rounds: usize, fraction: u32) -> anyhow::Result<Vec<Row>> {
        let contender = |balancer: &'static Balancer| {
            Contender::timed_by_itself(balancer.name.to_owned(), move || {
                let _running = balancer.start(net)?;
                self.run(net, fraction).map(|time| time.as_secs_f64() * 1e9)
            })
        };
        let mut contenders: Vec<_> = BALANCERS.iter().map(contender).collect();
        let times = race(&mut contenders, rounds)?;
        let rates: Vec<_> =
            times.into_iter().map(|times| times.rate_in(self.amount(fraction) * 1e9)).collect();
        let rows = contenders.iter().zip(&rates);
        Ok(rows.map(|(it, &rate)| Row::new(self.name, &it.name, self.unit, rate, rates[0])).collect())
    }

    /// What all clients together get done in a run, in the row's unit but for the second.
    fn amount(&self, fraction: u32) -> f64 {
        const BITS_IN_GIGABIT: f64 = 1e9;
        let connections = f64::from(self.connections(fraction)) * f64::from(CLIENTS);
        match self.errand {
            Errand::Connect => connections,
            Errand::Upload | Errand::Download => {
                connections * f64::from(self.bytes(fraction) as u32) * 8.0 / BITS_IN_GIGABIT
            }
        }
    }

    fn connections(&self, fraction: u32) -> u32 {
        (self.connections / fraction).max(1)
    }

    fn bytes(&self, fraction: u32) -> u64 {
        self.bytes / u64::from(fraction)
    }

    /// Until the last client is done.
    fn run(&self, net: &TwoArmed, fraction: u32) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let (connections, bytes) = (self.connections(fraction), self.bytes(fraction));
        let client = || (0..connections).try_for_each(|_| self.errand.run((VIP4, PORT).into(), bytes));
        let clients: Vec<_> = (0..CLIENTS).map(|_| client).collect();
        thread::scope(|scope| {
            let netns = &net.client.netns;
            let started: Vec<_> =
                clients.into_iter().map(|client| scope.spawn(move || netns.run(client))).collect();
            for client in started {
                client.join().map_err(|_| anyhow::anyhow!("a client has panicked"))???;
            }
            Ok(start.elapsed())
        })
    }
}

impl Errand {
    /// The client's side of a connection.
    fn run(self, target: SocketAddr, bytes: u64) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE).context("cannot connect")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // Its end is a reset, so that no port is kept for a minute.
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        let [.., a, b, c, d] = bytes.to_be_bytes();
        stream.write_all(&[self as u8, a, b, c, d])?;
        let received = match self {
            Self::Connect => 0,
            Self::Upload => return upload(&mut stream, bytes),
            Self::Download => copy(&mut (&stream).take(bytes), &mut sink())?,
        };
        ensure!(received == bytes, "{received} of {bytes} bytes came");
        stream.read_exact(&mut [0]).context("the answer does not come")
    }
}

fn upload(stream: &mut TcpStream, bytes: u64) -> anyhow::Result<()> {
    copy(&mut repeat(0).take(bytes), stream)?;
    stream.read_exact(&mut [0]).context("the answer does not come")
}

/// The server's side, on a thread of its own.
fn serve(stream: TcpStream) {
    thread::spawn(move || {
        // A client that has what it wants resets the connection, so an error is no news.
        let _ = answer(stream);
    });
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 5];
    stream.read_exact(&mut request)?;
    let [errand, a, b, c, d] = request;
    let bytes = u64::from(u32::from_be_bytes([a, b, c, d]));
    if errand == Errand::Upload as u8 {
        copy(&mut (&stream).take(bytes), &mut sink())?;
    } else if errand == Errand::Download as u8 {
        copy(&mut repeat(0).take(bytes), &mut stream)?;
    }
    stream.write_all(&[0])?;
    // Until the client ends it.
    stream.read(&mut [0]).map(drop)
}
