//! The device behind an interface: its driver, and where its interrupts go.

use std::{collections::BTreeSet, fs, path::PathBuf};

use rtnetlink::packet_route::link::{InfoKind, LinkInfo};

/// An interrupt of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// The kernel's number.
    pub number: u32,
    /// The CPUs that it goes to, such as `0-3`.
    pub cpus: String,
}

/// A device, as its bus knows it. Not by the directory of interfaces, which may be another network namespace's.
#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) bus: String,
}

impl Device {
    fn directory(&self) -> Option<PathBuf> {
        let known = !self.name.is_empty() && !self.bus.is_empty();
        let path = PathBuf::from(format!("/sys/bus/{}/devices/{}", self.bus, self.name));
        known.then(|| path.canonicalize().ok()).flatten()
    }

    /// Its driver.
    pub(super) fn driver(&self) -> Option<String> {
        let driver = fs::read_link(self.directory()?.join("driver")).ok()?;
        Some(driver.file_name()?.to_str()?.to_owned())
    }

    /// Its interrupts that have come at least once. A virtio device has those of the device that it lies in.
    pub(super) fn interrupts(&self) -> Vec<Interrupt> {
        let Some(directory) = self.directory() else { return Vec::new() };
        let mut own = [Some(directory.as_path()), directory.parent()].into_iter().flatten();
        let listed = own.find_map(|path| fs::read_dir(path.join("msi_irqs")).ok());
        let Some(listed) = listed else { return Vec::new() };
        let numbers = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let numbers: BTreeSet<u32> = numbers.collect();
        let table = fs::read_to_string("/proc/interrupts").unwrap_or_default();
        let used = numbers.into_iter().filter(|number| has_come(&table, *number));
        used.filter_map(|number| {
            let cpus = fs::read_to_string(format!("/proc/irq/{number}/effective_affinity_list")).ok()?;
            Some(Interrupt { number, cpus: cpus.trim().to_owned() })
        })
        .collect()
    }
}

/// Whether an interrupt has come on any CPU, by the lines of `/proc/interrupts`.
fn has_come(table: &str, number: u32) -> bool {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{number}:")));
    let counts = line.into_iter().flat_map(str::split_whitespace).map_while(|word| word.parse::<u64>().ok());
    counts.sum::<u64>() > 0
}

/// What kind of virtual device it is, as its driver is called.
pub(super) fn kind(info: &LinkInfo) -> Option<String> {
    let LinkInfo::Kind(kind) = info else { return None };
    let name = match kind {
        InfoKind::Veth => "veth",
        InfoKind::Tun => "tun",
        InfoKind::Bond => "bonding",
        InfoKind::Bridge => "bridge",
        InfoKind::Vlan => "vlan",
        InfoKind::MacVlan => "macvlan",
        InfoKind::Dummy => "dummy",
        _ => return None,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupt_has_come_where_any_cpu_has_counted_one() {
        let table = "           CPU0       CPU1\n 38:          0      13190 PCI-MSIX 1-edge virtio2-input.0\n \
                     138:          7          0 PCI-MSIX 7-edge eth1\n 39:          0          0 PCI-MSIX 2-edge x\n";
        assert_eq!([38, 39, 138, 8].map(|number| has_come(table, number)), [true, false, true, false]);
    }
}
