//! The kernel's side of a run: the object whose `feeder` writes the next flow's headers into the packet and calls the
//! program under test, which is an entry of its program array.

use std::io::Write as _;
use std::process::Command;

use anyhow::{Context as _, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_tests::{packet::Packet, process::output};
use serde_json::Value;

use super::cases::{Case, Family, Feeding};
use super::scene::{POOL_V4, POOL_V6};

/// `XDP_ABORTED` (linux/bpf.h): what `feeder` gives where it could not feed.
const ABORTED: u32 = 0;

/// What tells a packet of a flow from those of others, as the program has it.
pub(super) type Ends = [u32; 4];

/// What is fed.
pub(super) struct Feed {
    /// The packet of which all others are made.
    pub(super) packet: Packet,
    /// See [`Case::services`].
    pub(super) services: u32,
    pub(super) feeding: Feeding,
    /// The number of the last flow.
    pub(super) last: u64,
}

impl Feed {
    pub(super) fn of(case: &Case, last: u64) -> anyhow::Result<Self> {
        Ok(Self { packet: packet(case)?, services: case.services, feeding: case.feeding, last })
    }
}

/// A feeder for one kind of packet.
pub(super) struct Feeder {
    /// Also keeps the program array: its entries go when nobody holds it.
    ebpf: Ebpf,
    frame: Vec<u8>,
}

impl Feeder {
    /// One of computed flows, or of those of a list.
    pub(super) fn load(object: &[u8], feed: &Feed, list: &[Ends]) -> anyhow::Result<Self> {
        Self::load_with(object, feed, list, false)
    }

    /// One that turns `list` into what answers its packets.
    pub(super) fn recording(object: &[u8], feed: &Feed, list: &[Ends]) -> anyhow::Result<Self> {
        Self::load_with(object, feed, list, true)
    }

    fn load_with(object: &[u8], feed: &Feed, list: &[Ends], records: bool) -> anyhow::Result<Self> {
        let frame = feed.packet.build();
        let (first_vip, length) = (last_four_bytes(&feed.packet), frame.len() as u32);
        let is_listed = u32::from(feed.feeding == Feeding::Listed);
        let restores = u32::from(feed.feeding != Feeding::Ends);
        let header = Header::of(&feed.packet, &frame);
        let mut ebpf = EbpfLoader::new()
            .override_global("FRAME_LEN", &length, true)
            .override_global("ETHER_TYPE", &u32::from(feed.packet.ether_type().to_be()), true)
            .override_global("LAST_FLOW", &feed.last, true)
            .override_global("SERVICES", &feed.services, true)
            .override_global("FIRST_VIP", &first_vip, true)
            .override_global("IS_LISTED", &is_listed, true)
            .override_global("RECORDS", &u32::from(records), true)
            .override_global("RESTORES", &restores, true)
            .override_global("SOURCE_NETWORK", &header.networks[0], true)
            .override_global("DESTINATION_NETWORK", &header.networks[1], true)
            .override_global("TCP_NUMBERS", &header.numbers, true)
            .override_global("TCP_REST", &header.rest, true)
            .override_global("TCP_OPTION", &header.option, true)
            .map_max_entries("listed", list.len().max(1) as u32)
            .load(object)
            .context("cannot load the feeder's object")?;
        program(&mut ebpf, "feeder")?.load().context("the kernel refused the feeder")?;
        let mut feeder = Self { ebpf, frame };
        let mut listed = feeder.listed()?;
        for (number, &ends) in (0..).zip(list) {
            listed.set(number, ends, 0).context("cannot fill the list of flows")?;
        }
        Ok(feeder)
    }

    /// The list as it is now.
    pub(super) fn list(&mut self) -> anyhow::Result<Vec<Ends>> {
        self.listed()?.iter().collect::<Result<_, _>>().context("cannot read the list of flows")
    }

    fn listed(&mut self) -> anyhow::Result<Array<&mut MapData, Ends>> {
        let map = self.ebpf.map_mut("listed").context("the feeder's object has no list")?;
        Ok(Array::try_from(map)?)
    }

    /// Makes a program of the feeder's own object the one under test.
    pub(super) fn aim_at_floor(&mut self, name: &str) -> anyhow::Result<()> {
        let floor = program(&mut self.ebpf, name)?;
        floor.load().with_context(|| format!("the kernel refused `{name}`"))?;
        let fd = floor.fd()?.try_clone()?;
        self.target()?.set(0, &fd, 0).context("cannot aim at a floor")
    }

    /// Makes `program` the one under test.
    pub(super) fn aim_at(&mut self, program: &Xdp) -> anyhow::Result<()> {
        self.target()?.set(0, program.fd()?, 0).context("cannot aim at the balancer")
    }

    /// Feeds that many packets, and says how many nanoseconds each took by the kernel's clock, which leaves out what
    /// the system call does besides: it waits for a grace period.
    pub(super) fn run(&mut self, packets: u32) -> anyhow::Result<f64> {
        let options = TestRunOptions { data_in: Some(&self.frame), repeat: packets, ..TestRunOptions::new() };
        let result =
            program(&mut self.ebpf, "feeder")?.test_run(options).context("the kernel refused to run")?;
        ensure!(result.return_value != ABORTED, "the packet could not be fed");
        Ok(result.duration.as_secs_f64() * 1e9)
    }

    /// As [`Self::run`], by bpftool.
    pub(super) fn run_by_bpftool(&mut self, packets: u32) -> anyhow::Result<f64> {
        let feeder = program(&mut self.ebpf, "feeder")?.info()?.id();
        let mut frame = tempfile::NamedTempFile::new().context("cannot make a file for the packet")?;
        frame.write_all(&self.frame)?;
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["--json", "prog", "run", "id", &feeder.to_string(), "repeat", &packets.to_string()]);
        let told: Value = serde_json::from_str(&output(bpftool.arg("data_in").arg(frame.path()))?)?;
        ensure!(told["retval"] != ABORTED, "the packet could not be fed");
        told["duration"].as_f64().context("bpftool does not say how long it took")
    }

    fn target(&mut self) -> anyhow::Result<ProgramArray<&mut MapData>> {
        let map = self.ebpf.map_mut("target").context("the feeder's object has no program array")?;
        Ok(ProgramArray::try_from(map)?)
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the feeder's object has no `{name}`"))?;
    Ok(program.try_into()?)
}

/// What is written for each packet where a program changes it, in the words that it is written by.
struct Header {
    networks: [u64; 2],
    numbers: u64,
    rest: u64,
    option: u32,
}

impl Header {
    fn of(packet: &Packet, frame: &[u8]) -> Self {
        let (addresses, tcp) = if packet.destination.is_ipv4() { ([26, 30], 34) } else { ([22, 38], 54) };
        let word = |at: usize| u64::from_ne_bytes(array(frame, at));
        Self {
            networks: addresses.map(word),
            numbers: word(tcp + 4),
            rest: word(tcp + 12),
            option: u32::from_ne_bytes(array(frame, tcp + 20)),
        }
    }
}

/// Bytes of a frame, and zeros behind it.
fn array<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|n| frame.get(at + n).copied().unwrap_or(0))
}

