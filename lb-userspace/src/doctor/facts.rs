//! What is so on this host, of all that checks ask for. What cannot be found out is missing, and nothing is said of it.

mod clock;
mod hardware;
mod places;
mod sockets;

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use anyhow::Result;
use aya::programs::{SchedClassifier, TcAttachType};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::{
    address::AddressAttribute,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo},
};
use rustix::{
    fs::statfs,
    process::geteuid,
    system::uname,
    thread::{MembarrierCommand, capabilities, membarrier},
};

use crate::{
    daemon::missing_capabilities,
    dataplane::pins::Pins,
    interface::{Attached, Interface, Netlink},
    road::{active_features, receive_queues},
};

/// An interface.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// Bytes of IP packet that it carries.
    pub mtu: u32,
    /// Whether it is one end of a pair of virtual devices.
    pub veth: bool,
    /// Its XDP program, with whether that is Sluice's own.
    pub program: Option<(Attached, bool)>,
    /// What its driver does by itself, in ethtool's words.
    pub features: Vec<String>,
    /// Its addresses, with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its driver, or what kind of virtual device it is, as `ethtool -i` names it.
    pub driver: Option<String>,
    /// The receive queues that it has, and may have.
    pub queues: Option<(u32, u32)>,
    /// Its interrupts that have come at least once.
    pub interrupts: Vec<Interrupt>,
    /// The other end of a pair of virtual devices, where that is in this network namespace too.
    pub peer: Option<String>,
}

pub use hardware::Interrupt;
pub use places::Place;
pub use sockets::{Listener, Transport};

/// What is so.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The kernel's release, such as `6.18.1`.
    pub kernel: String,
    /// Whether a BPF file system is mounted at its place.
    pub bpf_fs: bool,
    /// Whether the kernel has type information of its own.
    pub btf: bool,
    /// Capabilities that Sluice needs and this process has not.
    pub missing_capabilities: Vec<String>,
    /// Whether the clock is set by somebody.
    pub clock_synchronised: Option<bool>,
    /// What the kernel's clock is read from.
    pub clock_source: Option<String>,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Whether the kernel says when no program runs any more that began before.
    pub grace_periods: Option<bool>,
    /// Whether programs can be attached where packets leave an interface, as far as that can be asked for.
    pub egress_programs: Option<bool>,
    /// The user that this process is.
    pub user: u32,
    /// Files and directories of the daemon.
    pub places: Vec<Place>,
    /// Sockets that take connections or datagrams in.
    pub listeners: Vec<Listener>,
    /// Settings below `/proc/sys/net`.
    pub settings: BTreeMap<String, String>,
    /// Interfaces, by name.
    pub links: BTreeMap<String, Link>,
}

impl Facts {
    /// A setting that is a number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u32> {
        self.settings.get(key)?.parse().ok()
    }

    /// The larger of a setting's values for all interfaces and for one, which is what the kernel goes by.
    #[must_use]
    pub fn strictest(&self, setting: &str, interface: &str) -> Option<u32> {
        let of = |scope: &str| self.number(&format!("ipv4/conf/{scope}/{setting}"));
        Some(of("all")?.max(of(interface)?))
    }
}

