//! What is so on this host, of all that checks ask for. What cannot be found out is missing, and nothing is said of it.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path, process::Command};

use anyhow::Result;
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::{
    address::AddressAttribute,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo},
};
use rustix::{fs::statfs, system::uname, thread::capabilities};

use crate::{
    daemon::missing_capabilities,
    dataplane::pins::Pins,
    interface::{Attached, Interface, Netlink},
    road::active_features,
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
}

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

/// Gathers what is so. Pins of Sluice's own are in one of these directories.
///
/// # Errors
///
/// Where the kernel's netlink does not answer.
pub async fn gather(pin_paths: &[&Path]) -> Result<Facts> {
    let netlink = Netlink::open()?;
    let mut links = links(&netlink).await?;
    for (name, link) in &mut links {
        link.features = active_features(name).unwrap_or_default();
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
        clock_synchronised: clock_synchronised(),
        clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        settings,
        links,
    })
}

fn is_ours(interface: &Interface, pin_paths: &[&Path]) -> bool {
    let pin = |path: &&Path| Pins::link_in(path, &interface.name);
    let mut pins = pin_paths.iter().map(pin).chain(pin_paths.iter().map(|path| path.join("link")));
    pins.any(|pin| crate::dataplane::attach::is_attached(interface, &pin))
}

async fn links(netlink: &Netlink) -> Result<BTreeMap<String, Link>> {
    let (mut links, mut names) = (BTreeMap::new(), BTreeMap::new());
    let mut found = Box::pin(netlink.0.link().get().execute());
    while let Some(message) = found.try_next().await? {
        let (mut name, mut link) = (String::new(), Link::default());
        link.up = message.header.flags.contains(LinkFlags::Up);
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(is) => name = is,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::LinkInfo(info) => link.veth = info.contains(&LinkInfo::Kind(InfoKind::Veth)),
                _ => {}
            }
        }
        names.insert(message.header.index, name.clone());
        links.insert(name, link);
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

/// What systemd says that the kernel's clock says; nothing is known where there is no systemd.
fn clock_synchronised() -> Option<bool> {
    let asked =
        Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output().ok()?;
    match std::str::from_utf8(&asked.stdout).ok()?.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
