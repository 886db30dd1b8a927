//! `sluice verify`: whether the kernel holds what the daemon has applied.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use anyhow::Result;

use super::daemon::{DaemonArgs, Output, print, print_json};
use crate::admin::{
    client,
    verify::{Difference, LookedAt, Repair, Verification},
};

/// What it ends with where something differs: errors have 1.
const DIFFERENCES: u8 = 2;

/// Arguments of `sluice verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if the kernel holds all of it (with --repair: in the end), \
                        2 if something differs, 1 on errors.")]
pub(super) struct Args {
    /// Write anew what differs, and compare once more
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Runs `sluice verify`.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let (daemon, runtime) = (&args.daemon.endpoint, super::runtime()?);
    let same = if args.repair {
        let repair: Repair = runtime.block_on(client::post(daemon, "/v1/verify/repair", &()))?;
        tell(args, &repair, repaired)?;
        repair.then.same
    } else {
        let found: Verification = runtime.block_on(client::get(daemon, "/v1/verify"))?;
        tell(args, &found, shown)?;
        found.same
    };
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENCES) })
}

fn tell<T: serde::Serialize>(args: &Args, answer: &T, shown: fn(&T) -> String) -> Result<()> {
    match args.daemon.output {
        Output::Json => print_json(answer),
        Output::Table => print(&shown(answer)),
    }
}

fn shown(found: &Verification) -> String {
    let mut lines: Vec<String> = found.differences.iter().map(ToString::to_string).collect();
    let remedies: BTreeSet<_> = found.differences.iter().map(|one| format!("    {}", one.remedy)).collect();
    lines.push(summary(found));
    lines.extend(remedies);
    lines.join("\n")
}

fn summary(found: &Verification) -> String {
    let LookedAt { services, backends, slots, pins, interfaces } = found.looked_at;
    let count: u64 = found.differences.iter().map(|one| u64::from(one.count)).sum();
    let said = if found.same { "no difference".to_owned() } else { format!("{count} differences") };
    let took = Duration::from_secs_f64(found.took);
    format!(
        "{said}: {services} services, {backends} backends, {slots} slots, {pins} pins, {interfaces} interfaces, in {took:.1?}"
    )
}

fn repaired(repair: &Repair) -> String {
    let Repair { found, failures, then } = repair;
    if found.same {
        return shown(found);
    }
    let still = |one: &&Difference| then.differences.contains(one);
    let mut lines: Vec<String> =
        found.differences.iter().filter(|one| !still(one)).map(|one| format!("repaired: {one}")).collect();
    lines.extend(failures.iter().map(|failure| format!("not repaired: {failure}")));
    lines.push(shown(then));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(differences: Vec<Difference>) -> Verification {
        let looked_at = LookedAt { services: 1, backends: 3, slots: 4099, pins: 27, interfaces: 1 };
        Verification { same: differences.is_empty(), differences, looked_at, took: 0.0042 }
    }

    fn slots() -> Vec<Difference> {
        let web = || Some("web".to_owned());
        let slot = Difference::new("arena", "slot 17", "b1", "b3").of(web(), None);
        let others = Difference::new("arena", "40 more of its slots", "what was published", "something else");
        let mac = Difference::new("backends", "next_hop_mac", "02:00:00:00:00:11", "00:00:00:00:00:00");
        let foreign = Difference::new("interface", "eth0", "the program that balances", "xdp_drop (id 9)");
        vec![
            slot,
            Difference { count: 40, ..others.of(web(), None) },
            mac.of(web(), Some("b1".to_owned())),
            foreign.remedy("ip link set dev eth0 xdp off && sluice verify --repair"),
        ]
    }

    #[test]
    fn differences_are_a_line_each_with_what_cures_them_below() {
        insta::assert_snapshot!(format!("{}\n\n{}", shown(&found(slots())), shown(&found(Vec::new()))));
    }

    #[test]
    fn repair_tells_what_it_did_and_what_is_left() {
        let all = slots();
        let left = vec![all[3].clone()];
        let failures = vec!["eth0 has an XDP program of somebody else".to_owned()];
        let repair = Repair { found: found(all), failures, then: found(left) };
        insta::assert_snapshot!(repaired(&repair));
    }
}
