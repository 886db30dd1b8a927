//! The kernel as a generator of frames: it repeats the program `generator` as a test run with live frames, and each run
//! makes the next flow's frame of a template and sends it out by an interface.
//!
//! The system call returns when all frames have left, by the CPU that it was made on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use lb_tests::packet::Packet;

/// Bytes of every frame, as the program has it.
const FRAME: usize = 80;

/// Frames that the kernel makes before it looks at what else there is to do: a quarter of a veth device's queue.
const BATCH: u32 = 64;

/// Which frames to make.
#[derive(Clone, Copy)]
pub(crate) struct Frames {
    /// The VIP, or the first of several consecutive ones.
    pub(crate) vip: IpAddr,
    /// Services that the flows are spread over.
    pub(crate) services: u32,
    /// Whether each opens a connection: SYN, otherwise ACK.
    pub(crate) open: bool,
    /// The number of the last flow, a power of two less one.
    pub(crate) last_flow: u64,
    /// Destination and source of the frames, MAC addresses.
    pub(crate) macs: [[u8; 6]; 2],
}

/// A loaded generator.
pub(crate) struct Generator {
    ebpf: Ebpf,
}

impl Generator {
    /// Loads it from `object`, for frames that leave by the interface with the number `interface`.
    pub(crate) fn load(object: &[u8], frames: &Frames, interface: u32) -> anyhow::Result<Self> {
        let packet = packet(frames);
        let mut ebpf = EbpfLoader::new()
            .override_global("ETHER_TYPE", &u32::from(packet.ether_type().to_be()), true)
            .override_global("LAST_FLOW", &frames.last_flow, true)
            .override_global("SERVICES", &frames.services, true)
            .override_global("FIRST_VIP", &last_four_bytes(frames.vip), true)
            .override_global("INTERFACE", &interface, true)
            .load(object)
            .context("cannot load the generator's object")?;
        let map = ebpf.map_mut("template").context("the generator's object has no template")?;
        Array::<_, [u8; FRAME]>::try_from(map)?.set(0, template(&packet, frames.macs)?, 0)?;
        program(&mut ebpf, "generator")?.load().context("the kernel refused the generator")?;
        Ok(Self { ebpf })
    }

    /// Makes short calls of [`Generator::send`] cheap. The kernel calls XDP programs by a list of those in use, and to add a
    /// program to it, as for every test run of one that is attached nowhere, waits until no CPU reads the list (25 ms).
    /// So it is attached to the loopback device of the namespace that this is called in, where nothing comes.
    pub(crate) fn stay_listed(&mut self) -> anyhow::Result<()> {
        let attached = program(&mut self.ebpf, "generator")?.attach("lo", XdpMode::Skb);
        attached.map(drop).context("cannot attach the generator to the loopback device")
    }

    /// Sends that many frames, from the namespace of the thread that calls.
    pub(crate) fn send(&mut self, count: u32) -> anyhow::Result<()> {
        let attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let options =
            TestRunOptions { data_in: Some(&[0; FRAME]), repeat: count, attrs, ..TestRunOptions::new() };
        program(&mut self.ebpf, "generator")?
            .test_run(options)
            .map(drop)
            .context("the kernel refused to make frames; live frames need Linux 5.18")
    }
}

/// An XDP program of a loaded object.
pub(crate) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program `{name}`"))?;
    Ok(program.try_into()?)
}

/// The packet of which all others are made. What tells flows apart is zero.
fn packet(frames: &Frames) -> Packet {
    let open = Packet { syn: frames.open, ack: !frames.open, ..Packet::default() };
    let open = Packet { source_port: 0, destination_port: 0, ..open };
    match frames.vip {
        IpAddr::V4(_) => {
            let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            Packet { source: nobody, destination: nobody, payload: vec![0; FRAME - 54], ..open }
        }
        IpAddr::V6(vip) => {
            let subnet = |address: Ipv6Addr| IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 32 << 32));
            let client = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0);
            let (source, destination) = (subnet(client), subnet(vip));
            Packet { source, destination, payload: vec![0; FRAME - 74], ..open }
        }
    }
}

/// The frame, whose checksum is that of a packet in which what tells flows apart is zero.
fn template(packet: &Packet, macs: [[u8; 6]; 2]) -> anyhow::Result<[u8; FRAME]> {
    let mut frame = packet.build();
    frame[..12].copy_from_slice(macs.as_flattened());
    frame
        .try_into()
        .map_err(|frame: Vec<u8>| anyhow::anyhow!("the frame has {} bytes, not {FRAME}", frame.len()))
}

/// As a number.
fn last_four_bytes(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    }
}

#[cfg(test)]
mod tests {
    use lb_common::checksum::Sum;

    use super::*;

    /// A receiver sums up everything, checksum included, to 0xffff, whose complement is zero (RFC 1071).
    #[test]
    fn checksums_of_a_template_are_right() {
        for vip in ["203.0.113.1", "2001:db8:113::1"] {
            let (vip, macs) = (vip.parse().unwrap(), [[1; 6], [2; 6]]);
            let packet = packet(&Frames { vip, services: 1, open: true, last_flow: 0, macs });
            let frame = template(&packet, macs).unwrap();
            let (addresses, transport) = if vip.is_ipv4() { (26, 34) } else { (22, 54) };
            let length = (FRAME - transport) as u16;
            let sum = Sum::default().add_word([0, 6]).add_word(length.to_be_bytes());
            let words = frame[addresses..].as_chunks().0;
            assert_eq!(words.iter().fold(sum, |sum, &word| sum.add_word(word)).finish(), [0, 0], "{vip}");
        }
    }
}
