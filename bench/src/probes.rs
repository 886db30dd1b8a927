//! The part `probes`: what it costs to probe thousands of backends, and whether the probes come in time.
//!
//! ```text
//!   balancer: `sluice run`                     backends: one listener
//!     eth0 192.0.2.1 ------------- veth ------------- eth0 192.0.2.254, all of 10.0.0.0/8 is local
//! ```
//!
//! Starts are counted where they arrive: a start is a SYN at the backends' end, at the time when the kernel there took it
//! from the wire.

mod arrivals;
mod syns;

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lb_tests::balancer::{Daemon, binary};
use lb_tests::bpf::Pins;
use lb_tests::interrupt;
use lb_tests::netns::Netns;
use lb_tests::process::wait_until;
use lb_tests::temporary;
use lb_tests::topology::Host;
use tempfile::TempDir;

use self::arrivals::{Arrivals, Listener};
use crate::Settings;
use crate::report::{Report, Row, Unit};
use crate::timing::{Progress, Spread, spread};

const INTERVAL: Duration = Duration::from_secs(2);

/// A probe is late that comes by this much after its turn.
const LATE: Duration = Duration::from_millis(100);

const PORT: u16 = 80;

/// Backends of each service.
const BACKENDS: u32 = 100;

/// How long the daemon may take until it has probed everybody.
const DEADLINE: Duration = Duration::from_mins(2);

/// How much is probed, and for how long it is looked at.
struct Size {
    services: u32,
    seconds: u32,
}

const SIZE: Size = Size { services: 50, seconds: 30 };
const QUICK_SIZE: Size = Size { services: 10, seconds: 6 };

/// Probes, and looks.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<Report> {
    let size = if settings.quick { QUICK_SIZE } else { SIZE };
    let place = Site::new()?;
    let idle = place.run(&size, "none")?;
    let idle_memory = resident(idle.daemon.process.id())?;
    drop(idle);
    let busy = place.run(&size, "tcp")?;
    wait_until(DEADLINE, "a probe of every backend", || place.listener.count() >= size.backends() as usize)?;
    // Whatever a start brings with it is over after a while.
    wait_until(DEADLINE, "two rounds of probes", || place.listener.count() >= 3 * size.backends() as usize)?;
    place.listener.clear();
    let pid = busy.daemon.process.id();
    let usage = watch(pid, size.seconds)?;
    let arrivals = place.listener.arrivals()?;
    let status = busy.daemon.status()?;
    anyhow::ensure!(status.is_ready(), "not every backend is up: the machine is too slow for this");
    Ok(report(&size, &usage, &arrivals, [resident(pid)?, idle_memory]))
}

fn report(size: &Size, usage: &[f64], arrivals: &Arrivals, memory: [f64; 2]) -> Report {
    let case = |what: &str| format!("{} backends, each every {INTERVAL:?}: {what}", size.backends());
    let share = f64::from(size.backends()) / INTERVAL.as_secs_f64();
    let [busy, idle] = memory.map(Spread::exactly);
    let in_seconds = arrivals.in_seconds();
    let lateness: Vec<f64> =
        arrivals.lateness(INTERVAL).iter().map(|late| late.as_secs_f64() * 1e3).collect();
    let late = lateness.iter().filter(|&&late| late > LATE.as_secs_f64() * 1e3).count();
    let fullest = in_seconds.iter().copied().fold(0.0, f64::max) / share;
    let note = format!(
        "the fullest second has {fullest:.3} times its share of starts; {late} of {} probes came later than {LATE:?} \
         after their turn; without probes the daemon takes {:.1} MiB",
        lateness.len(),
        memory[1]
    );
    let late = Spread::exactly(f64::from(late as u32));
    let all = Spread::exactly(f64::from(lateness.len() as u32));
    let rows = vec![
        Row::new(&case("processor"), "daemon", Unit::PerCent, spread(usage.to_vec()), Spread::exactly(100.0)),
        Row::new(&case("memory"), "daemon", Unit::Mebibytes, busy, idle),
        Row::new(&case("starts"), "in a second", Unit::PerSecond, spread(in_seconds), Spread::exactly(share)),
        Row::new(
            &case("lateness"),
            "after its turn",
            Unit::Milliseconds,
            spread(lateness),
            Spread::exactly(INTERVAL.as_secs_f64() * 1e3),
        ),
        Row::new(&case("late probes"), &format!("by more than {LATE:?}"), Unit::Count, late, all),
    ];
    let reference = "one core; a daemon without probes; their share of the starts; the interval; all probes";
    Report { notes: vec![note], ..Report::new("probes", reference, rows) }
}

