//! The part `memory`: what entries of the maps take, and a daemon with many services.
//!
//! What the kernel holds for a map is what it says itself (`bytes_memlock`). A daemon's own memory leaves out the maps
//! that it shares.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lb_common::backend::Backend;
use lb_common::connection::Connection;
use lb_common::flow::Flow;
use lb_common::service::Service;
use lb_common::slot::Slot;
use lb_tests::bpf::Pins;
use lb_tests::process::output;
use sluice::config::{Config, Limits};
use sluice::dataplane::{ebpf::EbpfDataPlane, load::Knobs, pins::MAPS};

use crate::Settings;
use crate::crowd::{Crowd, Site, Size};
use crate::report::{Report, Row, Unit};
use crate::timing::{Progress, Spread};

/// What a limit makes room for.
struct Entry {
    name: &'static str,
    /// The bytes of its value, and of its key where it is found by one.
    bytes: usize,
    limit: fn(&mut Limits) -> &mut u32,
}

const ENTRIES: [Entry; 4] = [
    Entry { name: "service", bytes: size_of::<Service>(), limit: |limits| &mut limits.services },
    Entry { name: "backend", bytes: size_of::<Backend>(), limit: |limits| &mut limits.backends },
    Entry { name: "slot", bytes: size_of::<Slot>(), limit: |limits| &mut limits.slots },
    Entry {
        name: "tracked flow",
        bytes: size_of::<Flow>() + size_of::<Connection>(),
        limit: |limits| &mut limits.connections,
    },
];

/// Entries that are compared with twice as many, so that what a map takes besides them is left out.
const STEP: u32 = 1 << 16;

const SIZES: [u32; 3] = [10, 1_000, 10_000];
const QUICK_SIZES: [u32; 2] = [2, 20];

/// Measures entries, then daemons.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<Report> {
    let mut rows = ENTRIES.iter().map(Entry::row).collect::<anyhow::Result<Vec<_>>>()?;
    let (sizes, backends, slots) =
        if settings.quick { (&QUICK_SIZES[..], 10, 1_021) } else { (&SIZES[..], 100, 10_007) };
    let site = Site::new()?;
    let mut progress = Progress::new("daemon", sizes.len());
    for (at, &services) in sizes.iter().enumerate() {
        progress.tell(at + 1, &format!("{services} services"));
        rows.extend(daemon(&site, Size { services, backends, slots })?);
    }
    Ok(Report::new("memory", "the entries alone", rows))
}

impl Entry {
    fn row(&self) -> anyhow::Result<Row> {
        let (few, many) = (self.maps_with(STEP)?, self.maps_with(2 * STEP)?);
        let bytes = figure(many - few) / f64::from(STEP);
        let alone = Spread::exactly(figure(self.bytes as u64));
        Ok(Row::new("maps, for each", self.name, Unit::Bytes, Spread::exactly(bytes), alone))
    }

    /// Bytes of all maps where the limit is that.
    fn maps_with(&self, count: u32) -> anyhow::Result<u64> {
        let (config, _) =
            Config::parse("bench.toml", CONFIGURATION).map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut limits = config.limits;
        *(self.limit)(&mut limits) = count;
        let pins = Pins::unique("memory")?;
        std::fs::create_dir(pins.path())?;
        let knobs = Knobs { limits: &limits, seed: &config.fleet.seed, features: 0 };
        let _maps = EbpfDataPlane::load(knobs, Some(pins.path()))?;
        bytes_of_maps(pins.path())
    }
}

const CONFIGURATION: &str = r#"
[balancer]
interfaces = ["lo"]
[fleet]
seed = "000102030405060708090a0b0c0d0e0f"
[[service]]
name = "web"
address = "203.0.113.1"
port = 80
protocol = "tcp"
forwarding = "l2"
[[service.backend]]
name = "b1"
address = "198.51.100.1"
"#;

/// A daemon with that many services, after everything is in the maps and it has come to rest.
fn daemon(place: &Site, size: Size) -> anyhow::Result<[Row; 4]> {
    let crowd = Crowd::start(place, size)?;
    let pid = crowd.daemon.process.id();
    let own = memory_at_rest(pid)?;
    let most = memory(pid, "VmHWM")?;
    let maps = bytes_of_maps(crowd.pins())?;
    let of_service = size_of::<Service>() + size.backends as usize * size_of::<Backend>();
    let of_service = of_service + size.slots as usize * size_of::<Slot>();
    let entries = of_service as u64 * u64::from(size.services);
    let case =
        format!("{} services, {} backends and {} slots each", size.services, size.backends, size.slots);
    let row = |name, bytes| {
        let mebibytes = |bytes| Spread::exactly(figure(bytes)).scaled(1.0 / f64::from(1 << 20));
        Row::new(&case, name, Unit::Mebibytes, mebibytes(bytes), mebibytes(entries))
    };
    Ok([
        row("daemon", own),
        row("maps", maps),
        row("both", own + maps),
        row("daemon at its most, with mapped maps", most),
    ])
}

/// How long it has to stay the same to count as at rest, and for how long that is waited for.
const REST: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_mins(2);

/// What a process has for itself alone, anonymous memory that is resident, once that changes by a hundredth at most.
fn memory_at_rest(pid: u32) -> anyhow::Result<u64> {
    let start = Instant::now();
    let mut before = memory(pid, "RssAnon")?;
    loop {
        sleep(REST);
        lb_tests::interrupt::check()?;
        let now = memory(pid, "RssAnon")?;
        if now.abs_diff(before) <= before / 100 {
            return Ok(now);
        }
        anyhow::ensure!(start.elapsed() < PATIENCE, "the daemon's memory does not come to rest");
        before = now;
    }
}

/// A line of a process's status in bytes.
fn memory(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.with_context(|| format!("the kernel tells no {name}"))?.parse::<u64>()? << 10)
}

fn bytes_of_maps(pins: &Path) -> anyhow::Result<u64> {
    MAPS.iter().map(|map| bytes_of_map(&pins.join(map))).sum()
}

fn bytes_of_map(pin: &Path) -> anyhow::Result<u64> {
    let text = output(Command::new("bpftool").args(["--json", "map", "show", "pinned"]).arg(pin))?;
    let facts: serde_json::Value = serde_json::from_str(&text)?;
    facts["bytes_memlock"]
        .as_u64()
        .with_context(|| format!("bpftool does not tell the size of {}", pin.display()))
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory are fewer than 2⁵²")]
const fn figure(bytes: u64) -> f64 {
    bytes as f64
}