/// Gathers what is so. Pins of Sluice's own are in one of the directories `pin_paths`; `places` are those of the daemon.
///
/// # Errors
///
/// Where the kernel's netlink does not answer.
pub async fn gather(pin_paths: &[&Path], places: &[(&'static str, PathBuf)]) -> Result<Facts> {
    let netlink = Netlink::open()?;
    let mut links = links(&netlink).await?;
    for (name, link) in &mut links {
        link.features = active_features(name).unwrap_or_default();
        link.queues = receive_queues(name).ok();
        if let Ok(interface) = netlink.interface(name).await {
            link.program = interface.program.map(|program| (program, is_ours(&interface, pin_paths)));
        }
    }
    let settings = settings(links.keys());
    Ok(Facts {
        kernel: uname().release().to_string_lossy().into_owned(),
        bpf_fs: statfs("/sys/fs/bpf")
            .is_ok_and(|stat| stat.f_type.cast_unsigned() & 0xffff_ffff == 0xcafe_4a11),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        missing_capabilities: capabilities(None)
            .map(|held| missing_capabilities(held.effective).into_iter().map(str::to_owned).collect())
            .unwrap_or_default(),
        clock_synchronised: clock::synchronised(),
        clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        cpus: available_parallelism().map_or(1, usize::from),
        grace_periods: Some(membarrier(MembarrierCommand::Global).is_ok()),
        egress_programs: egress_programs(),
        user: geteuid().as_raw(),
        places: places.iter().map(|(key, path)| Place::look(key, path)).collect(),
        listeners: sockets::listeners(),
        settings,
        links,
    })
}

/// From Linux 6.6 on (tcx) it can be asked without changing anything.
fn egress_programs() -> Option<bool> {
    let asked = SchedClassifier::query_tcx("lo", TcAttachType::Egress);
    let recent = aya::util::KernelVersion::current().ok()? >= aya::util::KernelVersion::new(6, 6, 0);
    let may_ask = missing_capabilities(capabilities(None).ok()?.effective).is_empty();
    (recent && may_ask).then_some(asked.is_ok())
}

fn is_ours(interface: &Interface, pin_paths: &[&Path]) -> bool {
    let pin = |path: &&Path| Pins::link_in(path, &interface.name);
    let mut pins = pin_paths.iter().map(pin).chain(pin_paths.iter().map(|path| path.join("link")));
    pins.any(|pin| crate::dataplane::attach::is_attached(interface, &pin))
}

async fn links(netlink: &Netlink) -> Result<BTreeMap<String, Link>> {
    let (mut links, mut names) = (BTreeMap::new(), BTreeMap::new());
    let mut peers = Vec::new();
    let mut found = Box::pin(netlink.0.link().get().execute());
    while let Some(message) = found.try_next().await? {
        let (mut name, mut link) = (String::new(), Link::default());
        let mut device = hardware::Device::default();
        let mut other_end = (None, false);
        link.up = message.header.flags.contains(LinkFlags::Up);
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(is) => name = is,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::LinkInfo(info) => {
                    link.veth = info.contains(&LinkInfo::Kind(InfoKind::Veth));
                    link.driver = info.iter().find_map(hardware::kind);
                }
                LinkAttribute::ParentDevName(is) => device.name = is,
                LinkAttribute::ParentDevBusName(is) => device.bus = is,
                LinkAttribute::Link(index) => other_end.0 = Some(index),
                LinkAttribute::LinkNetNsId(_) => other_end.1 = true,
                _ => {}
            }
        }
        link.driver = link.driver.or_else(|| device.driver());
        link.interrupts = device.interrupts();
        if let (true, (Some(index), false)) = (link.veth, other_end) {
            peers.push((name.clone(), index));
        }
        names.insert(message.header.index, name.clone());
        links.insert(name, link);
    }
    for (name, peer) in peers {
        if let Some(link) = links.get_mut(&name) {
            link.peer = names.get(&peer).cloned();
        }
    }
    let mut found = Box::pin(netlink.0.address().get().execute());
    while let Some(message) = found.try_next().await? {
        let link = names.get(&message.header.index).and_then(|name| links.get_mut(name));
        let Some(link) = link else { continue };
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        link.addresses.extend(local.or(address).map(|address| (address, message.header.prefix_len)));
    }
    Ok(links)
}

/// Settings that checks ask for.
fn settings<'a>(interfaces: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    let scopes = interfaces.map(String::as_str).chain(["all"]);
    let of_scope = |scope: &str| {
        ["arp_ignore", "arp_announce", "rp_filter"].map(|key| format!("ipv4/conf/{scope}/{key}"))
    };
    let keys = scopes.flat_map(of_scope).chain(
        ["core/bpf_jit_enable", "netfilter/nf_conntrack_count", "netfilter/nf_conntrack_max"]
            .map(str::to_owned),
    );
    keys.filter_map(|key| Some((key.clone(), read(&format!("/proc/sys/net/{key}"))?))).collect()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