/// The packet of which the feeder makes all others.
pub(crate) fn packet(case: &Case) -> anyhow::Result<Packet> {
    /// An MSS of 1460 bytes.
    const MSS: [u8; 4] = [2, 4, 5, 0xb4];
    let (packet, pool) = match case.family {
        Family::V4 => (Packet::default(), POOL_V4.parse()),
        Family::V6 => (Packet::v6(), POOL_V6.parse()),
    };
    let pool = pool.context("the pool's address is none")?;
    let destination = case.vip.parse().context("the VIP is no address")?;
    let packet = Packet { destination, syn: case.opens, ack: !case.opens, ..packet };
    // What may become another segment is as long as that one.
    Ok(match case.feeding {
        Feeding::Ends => packet,
        Feeding::Headers if case.opens => Packet { tcp_options: MSS.into(), payload: Vec::new(), ..packet },
        Feeding::Headers => Packet { sequence: packet.sequence + 1, payload: vec![0; MSS.len()], ..packet },
        // Of its network are the backends too.
        Feeding::Listed => Packet { source: pool, destination: pool, payload: vec![0; MSS.len()], ..packet },
    })
}

fn last_four_bytes(packet: &Packet) -> u32 {
    match packet.destination {
        std::net::IpAddr::V4(address) => address.to_bits(),
        std::net::IpAddr::V6(address) => address.to_bits() as u32,
    }
}