/// What a process takes of a core, in per cent, in each of so many seconds.
fn watch(pid: u32, seconds: u32) -> anyhow::Result<Vec<f64>> {
    let mut usage = Vec::new();
    let (mut at, mut before) = (Instant::now(), ticks(pid)?);
    let mut progress = Progress::new("second", seconds as usize);
    for second in 0..seconds {
        progress.tell(second as usize + 1, "the daemon's processor time");
        interrupt::check()?;
        std::thread::sleep(Duration::from_secs(1));
        let (now, after) = (Instant::now(), ticks(pid)?);
        let used = f64::from(after - before) / f64::from(TICKS);
        usage.push(used / (now - at).as_secs_f64() * 100.0);
        (at, before) = (now, after);
    }
    Ok(usage)
}

/// Of `/proc/PID/stat`, in a second: the same on every Linux (`USER_HZ`).
const TICKS: u32 = 100;

/// Processor time, in the kernel or not.
fn ticks(pid: u32) -> anyhow::Result<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may have anything in it, but for the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').context("the kernel tells no processor time")?;
    let field = |at: usize| fields.split_whitespace().nth(at).and_then(|field| field.parse::<u32>().ok());
    field(11).zip(field(12)).map(|(user, system)| user + system).context("the kernel tells no processor time")
}

/// Mebibytes of a process that are in memory.
fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("the kernel tells no VmRSS")?;
    Ok(f64::from(kib.trim().parse::<u32>()?) / 1024.0)
}

/// The namespaces. Fields are dropped in order.
struct Site {
    balancer: Host,
    listener: Listener,
    _backends: Netns,
}

/// A daemon that runs. Fields are dropped in order.
struct Running<'site> {
    daemon: Daemon<'site>,
    _pins: Pins,
    _files: TempDir,
}

impl Site {
    fn new() -> anyhow::Result<Self> {
        let (netns, backends) = (Netns::new("balancer")?, Netns::new("backends")?);
        let peer = backends.name();
        netns.ip(&format!("link add eth0 type veth peer name eth0 netns {peer}"))?;
        for (netns, address) in [(&netns, "192.0.2.1"), (&backends, "192.0.2.254")] {
            netns.ip(&format!("address add {address}/24 dev eth0"))?;
            netns.output(Command::new("ethtool").args(["-K", "eth0", "tx", "off"]))?;
            netns.ip("link set eth0 up")?;
        }
        netns.ip("route add 10.0.0.0/8 via 192.0.2.254")?;
        backends.ip("route add local 10.0.0.0/8 dev lo")?;
        let listener = Listener::start(&backends, PORT)?;
        let (v4, v6) = ([192, 0, 2, 1].into(), std::net::Ipv6Addr::LOCALHOST.into());
        let balancer = Host { name: "balancer".to_owned(), netns, v4, v6 };
        Ok(Self { balancer, listener, _backends: backends })
    }

    /// Starts a daemon, and waits until every backend is up.
    fn run(&self, size: &Size, probe: &str) -> anyhow::Result<Running<'_>> {
        let (pins, files) = (Pins::unique("probes")?, temporary::directory("probes")?);
        let (config, socket) = (files.path().join("sluice.toml"), files.path().join("sluice.sock"));
        fs::write(&config, size.configuration(probe, &pins, &files)?)?;
        let mut daemon = Daemon::start(&self.balancer, &binary()?, &config, &socket, &["--detach"])?;
        daemon.wait_ready()?;
        Ok(Running { daemon, _pins: pins, _files: files })
    }
}

impl Size {
    const fn backends(&self) -> u32 {
        self.services * BACKENDS
    }

    /// The file, as TOML. Without jitter each backend's turns are an interval apart, so that lateness can be told.
    fn configuration(&self, probe: &str, pins: &Pins, files: &TempDir) -> anyhow::Result<String> {
        let (pins, files) = (pins.path().display(), files.path().display());
        let mut toml = format!(
            "[balancer]\ninterfaces = [\"eth0\"]\nsocket = \"{files}/sluice.sock\"\npin_path = \"{pins}\"\n\
             state_path = \"{files}/state.json\"\n[fleet]\nseed = \"000102030405060708090a0b0c0d0e0f\"\n\
             [defaults]\nforwarding = \"ipip\"\nslots = 10007\n\
             [defaults.probe]\ntype = \"{probe}\"\nvia = \"direct\"\ninterval = \"{INTERVAL:?}\"\njitter = \"0s\"\n"
        );
        for service in 0..self.services {
            let vip = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 1).to_bits() + service);
            write!(
                toml,
                "[[service]]\nname = \"s{service}\"\naddress = \"{vip}\"\nport = {PORT}\nprotocol = \"tcp\"\n"
            )?;
            for backend in 0..BACKENDS {
                let address = Ipv4Addr::from_bits((10 << 24) + 1 + service * BACKENDS + backend);
                writeln!(toml, "[[service.backend]]\nname = \"b{backend}\"\naddress = \"{address}\"")?;
            }
        }
        Ok(toml)
    }
}
