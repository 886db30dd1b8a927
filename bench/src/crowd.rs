//! A daemon with many services: each with an address of its own, each with backends of its own behind one gateway.
//!
//! ```text
//!   gateway                                balancer: `sluice run`
//!     eth0 ------------- veth ------------- eth0 192.0.2.1, 10.0.0.0/8 via 192.0.2.254
//! ```

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use aya::maps::{Array, Map, MapData};
use lb_common::{backend::Backend, service::Service};
use lb_tests::balancer::{Daemon, binary};
use lb_tests::bpf::Pins;
use lb_tests::netns::Netns;
use lb_tests::process::wait_until;
use lb_tests::temporary;
use lb_tests::topology::Host;
use rustix::process::Signal;
use tempfile::TempDir;

/// How long the largest may take until it runs.
const DEADLINE: Duration = Duration::from_mins(10);

/// How many services there are, and how large each is.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) services: u32,
    pub(crate) backends: u32,
    /// Of each service.
    pub(crate) slots: u32,
}

/// What tells versions of the file apart: a backend's weight follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Version {
    /// Changes one backend of all.
    pub(crate) one: u32,
    /// Changes one backend of each service.
    pub(crate) each: u32,
    /// Changes every backend.
    pub(crate) all: u32,
}

/// The namespaces of a daemon.
pub(crate) struct Site {
    balancer: Host,
    _gateway: Netns,
}

impl Site {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (netns, gateway) = (Netns::new("balancer")?, Netns::new("gateway")?);
        let peer = gateway.name();
        netns.ip(&format!("link add eth0 type veth peer name eth0 netns {peer}"))?;
        gateway.ip("link set eth0 up")?;
        netns.ip("address add 192.0.2.1/24 dev eth0")?;
        netns.ip("link set eth0 up")?;
        netns.ip("neighbour add 192.0.2.254 lladdr 02:00:00:00:00:fe dev eth0 nud permanent")?;
        netns.ip("route add 10.0.0.0/8 via 192.0.2.254")?;
        let (v4, v6) = ([192, 0, 2, 1].into(), std::net::Ipv6Addr::LOCALHOST.into());
        Ok(Self { balancer: Host { name: "balancer".to_owned(), netns, v4, v6 }, _gateway: gateway })
    }
}

/// A daemon that runs. Fields are dropped in order.
pub(crate) struct Crowd<'site> {
    pub(crate) daemon: Daemon<'site>,
    pub(crate) size: Size,
    version: Cell<Version>,
    services: Array<MapData, [u8; size_of::<Service>()]>,
    pins: Pins,
    files: TempDir,
}

impl<'site> Crowd<'site> {
    /// Starts it, and waits until the data plane holds everything.
    pub(crate) fn start(place: &'site Site, size: Size) -> anyhow::Result<Self> {
        let (pins, files) = (Pins::unique("crowd")?, temporary::directory("crowd")?);
        fs::create_dir(files.path().join("watched"))?;
        let config = files.path().join("watched/sluice.toml");
        // A link, so that writing the file is no change in the directory that the daemon watches: it reads the file
        // when it is told to, and at once.
        std::os::unix::fs::symlink(files.path().join("sluice.toml"), &config)?;
        fs::write(&config, size.configuration(Version::default(), &pins, files.path())?)?;
        let socket = files.path().join("sluice.sock");
        let mut daemon = Daemon::start(&place.balancer, &binary()?, &config, &socket, &["--detach"])?;
        let pin = pins.path().to_owned();
        wait_until(DEADLINE, "the data plane to hold everything", || {
            !daemon.process.is_running() || is_filled(&pin, size).unwrap_or(false)
        })?;
        daemon.process.check()?;
        let (services, version) = (array(&pin, "services")?, Cell::default());
        Ok(Self { daemon, size, version, services, pins, files })
    }

    /// Changes the file, tells the daemon, and gives the time until the last table is there that follows from it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Version)) -> anyhow::Result<Duration> {
        let mut version = self.version.get();
        let before = version;
        change(&mut version);
        self.version.set(version);
        let text = self.size.configuration(version, &self.pins, self.files.path())?;
        let changed =
            if before.each == version.each && before.all == version.all { 1 } else { self.size.services };
        let old = self.generations()?;
        self.wait_idle()?;
        fs::write(self.path(), text)?;
        let start = std::time::Instant::now();
        self.daemon.process.signal(Signal::HUP)?;
        // Looked at without a pause, since what is waited for takes milliseconds.
        loop {
            let is = old
                .iter()
                .filter_map(|&(id, generation)| Some(self.service(id).ok()?.generation != generation));
            if is.filter(|&is_new| is_new).count() >= changed as usize {
                return Ok(start.elapsed());
            }
            lb_tests::interrupt::check()?;
            anyhow::ensure!(start.elapsed() < DEADLINE, "the data plane does not follow the file");
        }
    }

    /// Waits until the daemon has done with the change before: histories and tasks follow after the data plane.
    fn wait_idle(&self) -> anyhow::Result<()> {
        let mut socket = UnixStream::connect(self.files.path().join("sluice.sock"))?;
        socket.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "the daemon is not ready: {answer}");
        Ok(())
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.files.path().join("sluice.toml")
    }

    /// The directory of the pins.
    pub(crate) fn pins(&self) -> &Path {
        self.pins.path()
    }

    /// Numbers and generations of the services that have tables.
    fn generations(&self) -> anyhow::Result<Vec<(u32, u32)>> {
        let mut found = Vec::new();
        for id in 0..self.services.len() {
            let service = self.service(id)?;
            if service.table.length != 0 {
                found.push((id, service.generation));
            }
        }
        Ok(found)
    }

    fn service(&self, id: u32) -> anyhow::Result<Service> {
        Ok(bytemuck::cast(self.services.get(&id, 0)?))
    }
}

