//! `[balancer]`: this host.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use lb_common::way::{NUMBER_BITS, NUMBER_MASK};

use super::{
    api::{Api, api},
    location::{Location, location},
    nat::{Nat, NatReading},
    schema,
    section::{Entry, Section},
};

/// How this balancer attaches and where it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// Names of the interfaces that clients' packets arrive at; at least one.
    pub interfaces: Vec<String>,
    /// Which kind of XDP.
    pub mode: XdpMode,
    /// Path of the Unix socket of the admin API.
    pub socket: PathBuf,
    /// Directory in a BPF file system where maps, programs and links are pinned.
    pub pin_path: PathBuf,
    /// File that keeps what the operator has said at run time.
    pub state_path: PathBuf,
    /// Upper bits of the marks that probes' sockets have; the lower [`lb_common::way::NUMBER_BITS`] are zero.
    pub probe_mark: u32,
    /// Where this host is.
    pub location: Option<Location>,
    /// Where the XDP program is pinned that gets what passes.
    pub next_program: Option<PathBuf>,
    /// What packets are translated to; none: no backend is reached so.
    pub nat: Option<Nat>,
    /// Where the admin API listens beside its socket; none: nowhere.
    pub api: Option<Api>,
    /// File that gets a line for every change by the admin API.
    pub audit_path: Option<PathBuf>,
}

/// Which kind of XDP to attach with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Native where the driver has it, otherwise generic with a warning.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's stack: any driver, several times slower.
    Generic,
}

const MODES: &[(&str, XdpMode)] =
    &[("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];
const DEFAULT_SOCKET: &str = "/run/sluice/sluice.sock";
const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/sluice";
/// Its bits are few and at home with nobody that is widely known.
const DEFAULT_PROBE_MARK: u32 = 0x5a50_0000;
const DEFAULT_STATE_PATH: &str = "/var/lib/sluice/state.json";

/// `[balancer]`, with what the services are checked against.
pub(super) struct Reading {
    /// All of it; `None` if it was refused.
    pub(super) balancer: Option<Balancer>,
    /// Its part on address translation.
    pub(super) nat: Option<NatReading>,
}

/// Reads `[balancer]`, the one table that every file must have.
pub(super) fn balancer(root: &Section<'_>) -> Reading {
    if !root.mentions("balancer") {
        let file = root.file;
        let error = file.error(&root.place_of("balancer"), "missing table [balancer]");
        file.report(error.expected("add `[balancer]`, and below it `interfaces = [\"eth0\"]`"));
    }
    let section = root.section("balancer", &schema::BALANCER);
    let nat = section.as_ref().and_then(NatReading::read);
    Reading { balancer: section.and_then(|section| whole(&section, nat.as_ref())), nat }
}

fn whole(section: &Section<'_>, nat: Option<&NatReading>) -> Option<Balancer> {
    let interfaces = section.required("interfaces", r#"interfaces = ["eth0"]"#, interfaces);
    let mode = section.optional("mode", |entry| entry.choice(MODES));
    let socket = section.optional("socket", socket);
    let pin_path = section.optional("pin_path", pin_path);
    let state_path = section.optional("state_path", Entry::path);
    let probe_mark = section.optional("probe_mark", probe_mark);
    let location = section.optional("location", location);
    if location.is_none() && section.has("location") {
        // Refused: nobody is to say that there is none.
        return None;
    }
    let pin_path = pin_path.map_or_else(|| DEFAULT_PIN_PATH.into(), |path| path.value);
    let audit_path = section.optional("audit_path", Entry::path);
    let next_program = section.optional("next_program", |entry| next_program(entry, &pin_path));
    Some(Balancer {
        interfaces: interfaces?.value,
        mode: mode.map(|mode| mode.value).unwrap_or_default(),
        socket: socket.map_or_else(|| DEFAULT_SOCKET.into(), |path| path.value),
        pin_path,
        state_path: state_path.map_or_else(|| DEFAULT_STATE_PATH.into(), |path| path.value),
        nat: nat.map(NatReading::values),
        probe_mark: probe_mark.map_or(DEFAULT_PROBE_MARK, |mark| mark.value),
        location: location.map(|location| location.value),
        next_program: next_program.map(|path| path.value),
        api: api(section),
        audit_path: audit_path.map(|path| path.value),
    })
}

fn interfaces(entry: &Entry<'_>) -> Option<Vec<String>> {
    let entries = entry.list("interface names")?;
    if entries.is_empty() {
        return entry.refuse("there is no interface", "expected at least one, such as [\"eth0\"]");
    }
    let names: Vec<_> = entries.iter().filter_map(interface).map(str::to_owned).collect();
    let mut seen = HashMap::new();
    for (name, Entry { file, place, .. }) in names.iter().zip(&entries) {
        if let Some(first) = seen.insert(name, place) {
            let message = format!("interface {name} is listed twice");
            file.report_second(place, first, message, "expected each interface once");
        }
    }
    Some(names)
}

/// The kernel's rules: `dev_valid_name` in `net/core/dev.c`.
fn interface<'a>(entry: &Entry<'a>) -> Option<&'a str> {
    const MAX_BYTES: usize = 15;
    let name = entry.string("the name of an interface")?;
    let refuse =
        |expected: &str| entry.refuse(format!("{} cannot be an interface", entry.excerpt()), expected);
    if name.is_empty() || name == "." || name == ".." {
        return refuse("expected the name of an interface, such as \"eth0\"");
    }
    if name.len() > MAX_BYTES {
        return refuse(&format!("expected at most {MAX_BYTES} bytes, not {}", name.len()));
    }
    if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        return refuse("expected the name of a device, without `/`, `:` and spaces");
    }
    Some(name)
}

