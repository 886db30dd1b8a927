//! `sluice rollout`: from one version of a service's backends to the next.

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use super::daemon::{DaemonArgs, Output, print, print_json};
use crate::{
    admin::{
        client,
        rollout::{self, Obeyed, Request},
        status::{Rollout, RolloutVersion, Status},
    },
    config::PreferVersion,
    version::Version,
};

/// Arguments of `sluice rollout`.
#[derive(Debug, clap::Args)]
pub(super) struct RolloutArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows which versions run, which wait, and what each gets of new flows
    Show(Args),
    /// Gives new flows to an incompatible version now, whatever others have not stopped
    Go {
        #[command(flatten)]
        args: Args,
        /// A version that runs from now on, with those that are compatible with it; the newest where it is not said
        #[arg(long, value_name = "VERSION")]
        to: Option<Version>,
    },
    /// Takes a `go` back: incompatible versions wait until the last of the older ones has stopped
    Hold(Args),
    /// Says what compatible versions get of new flows, until the file says something else of that
    #[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
    Set {
        #[command(flatten)]
        args: Args,
        /// Which of the versions that run get new flows
        #[arg(long, value_enum, group = "what")]
        prefer: Option<PreferVersion>,
        /// What the others' end of them gets nevertheless, such as 5%, or none
        #[arg(long, value_name = "SHARE", value_parser = checked_canary, group = "what")]
        canary: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Args {
    /// The service
    service: String,
    #[command(flatten)]
    daemon: DaemonArgs,
}

fn checked_canary(text: &str) -> Result<String, String> {
    rollout::canary(text).map(|_| text.to_owned())
}

/// Runs `sluice rollout`.
pub(super) fn run(args: &RolloutArgs) -> Result<()> {
    let (args, request) = match &args.command {
        Command::Show(args) => return super::runtime()?.block_on(show(args)),
        Command::Go { args, to } => (args, Request::go(to.as_ref().map(ToString::to_string).as_deref())),
        Command::Hold(args) => (args, Request { hold: true, ..Request::default() }),
        Command::Set { args, prefer, canary } => {
            (args, Request { prefer: *prefer, canary: canary.clone(), ..Request::default() })
        }
    };
    super::runtime()?.block_on(order(args, &request))
}

async fn show(args: &Args) -> Result<()> {
    let status: Status = client::get(&args.daemon.endpoint, "/v1/status").await?;
    let service = status.services.into_iter().find(|service| service.name == args.service);
    let service = service.with_context(|| format!("there is no service {}", args.service))?;
    let Some(rollout) = service.rollout else {
        bail!("service {} has no roll-out; say `rollout = {{ … }}` in its table of the file", args.service)
    };
    tell(args, &Obeyed { service: service.name, rollout, warning: None })
}

async fn order(args: &Args, request: &Request) -> Result<()> {
    let path = format!("/v1/services/{}/rollout", args.service);
    let obeyed: Obeyed = client::post(&args.daemon.endpoint, &path, request).await?;
    if let Some(warning) = &obeyed.warning {
        eprintln!("warning: {}: {warning}", obeyed.service);
    }
    tell(args, &obeyed)
}

fn tell(args: &Args, obeyed: &Obeyed) -> Result<()> {
    match args.daemon.output {
        Output::Json => print_json(obeyed),
        Output::Table => print(&format!("{} {}", obeyed.service, rollout(&obeyed.rollout))),
    }
}

/// How a roll-out stands, in a line.
pub(super) fn rollout(rollout: &Rollout) -> String {
    let Rollout { prefer, canary, go, versions, .. } = rollout;
    let by_command = |is| if is { " by command" } else { "" };
    let mut rules = match prefer.as_str() {
        "weight" => "by weight".to_owned(),
        end => format!("the {end} preferred"),
    };
    rules.push_str(by_command(rollout.prefer_by_command));
    if let Some(canary) = canary {
        rules += &[", canary ", canary, by_command(rollout.canary_by_command)].concat();
    }
    if let Some(go) = go {
        rules += &[", go to ", go, " by command"].concat();
    }
    let versions: Vec<_> = versions.iter().map(version).collect();
    format!("roll-out: {}; {rules}", versions.join(", "))
}

fn version(RolloutVersion { version, backends, waits, share }: &RolloutVersion) -> String {
    let backends = if *backends == 1 { "1 backend".to_owned() } else { format!("{backends} backends") };
    if *waits {
        return format!("{version} waits ({backends})");
    }
    format!("{version} gets {:.2} % ({backends})", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollout_is_told_in_a_line() {
        let version = |version: &str, waits, share| RolloutVersion {
            version: version.to_owned(),
            backends: 2,
            waits,
            share,
        };
        let plain = Rollout {
            compatible: "patch".to_owned(),
            prefer: "weight".to_owned(),
            prefer_by_command: false,
            canary: None,
            canary_by_command: false,
            go: None,
            runs: Some("1.0.1".to_owned()),
            versions: vec![
                version("1.0.1", false, 0.95),
                version("1.0.2", false, 0.05),
                RolloutVersion { backends: 1, ..version("2.5.1", true, 0.0) },
            ],
        };
        assert_eq!(
            rollout(&plain),
            "roll-out: 1.0.1 gets 95.00 % (2 backends), 1.0.2 gets 5.00 % (2 backends), 2.5.1 waits (1 backend); by weight"
        );
        let ordered = Rollout {
            prefer: "oldest".to_owned(),
            canary: Some("5%".to_owned()),
            canary_by_command: true,
            go: Some("1.0.1".to_owned()),
            versions: Vec::new(),
            ..plain
        };
        assert_eq!(
            rollout(&ordered),
            "roll-out: ; the oldest preferred, canary 5% by command, go to 1.0.1 by command"
        );
    }
}
