//! `sluice backend`: sets this host up as a backend and undoes it.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use rustix::thread::{CapabilitySet, capabilities};
use serde::Serialize;

use super::daemon::{Output, print_json};
use crate::{
    config::Gue,
    dataplane,
    host::{self, Decap, Paths, Report, Wanted, decap, state::State},
    interface::Mode,
};

/// Arguments of `sluice backend`.
#[derive(Debug, Args)]
pub struct BackendArgs {
    #[command(subcommand)]
    action: Action,
    /// Directory in a BPF file system for the decapsulator's pins
    #[arg(long, global = true, value_name = "DIRECTORY", default_value = "/sys/fs/bpf/sluice-backend")]
    pin_path: PathBuf,
    /// File that remembers what was changed
    #[arg(long, global = true, value_name = "FILE", default_value = "/run/sluice/backend.json")]
    state: PathBuf,
    /// How to print it
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How things are after the command, for programs.
#[derive(Debug, Default, Serialize)]
struct Answer {
    /// What is set up; null where this host is no backend.
    backend: Option<State>,
    /// What `down` has undone; null where there was nothing.
    undone: Option<State>,
    /// Packets that the decapsulator has unpacked, where `show` was asked and there is one.
    decapsulated: Option<u64>,
    /// What does not hold any more of it.
    problems: Vec<String>,
    /// What it costs, or what is still to be done.
    warnings: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Sets this host up as a backend: VIPs on lo, ARP kept silent about them, tunnelled packets unpacked
    ///
    /// A second call with other VIPs changes the set-up. It lasts until `sluice backend down` or a reboot.
    Up(UpArgs),
    /// Undoes what `up` did, and nothing else
    Down,
    /// Shows what `up` did and whether it still holds
    Show,
}

#[derive(Debug, Args)]
struct UpArgs {
    /// Interface that packets from the balancer arrive at
    #[arg(long, value_name = "NAME")]
    interface: String,
    /// VIP of a service that this host serves; may be given several times
    #[arg(long = "vip", value_name = "ADDRESS", required = true, value_parser = parse_vip)]
    vips: Vec<IpAddr>,
    /// Attach no program: for a backend that the balancer forwards to by l2
    #[arg(long)]
    no_decap: bool,
    /// Pin the program without attaching it: for a host that balances too, as `balancer.next_program`
    #[arg(long, conflicts_with = "no_decap")]
    pin_only: bool,
    /// UDP port at which tunnelled packets arrive by GUE; 0 takes none in
    #[arg(long, value_name = "PORT", default_value_t = Gue::default().port)]
    gue_port: u16,
}

/// Runs `sluice backend`.
///
/// # Errors
///
/// Missing capabilities, or what [`host::HostError`] says.
pub async fn run(args: BackendArgs) -> Result<()> {
    let paths = Paths { pins: args.pin_path, state: args.state };
    let answer = match args.action {
        Action::Up(args) => up(&paths, args).await?,
        Action::Down => down(&paths).await?,
        Action::Show => show(&paths).await?,
    };
    match args.output {
        Output::Json => print_json(&answer)?,
        Output::Table => answer.print(&paths),
    }
    // So that a script can ask.
    if answer.problems.is_empty() {
        return Ok(());
    }
    bail!("{}; run `sluice backend up` again", answer.problems.join("; "))
}

async fn up(paths: &Paths, args: UpArgs) -> Result<Answer> {
    require_capabilities(!args.no_decap)?;
    let mut vips = args.vips;
    vips.sort_unstable();
    vips.dedup();
    let UpArgs { interface, no_decap, pin_only, gue_port, .. } = args;
    let decap = match (no_decap, pin_only) {
        (true, _) => Decap::Nothing,
        (_, true) => Decap::Pinned,
        _ => Decap::Attached,
    };
    let wanted = Wanted { interface, vips, decap, gue_port };
    let state = host::up(paths, dataplane::OBJECT, &wanted).await?;
    let mut warnings = Vec::new();
    if state.pinned {
        warnings
            .push("have Sluice read it: balancer.next_program, and a reload where it ran before".to_owned());
    }
    if state.decap == Some(Mode::Generic) {
        warnings.push(format!(
            "the driver of {} takes no native XDP program; the decapsulator runs in the kernel's stack, at several times \
             the cost per packet",
            state.interface
        ));
    }
    Ok(Answer { backend: Some(state), warnings, ..Answer::default() })
}

async fn down(paths: &Paths) -> Result<Answer> {
    require_capabilities(false)?;
    Ok(Answer { undone: host::down(paths).await?, ..Answer::default() })
}

async fn show(paths: &Paths) -> Result<Answer> {
    let Some(report) = host::show(paths).await? else { return Ok(Answer::default()) };
    let counts = report.state.decap.is_some() || report.state.pinned;
    let (decapsulated, problems) = (counts.then_some(report.decapsulated), problems(&report));
    Ok(Answer { backend: Some(report.state), decapsulated, problems, ..Answer::default() })
}

impl Answer {
    fn print(&self, paths: &Paths) {
        match (&self.backend, &self.undone) {
            (Some(state), _) => print_state(state, paths),
            (None, Some(state)) => {
                println!("{} is no backend any more: all changes are undone", state.interface);
            }
            (None, None) => println!("this host is no backend: {} does not exist", paths.state.display()),
        }
        if let Some(packets) = self.decapsulated {
            println!("  packets  {packets} decapsulated");
        }
        for warning in &self.warnings {
            eprintln!("warning: {warning}");
        }
    }
}

fn print_state(state: &State, paths: &Paths) {
    println!("{} is set up as a backend", state.interface);
    for vip in &state.vips {
        let note = if state.addresses.contains(vip) { "" } else { " (was there before)" };
        println!("  vip      {vip} on lo{note}");
    }
    for change in &state.settings {
        println!("  setting  {} = {} (was {})", change.key, change.set, change.before);
    }
    match state.decap {
        Some(mode) => println!("  decap    attached, {}", mode.name()),
        None if state.pinned => println!("  decap    pinned at {}", decap::pinned(&paths.pins).display()),
        None => println!("  decap    none"),
    }
}

fn problems(report: &Report) -> Vec<String> {
    let vips = report.missing_vips.iter().map(|vip| format!("{vip} is not on lo any more"));
    let settings = report.overridden_settings.iter();
    let settings = settings.map(|(change, value)| format!("{} is {value}, not {}", change.key, change.set));
    let mut problems: Vec<String> = vips.chain(settings).collect();
    if report.state.pinned && !report.decap_holds {
        problems.push("the decapsulator is not pinned any more".to_owned());
    }
    if report.state.decap.is_some() && !report.decap_holds {
        problems.push(format!("the decapsulator is not attached to {} any more", report.state.interface));
    }
    problems
}

/// Fails with the remedy where the kernel would only say "operation not permitted".
fn require_capabilities(bpf: bool) -> Result<()> {
    let effective = capabilities(None)?.effective;
    let mut missing = Vec::new();
    if !effective.contains(CapabilitySet::NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    if bpf && !effective.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN) {
        missing.push("CAP_BPF");
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("`sluice backend` needs {}; run it as root", missing.join(" and "))
}

fn parse_vip(text: &str) -> Result<IpAddr, String> {
    let vip: IpAddr =
        text.parse().map_err(|_| "expected an IP address without a prefix length".to_owned())?;
    let vip = vip.to_canonical();
    if vip.is_unspecified() || vip.is_loopback() || vip.is_multicast() {
        return Err("expected an address that clients can connect to".to_owned());
    }
    Ok(vip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_for_programs_have_a_stable_shape() {
        let state = State {
            vips: vec!["203.0.113.10".parse().unwrap()],
            addresses: vec!["203.0.113.10".parse().unwrap()],
            decap: Some(Mode::Native),
            ..State::new("eth0")
        };
        let show = Answer {
            backend: Some(state.clone()),
            decapsulated: Some(7),
            problems: vec!["203.0.113.10 is not on lo any more".to_owned()],
            ..Answer::default()
        };
        let down = Answer { undone: Some(state), ..Answer::default() };
        insta::assert_snapshot!(serde_json::to_string_pretty(&[show, down, Answer::default()]).unwrap());
    }

    #[test]
    fn vip_is_a_plain_unicast_address() {
        assert_eq!(parse_vip("203.0.113.10"), Ok("203.0.113.10".parse().unwrap()));
        assert_eq!(parse_vip("::ffff:203.0.113.10"), Ok("203.0.113.10".parse().unwrap()));
        for bad in ["203.0.113.10/32", "0.0.0.0", "127.0.0.1", "::1", "224.0.0.1", "ff02::1", "eth0"] {
            assert!(parse_vip(bad).is_err(), "{bad}");
        }
    }
}
