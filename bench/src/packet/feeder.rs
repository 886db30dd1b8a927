//! The kernel's side of a run: the object whose `feeder` writes the next flow's headers into the packet and calls the
//! program under test, which is an entry of its program array.

use std::io::Write as _;
use std::process::Command;

use anyhow::{Context as _, ensure};
use aya::maps::ProgramArray;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_tests::{packet::Packet, process::output};
use serde_json::Value;

use super::cases::{Case, Family, Flows};

/// `XDP_ABORTED` (linux/bpf.h): what `feeder` gives where it could not feed.
const ABORTED: u32 = 0;

/// A feeder for one kind of packet.
pub(super) struct Feeder {
    /// Also keeps the program array: its entries go when nobody holds it.
    ebpf: Ebpf,
    frame: Vec<u8>,
}

impl Feeder {
    pub(super) fn load(object: &[u8], case: &Case, flows: Flows) -> anyhow::Result<Self> {
        let packet = packet(case)?;
        let frame = packet.build();
        let (first_vip, length) = (last_four_bytes(&packet), frame.len() as u32);
        let mut ebpf = EbpfLoader::new()
            .override_global("FRAME_LEN", &length, true)
            .override_global("ETHER_TYPE", &u32::from(packet.ether_type().to_be()), true)
            .override_global("LAST_FLOW", &flows.last(), true)
            .override_global("SERVICES", &case.services, true)
            .override_global("FIRST_VIP", &first_vip, true)
            .load(object)
            .context("cannot load the feeder's object")?;
        program(&mut ebpf, "feeder")?.load().context("the kernel refused the feeder")?;
        Ok(Self { ebpf, frame })
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

    fn target(&mut self) -> anyhow::Result<ProgramArray<&mut aya::maps::MapData>> {
        let map = self.ebpf.map_mut("target").context("the feeder's object has no program array")?;
        Ok(ProgramArray::try_from(map)?)
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the feeder's object has no `{name}`"))?;
    Ok(program.try_into()?)
}

/// The packet of which the feeder makes all others.
pub(crate) fn packet(case: &Case) -> anyhow::Result<Packet> {
    let packet = match case.family {
        Family::V4 => Packet::default(),
        Family::V6 => Packet::v6(),
    };
    let destination = case.vip.parse().context("the VIP is no address")?;
    Ok(Packet { destination, syn: case.opens, ack: !case.opens, ..packet })
}

fn last_four_bytes(packet: &Packet) -> u32 {
    match packet.destination {
        std::net::IpAddr::V4(address) => address.to_bits(),
        std::net::IpAddr::V6(address) => address.to_bits() as u32,
    }
}
