//! A balancer of somebody else: an XDP program out of an object, with the maps that they have filled and pinned.
//!
//! bpftool loads it, since libbpf reads what compilers of C make, and puts pinned maps in the place of the object's own
//! of the same name.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;
use lb_tests::{bpf::Pins, process::output};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use super::entrant::{Entry, Way};
use crate::packet::cases::{CASES, Case, Family, Flows};

/// Which one.
#[derive(clap::Args)]
pub(crate) struct Other {
    /// `wire`: also measure the XDP balancer in this object, whatever it is.
    #[arg(long, value_name = "FILE", requires = "section")]
    object: Option<PathBuf>,
    /// Section of its program, or the program's name where the section has several.
    #[arg(long, value_name = "NAME", requires = "object")]
    section: Option<String>,
    /// Directory in a BPF file system where its maps are pinned, filled, under their names. They are to send what is for
    /// port 80 of the VIP back to 02:00:00:00:00:c1.
    #[arg(long, value_name = "DIRECTORY", requires = "object")]
    pins: Option<PathBuf>,
    /// The VIP that its maps serve.
    #[arg(long, value_name = "ADDRESS", default_value = "203.0.113.1", requires = "object")]
    vip: IpAddr,
}

impl Other {
    /// Loads the program, where there is one.
    pub(super) fn load(&self) -> anyhow::Result<Option<Xdp>> {
        let (Some(object), Some(section)) = (&self.object, &self.section) else { return Ok(None) };
        let elf = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
        let elf = object::File::parse(&*elf).with_context(|| format!("{} is no object", object.display()))?;
        let name = program_in(&elf, section)?;
        let pins = Pins::unique("other")?;
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["prog", "loadall"]).arg(object).arg(pins.path()).args(["type", "xdp"]);
        for (map, pin) in self.pinned_maps(&elf)? {
            bpftool.args(["map", "name", &map, "pinned"]).arg(pin);
        }
        output(&mut bpftool)?;
        let program = Xdp::from_pin(pins.path().join(&name), XdpAttachType::Interface);
        program.map(Some).with_context(|| format!("{name} is no XDP program"))
    }

    /// Those of the object's maps that are pinned.
    fn pinned_maps(&self, elf: &object::File<'_>) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let Some(pins) = &self.pins else { return Ok(Vec::new()) };
        let entries = fs::read_dir(pins).with_context(|| format!("cannot read {}", pins.display()))?;
        let pinned = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let maps = symbols(elf, |section| matches!(section, "maps" | ".maps"));
        Ok(pinned.filter(|name| maps.contains(name)).map(|name| (name.clone(), pins.join(&name))).collect())
    }

    /// What it is measured with.
    pub(super) fn entries(&self) -> Vec<Entry<'_>> {
        let Some(object) = &self.object else { return Vec::new() };
        let family = if self.vip.is_ipv4() { Family::V4 } else { Family::V6 };
        let like = CASES.iter().find(|case| case.family == family).expect("there are cases of each family");
        let flows = [Flows::One, Flows::SixtyFourThousand, Flows::Million, Flows::Unseen];
        let name = name_of(object);
        let entry = |flows| {
            let case = Case { opens: flows == Flows::Unseen, ..*like };
            Entry { name, way: Way::Other, case, flows, vip: Some(self.vip) }
        };
        flows.map(entry).into()
    }
}

fn name_of(object: &Path) -> &str {
    object.file_name().and_then(|name| name.to_str()).unwrap_or("the other")
}

/// The name of the program in `section`, or `section` where that is the name of one.
fn program_in(elf: &object::File<'_>, section: &str) -> anyhow::Result<String> {
    let there = symbols(elf, |name| name == section);
    match &there[..] {
        [one] => Ok(one.clone()),
        [] if symbols(elf, |name| !name.starts_with('.')).iter().any(|name| name == section) => {
            Ok(section.to_owned())
        }
        [] => bail!("the object has no section and no program `{section}`"),
        several => bail!("section `{section}` has several programs, name one: {}", several.join(", ")),
    }
}

/// The names of what lies in the sections that `wanted` says.
fn symbols(elf: &object::File<'_>, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    for symbol in elf.symbols().filter(object::ObjectSymbol::is_global) {
        let section = symbol.section_index().and_then(|index| elf.section_by_index(index).ok());
        let is_thing = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data);
        if is_thing && section.is_some_and(|section| section.name().is_ok_and(&wanted)) {
            names.extend(symbol.name().map(str::to_owned));
        }
    }
    names
}
