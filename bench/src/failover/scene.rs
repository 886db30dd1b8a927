//! A balancer with three backends, a client that never stops sending, and a witness.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use aya::maps::Array;
use aya::{Ebpf, EbpfLoader};
use lb_tests::balancer::{Daemon, binary};
use lb_tests::bpf::Pins;
use lb_tests::process::wait_until;
use lb_tests::status::{Backend, Service};
use lb_tests::temporary;
use lb_tests::topology::{Lan, OTHER_VIP4, VIP4};
use tempfile::TempDir;

use super::DEADLINE;
use crate::generator::{Frames, Generator, program};
use crate::interface;
use crate::server::{Server, close};

pub(super) const INTERVAL: Duration = Duration::from_millis(200);
pub(super) const TIMEOUT: Duration = Duration::from_millis(100);
pub(super) const FALL: u32 = 2;

/// How often a daemon is made to look at its tables that is waited for.
const LOOK: Duration = Duration::from_millis(300);

/// Port of the services and of the probes.
const PORT: u16 = 80;

/// A service, and what it is sent.
pub(super) struct Target {
    pub(super) name: &'static str,
    vip: IpAddr,
    /// Keys of its own.
    keys: &'static str,
    /// Whether every packet opens a connection. Otherwise each is of a connection that nobody knows, and goes where its
    /// slot says.
    open: bool,
}

/// What a service is by default.
pub(super) const WEB: Target = Target { name: "web", vip: VIP4, keys: "", open: true };

/// One that gives old flows up at once.
pub(super) const BRISK: Target =
    Target { name: "brisk", vip: OTHER_VIP4, keys: "down_grace = \"0s\"\n", open: false };

/// See the module. Fields are dropped in order.
pub(super) struct Scene<'net> {
    pub(super) daemon: Daemon<'net>,
    pub(super) servers: Vec<Option<Server>>,
    pub(super) lan: &'net Lan,
    object: Vec<u8>,
    witness: Ebpf,
    _pins: [Pins; 2],
    files: TempDir,
}

impl<'net> Scene<'net> {
    pub(super) fn set_up(lan: &'net Lan, object: &[u8]) -> anyhow::Result<Self> {
        let (pins, files) = (Pins::unique("balancer")?, temporary::directory("balancer")?);
        let witness_pin = Pins::unique("witness")?;
        let witness = witness(lan, object, &witness_pin)?;
        let config = files.path().join("sluice.toml");
        fs::write(&config, configuration(lan, &pins, &files)?)?;
        let servers = lan.backends.iter().map(|host| Server::start(&host.netns, PORT, close).map(Some));
        let servers = servers.collect::<anyhow::Result<_>>()?;
        let socket = files.path().join("sluice.sock");
        let mut daemon = Daemon::start(&lan.balancer, &binary()?, &config, &socket, &["--detach"])?;
        daemon.wait_ready()?;
        let pins = [pins, witness_pin];
        Ok(Self { daemon, servers, lan, object: object.to_vec(), witness, _pins: pins, files })
    }

    pub(super) fn start_server(&mut self, backend: usize) -> anyhow::Result<()> {
        self.servers[backend] = Some(Server::start(&self.lan.backends[backend].netns, PORT, close)?);
        Ok(())
    }

    /// Waits until every backend of the target is up and gets its share of what will be sent: where that is of connections
    /// that nobody knows, until it has its slots for itself again.
    pub(super) fn wait_whole(&self, target: &Target) -> anyhow::Result<()> {
        let is_up = |backend: &Backend| backend.health == "up" && backend.share > 0.0;
        let is_whole = |service: &Service| {
            service.backends.iter().all(is_up) && (target.open || service.moved_slots == 0)
        };
        let mut looked_at = Instant::now();
        wait_until(DEADLINE, "all backends to be up again", || {
            if !target.open && looked_at.elapsed() > LOOK {
                let _ = self.look();
                looked_at = Instant::now();
            }
            self.daemon.status().is_ok_and(|status| status.service(target.name).is_some_and(is_whole))
        })
    }

    /// Has the daemon look at its tables now, as it does when an order has come, of whatever service.
    fn look(&self) -> anyhow::Result<()> {
        let backend = format!("{}/{}", WEB.name, self.lan.backends[0].name);
        ["drain", "ready"].into_iter().try_for_each(|order| self.sluice(&[order, &backend]))
    }

    /// Runs `sluice` on the balancer.
    pub(super) fn sluice(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(binary()?);
        command.args(arguments).arg("--socket").arg(self.files.path().join("sluice.sock"));
        self.lan.balancer.netns.output(&mut command).map(drop)
    }

