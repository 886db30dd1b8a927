//! The road of probes: what takes a socket's packets to a backend by the way of clients' packets.
//!
//! ```text
//! socket, marked  --rule and table of the mark-->  sluice-pXXX ==veth== sluice-wXXX  --redirect-->  egress interface
//!                                                  sluice_mark          sluice_probe
//! ```
//!
//! A pair of devices of Sluice's own, with a program at each end (`lb-ebpf`'s `road`), and a routing table that marked
//! packets alone are looked up in; nothing that the host has is changed. The second program goes through the same
//! stages as the balancer's, so a probe's outer header is one of traffic. Replies come back as any packet for the host does.
//!
//! Nobody needs the road while no daemon runs, so each makes its own, and takes it down when it ends. What one that was
//! killed has left is found by its pin ([`Pins::roads`]).

mod devices;
mod offload;
pub(crate) use offload::{active_features, receive_queues};
pub mod reply;

use std::io;

use aya::{
    Ebpf, EbpfLoader,
    programs::{SchedClassifier, TcAttachType, XdpMode, tc},
    util::KernelVersion,
};
use lb_common::{
    backend::Backend,
    hash::Seed,
    knobs::FEATURE_GUE,
    way::{NUMBER_BITS, NUMBER_MASK},
};

use crate::{
    dataplane::{
        DataPlaneError, OBJECT,
        ebpf::mapped,
        load::{LoadError, program},
        mapped::Mapped,
        pins::{PinError, Pins, unpin},
    },
    interface::{InterfaceError, Netlink},
};

const WAYS: &str = "ways";
const MARK_PROGRAM: &str = "sluice_mark";
const SEND_PROGRAM: &str = "sluice_probe";

/// Why there is no road.
#[derive(Debug, thiserror::Error)]
pub enum RoadError {
    /// A device, a rule or a route was refused.
    #[error("cannot {0}")]
    Netlink(&'static str, #[source] rtnetlink::Error),
    /// A device is not there.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The kernel goes on leaving checksums to the device.
    #[error("cannot have the checksums of {0} computed")]
    Checksums(String, #[source] io::Error),
    /// The object was refused.
    #[error("cannot load the object")]
    Object(#[from] Box<aya::EbpfError>),
    /// A program was refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The map of ways is not as expected.
    #[error(transparent)]
    Map(#[from] DataPlaneError),
    /// A program could not be attached.
    #[error("cannot attach `{0}`")]
    Attach(&'static str, #[source] Box<aya::programs::ProgramError>),
    /// The pin could not be made.
    #[error("cannot pin the map of ways")]
    Pin(#[source] aya::pin::PinError),
    /// The pin of a road before could not be removed.
    #[error(transparent)]
    Stale(#[from] PinError),
}

/// The road, while it is open.
#[derive(Debug)]
pub struct Road {
    mark: u32,
    ways: Mapped,
    /// How many there may be.
    room: u32,
    carries_v6: bool,
    /// Holds the programs.
    _ebpf: Ebpf,
}

impl Road {
    /// Builds the road of the mark's upper bits, with room for that many ways, in the place of one that was left behind.
    ///
    /// # Errors
    ///
    /// [`RoadError`]; what had been built by then is taken down.
    pub async fn open(
        netlink: &Netlink,
        pins: &Pins,
        mark: u32,
        room: u32,
        seed: &Seed,
    ) -> Result<Self, RoadError> {
        clear(netlink, pins).await?;
        let built = Self::build(netlink, pins, mark, room.min(1 << NUMBER_BITS), seed).await;
        if built.is_err() {
            clear(netlink, pins).await?;
        }
        built
    }

    async fn build(
        netlink: &Netlink,
        pins: &Pins,
        mark: u32,
        room: u32,
        seed: &Seed,
    ) -> Result<Self, RoadError> {
        let mut ebpf = load(mark, room, seed)?;
        // First of all, so that whatever is left behind is found.
        let map = ebpf.map_mut(WAYS).ok_or(DataPlaneError::NoMap(WAYS))?;
        map.pin(pins.road(mark)).map_err(RoadError::Pin)?;
        let pair = devices::make(netlink, mark).await?;
        offload::compute_checksums(&pair.near)
            .map_err(|source| RoadError::Checksums(pair.near.clone(), source))?;
        attach(&mut ebpf, &pair)?;
        let ways = mapped(&mut ebpf, WAYS, room as usize * size_of::<Backend>())?;
        Ok(Self { mark, ways, room, carries_v6: pair.carries_v6, _ebpf: ebpf })
    }

    /// The mark of a way.
    #[must_use]
    pub const fn mark(&self, number: u32) -> u32 {
        self.mark | number & NUMBER_MASK
    }

    /// How many ways there may be.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.room
    }

    /// Whether the host's IPv6 goes by it.
    #[must_use]
    pub const fn carries_v6(&self) -> bool {
        self.carries_v6
    }

    /// Leads a way to a backend.
    pub fn lead(&self, number: u32, backend: &Backend) {
        self.ways.write(number, backend, None);
    }
}

/// Takes down the roads that daemons with these pins have built. A device goes with the programs that it has.
///
/// # Errors
///
/// [`RoadError`] where something stays.
pub async fn clear(netlink: &Netlink, pins: &Pins) -> Result<(), RoadError> {
    for mark in pins.roads()? {
        devices::remove(netlink, mark).await?;
        unpin(&pins.road(mark))?;
    }
    Ok(())
}

fn load(mark: u32, room: u32, seed: &Seed) -> Result<Ebpf, RoadError> {
    let flow_key = seed.flow_key().0;
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries(WAYS, room)
        .override_global("FEATURES", &FEATURE_GUE, true)
        .override_global("PROBE_MARK", &mark, true)
        .override_global("FLOW_KEY", &flow_key, true);
    Ok(loader.load(OBJECT).map_err(Box::new)?)
}

fn attach(ebpf: &mut Ebpf, pair: &devices::Pair) -> Result<(), RoadError> {
    let refused = |program| move |error| RoadError::Attach(program, Box::new(error));
    // In generic mode, since that sends through any device.
    program(ebpf, SEND_PROGRAM)?
        .attach_to_if_index(pair.far_index, XdpMode::Skb)
        .map_err(refused(SEND_PROGRAM))?;
    let program = ebpf.program_mut(MARK_PROGRAM).ok_or(LoadError::NoProgram(MARK_PROGRAM))?;
    let program: &mut SchedClassifier = program.try_into().map_err(|_| LoadError::NoProgram(MARK_PROGRAM))?;
    program.load().map_err(refused(MARK_PROGRAM))?;
    // From Linux 6.6 on no queueing discipline has to be there.
    if KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(6, 6, 0)) {
        tc::qdisc_add_clsact(&pair.near)
            .map_err(|error| RoadError::Attach(MARK_PROGRAM, Box::new(error.into())))?;
    }
    program.attach(&pair.near, TcAttachType::Egress).map_err(refused(MARK_PROGRAM))?;
    Ok(())
}