/// Whether all tables are there, and the way to every backend.
fn is_filled(pins: &Path, size: Size) -> anyhow::Result<bool> {
    let services = array::<{ size_of::<Service>() }>(pins, "services")?;
    let tables = services.iter().filter_map(Result::ok).map(bytemuck::cast::<_, Service>);
    if tables.filter(|service| service.table.length == size.slots).count() < size.services as usize {
        return Ok(false);
    }
    let backends = array::<{ size_of::<Backend>() }>(pins, "backends")?;
    let entries = backends.iter().filter_map(Result::ok).map(bytemuck::cast::<_, Backend>);
    let resolved = entries.filter(|backend| backend.forwarding != 0).count();
    Ok(resolved >= (size.services * size.backends) as usize)
}

fn array<const N: usize>(pins: &Path, name: &str) -> anyhow::Result<Array<MapData, [u8; N]>> {
    let data = MapData::from_pin(pins.join(name)).with_context(|| format!("map `{name}` is not pinned"))?;
    Ok(Map::Array(data).try_into()?)
}

impl Size {
    /// The file, as TOML.
    fn configuration(self, version: Version, pins: &Pins, files: &Path) -> anyhow::Result<String> {
        let Self { services, backends, slots } = self;
        let line = slots.next_multiple_of(16);
        let (pins, files) = (pins.path().display(), files.display());
        let mut toml = format!(
            "[balancer]\ninterfaces = [\"eth0\"]\nsocket = \"{files}/sluice.sock\"\npin_path = \"{pins}\"\n\
             state_path = \"{files}/state.json\"\n[fleet]\nseed = \"000102030405060708090a0b0c0d0e0f\"\n\
             [limits]\nservices = {}\nbackends = {}\nslots = {}\n\
             [defaults]\nforwarding = \"ipip\"\nslots = {slots}\nprobe = {{ type = \"none\" }}\n",
            services * 2 + 16,
            services * backends + 1024,
            (services + 16) * line,
        );
        let first_vip = Ipv4Addr::new(198, 18, 0, 1).to_bits();
        for service in 0..services {
            let vip = Ipv4Addr::from_bits(first_vip + service);
            write!(
                toml,
                "[[service]]\nname = \"s{service}\"\naddress = \"{vip}\"\nport = 80\nprotocol = \"tcp\"\n"
            )?;
            for backend in 0..backends {
                let address = Ipv4Addr::from_bits((10 << 24) + 1 + service * backends + backend);
                let weight = version.weight(service, backend);
                writeln!(
                    toml,
                    "[[service.backend]]\nname = \"b{backend}\"\naddress = \"{address}\"\nweight = {weight}"
                )?;
            }
        }
        Ok(toml)
    }
}

impl Version {
    /// Of a backend. Never twice the same from one version to the next that changes it, and never in proportion.
    fn weight(self, service: u32, backend: u32) -> u32 {
        let one = if service == 0 && backend == 0 { self.one % 2 } else { 0 };
        let each = if backend == 1 { self.each % 2 } else { 0 };
        10 + (backend + self.all) % 3 + one + each
    }
}

/// How long `sluice check` takes for a file, which reads it and says what it thinks of it.
pub(crate) fn check_time(file: &Path) -> anyhow::Result<Duration> {
    let start = std::time::Instant::now();
    lb_tests::process::output(Command::new(binary()?).arg("check").arg(file))?;
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_changes_the_weights_that_it_says() {
        let before = Version::default();
        let changed = |after: Version| {
            let all = (0..4).flat_map(|service| (0..5).map(move |backend| (service, backend)));
            all.filter(|&(s, b)| before.weight(s, b) != after.weight(s, b)).collect::<Vec<_>>()
        };
        assert_eq!(changed(Version { one: 1, ..before }), [(0, 0)]);
        assert_eq!(changed(Version { each: 1, ..before }), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(changed(Version { all: 1, ..before }).len(), 20);
    }
}