    /// Starts to send.
    pub(super) fn traffic(&self, target: &Target) -> anyhow::Result<Traffic> {
        let macs = [
            interface::mac(&self.lan.balancer.netns, "eth0")?,
            interface::mac(&self.lan.client.netns, "eth0")?,
        ];
        let frames = Frames { vip: target.vip, services: 1, open: target.open, last_flow: u64::MAX, macs };
        let client = &self.lan.client.netns;
        let mut generator = Generator::load(&self.object, &frames, interface::index(client, "eth0")?)?;
        client.run(|| generator.stay_listed())??;
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&sent));
        let task = move || -> anyhow::Result<()> {
            while !stopped.load(Ordering::Relaxed) {
                generator.send(BURST)?;
                counter.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
            Ok(())
        };
        Ok(Traffic { stop, sent, thread: Some(client.spawn_thread("traffic", task)?) })
    }

    /// Watches the packets of a target to a backend, none of which it has seen yet.
    pub(super) fn watch(&mut self, target: &Target, backend: usize) -> anyhow::Result<()> {
        let IpAddr::V4(vip) = target.vip else { bail!("the witness knows IPv4 alone") };
        let (mut mac, mut address) = ([0; 8], [0; 8]);
        mac[..6].copy_from_slice(&interface::mac(&self.lan.backends[backend].netns, "eth0")?);
        address[..4].copy_from_slice(&vip.octets());
        let map = self.witness.map_mut("watched").context("the witness watches nothing")?;
        let mut watched = Array::<_, u64>::try_from(map)?;
        watched.set(0, u64::from_le_bytes(mac), 0)?;
        watched.set(1, u64::from_le_bytes(address), 0)?;
        let map = self.witness.map_mut("last_seen").context("the witness notes nothing")?;
        Ok(Array::<_, u64>::try_from(map)?.set(0, 0, 0)?)
    }

    /// When the last of them was sent, by the clock of `sluice::daemon::now`; zero, where none was.
    pub(super) fn last_seen(&self) -> anyhow::Result<Duration> {
        let map = self.witness.map("last_seen").context("the witness notes nothing")?;
        Ok(Duration::from_nanos(Array::<_, u64>::try_from(map)?.get(&0, 0)?))
    }
}

/// Frames at a time, and the pause after them: each of three backends gets some five of them every half a millisecond.
const BURST: u32 = 16;
const PAUSE: Duration = Duration::from_micros(250);

/// Packets that go on until it is dropped.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<std::io::Result<anyhow::Result<()>>>>,
}

impl Traffic {
    /// Bursts that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Ok(Err(error)))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the traffic failed: {error:#}");
        }
    }
}

/// Puts the witness at the switch's port of the balancer, in the place of what passes everything too.
fn witness(lan: &Lan, object: &[u8], pin: &Pins) -> anyhow::Result<Ebpf> {
    let mut ebpf = EbpfLoader::new().load(object).context("cannot load the witness")?;
    let witness = program(&mut ebpf, "witness")?;
    witness.load().context("the kernel refused the witness")?;
    fs::create_dir(pin.path())?;
    let path = pin.path().join("witness");
    witness.pin(&path).context("cannot pin the witness")?;
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["net", "attach", "xdpdrv", "pinned"]).arg(path).args(["dev", "balancer", "overwrite"]);
    lan.switch().output(&mut bpftool)?;
    Ok(ebpf)
}

/// New flows of moved slots are given to the backend of before where there is no budget to remember them, which would end
/// what is sent to the other one by itself: there is more than the client sends.
const LIMITS: &str = "[limits]\ninserts = 10000000\nopenings = 4194304\n";

fn configuration(lan: &Lan, pins: &Pins, files: &TempDir) -> anyhow::Result<String> {
    let (pins, files) = (pins.path().display(), files.path().display());
    let mut toml = format!(
        "[balancer]\ninterfaces = [\"eth0\"]\nsocket = \"{files}/sluice.sock\"\npin_path = \"{pins}\"\n\
         state_path = \"{files}/state.json\"\n[fleet]\nseed = \"000102030405060708090a0b0c0d0e0f\"\n\
         {LIMITS}"
    );
    for Target { name, vip, keys, .. } in [WEB, BRISK] {
        write!(
            toml,
            "[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nport = {PORT}\nprotocol = \"tcp\"\n\
             forwarding = \"l2\"\nslots = 4099\nidle_timeout = \"1s\"\n{keys}[service.probe]\ntype = \"tcp\"\nvia = \"direct\"\n\
             interval = \"{INTERVAL:?}\"\ntimeout = \"{TIMEOUT:?}\"\nrise = 1\nfall = {FALL}\n"
        )?;
        for host in &lan.backends {
            writeln!(toml, "[[service.backend]]\nname = \"{}\"\naddress = \"{}\"", host.name, host.v4)?;
        }
    }
    Ok(toml)
}