fn socket(entry: &Entry<'_>) -> Option<PathBuf> {
    /// `sun_path` holds 108 bytes, the last of them zero (unix(7)).
    const MAX_BYTES: usize = 107;
    let path = entry.path()?;
    let length = path.as_os_str().len();
    if length > MAX_BYTES {
        let message = format!("a path of {length} bytes is too long for a socket");
        return entry.refuse(message, format!("expected at most {MAX_BYTES} bytes"));
    }
    Some(path)
}

/// The lower bits number the ways.
fn probe_mark(entry: &Entry<'_>) -> Option<u32> {
    let mark = entry.integer(&(1..=u32::MAX))?;
    if mark & NUMBER_MASK == 0 {
        return Some(mark);
    }
    let message = format!("{} has bits among the lower {NUMBER_BITS}", entry.excerpt());
    entry.refuse(
        message,
        format!("expected a multiple of {:#x}, such as {DEFAULT_PROBE_MARK:#x}", NUMBER_MASK + 1),
    )
}

/// A program that jumps to itself gets each packet again and again.
fn next_program(entry: &Entry<'_>, pin_path: &Path) -> Option<PathBuf> {
    let path = entry.path()?;
    if path.starts_with(pin_path) {
        let message = format!("{} is Sluice's own", entry.excerpt());
        return entry.refuse(message, "expected a program that is pinned outside of balancer.pin_path");
    }
    Some(path)
}

/// A BPF file system takes no name with a dot in it (`bpf_lookup` in `kernel/bpf/inode.c`).
fn pin_path(entry: &Entry<'_>) -> Option<PathBuf> {
    let file_system = Path::new("/sys/fs/bpf");
    let path = entry.path()?;
    if file_system.starts_with(&path) {
        let message = format!("{} is not a directory of its own", entry.excerpt());
        return entry.refuse(message, format!("expected a directory below, such as \"{DEFAULT_PIN_PATH}\""));
    }
    let below = path.strip_prefix(file_system).unwrap_or(Path::new(""));
    if below.as_os_str().as_encoded_bytes().contains(&b'.') {
        let message = format!("{} has a dot in it", entry.excerpt());
        return entry.refuse(message, "expected no dot below /sys/fs/bpf: the kernel refuses such names");
    }
    Some(path)
}
