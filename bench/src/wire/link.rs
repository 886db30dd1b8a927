//! The wire: a veth pair in a namespace of its own.
//!
//! ```text
//!   near                                 far
//!     frames leave by it                   the program under test
//!     those that come back are counted     02:00:00:00:00:ba, 192.0.2.254
//! ```
//!
//! Where the kernel itself is under test, the far end has a program that passes everything, without which a veth device
//! takes in no live frame, and routes that send what was for a VIP or a backend back to the near end.

use std::cell::RefCell;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::PerCpuArray;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use lb_tests::netns::Netns;

use crate::generator::{Generator, program};
use crate::interface;

/// MAC addresses of the far end and of the near one.
pub(super) const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0xba], [2, 0, 0, 0, 0, 0xc1]];

/// How long no frame may come back until none is waited for any more.
const PATIENCE: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct Link<'net> {
    netns: &'net Netns,
    pub(super) near: u32,
    pub(super) far: u32,
    /// Holds the counting program, which is attached, and its map.
    counter: RefCell<Ebpf>,
}

/// What became of frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passage {
    pub(super) sent: u64,
    /// Fewer than 2³² in one passage.
    pub(super) returned: u64,
    /// From the first to the last that came back.
    pub(super) took: Duration,
}

/// Makes the namespace with the pair.
pub(super) fn pair() -> anyhow::Result<Netns> {
    let netns = Netns::new("wire")?;
    for scope in ["all", "default"] {
        // Nothing but frames under test.
        netns.set_sysctl(&format!("ipv6/conf/{scope}/disable_ipv6"), "1")?;
        netns.set_sysctl(&format!("ipv4/conf/{scope}/send_redirects"), "0")?;
    }
    netns.set_sysctl("ipv4/ip_forward", "1")?;
    netns.ip("link add near address 02:00:00:00:00:c1 type veth peer name far address 02:00:00:00:00:ba")?;
    netns.ip("address add 192.0.2.254/24 dev far")?;
    netns.ip("link set near up")?;
    netns.ip("link set far up")?;
    netns.ip("neighbour add 192.0.2.1 lladdr 02:00:00:00:00:c1 dev far nud permanent")?;
    for network in ["203.0.113.0/24", "198.51.100.0/24"] {
        netns.ip(&format!("route add {network} via 192.0.2.1"))?;
    }
    Ok(netns)
}

impl<'net> Link<'net> {
    /// Counts what comes back from now on. To be called, as all methods, by a thread in the namespace.
    pub(super) fn new(netns: &'net Netns, object: &[u8]) -> anyhow::Result<Self> {
        let mut ebpf = EbpfLoader::new().load(object).context("cannot load the counting program")?;
        let counting = program(&mut ebpf, "returned")?;
        counting.load().context("the kernel refused the counting program")?;
        let (near, far) = (interface::index(netns, "near")?, interface::index(netns, "far")?);
        counting
            .attach_to_if_index(near, XdpMode::Driver)
            .context("this kernel has no native XDP on veth")?;
        Ok(Self { netns, near, far, counter: RefCell::new(ebpf) })
    }

    /// Sends frames to the far end while it has `program`.
    pub(super) fn send_to(
        &self,
        program: &mut Xdp,
        generator: &mut Generator,
        count: u32,
    ) -> anyhow::Result<Passage> {
        let attached = program.attach_to_if_index(self.far, XdpMode::Driver).context("cannot attach")?;
        let passage = self.send(generator, count);
        program.detach(attached).context("cannot detach")?;
        passage
    }

    fn send(&self, generator: &mut Generator, count: u32) -> anyhow::Result<Passage> {
        let (before, start) = (self.returned()?, Instant::now());
        generator.send(count)?;
        let mut passage = Passage { sent: u64::from(count), returned: 0, took: start.elapsed() };
        let mut last_change = Instant::now();
        loop {
            let returned = self.returned()? - before;
            if returned != passage.returned {
                last_change = Instant::now();
                passage = Passage { returned, took: start.elapsed(), ..passage };
            }
            if passage.is_whole() || last_change.elapsed() > PATIENCE {
                return Ok(passage);
            }
        }
    }

    fn returned(&self) -> anyhow::Result<u64> {
        let counter = self.counter.borrow();
        let map = counter.map("came_back").context("the counting program has no counter")?;
        Ok(PerCpuArray::<_, u64>::try_from(map)?.get(&0, 0)?.iter().sum())
    }

    /// Gives `rules` to nftables, in the place of those that it has.
    pub(super) fn set_rules(&self, rules: &str) -> anyhow::Result<()> {
        let file = lb_tests::temporary::file("rules")?;
        std::fs::write(file.path(), format!("flush ruleset\n{rules}"))?;
        self.netns.output(Command::new("nft").arg("--file").arg(file.path())).map(drop)
    }
}

impl Passage {
    /// Whether every frame came back.
    pub(super) const fn is_whole(&self) -> bool {
        self.returned == self.sent
    }

    /// Nanoseconds for each frame that came back.
    pub(super) fn ns_per_frame(&self) -> anyhow::Result<f64> {
        anyhow::ensure!(self.returned > 0, "no frame came back");
        Ok(self.took.as_secs_f64() * 1e9 / f64::from(self.returned as u32))
    }
}
