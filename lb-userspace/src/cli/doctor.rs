//! `sluice doctor`: what is wrong with this host, and what cures it.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail};
use serde::Serialize;

use super::daemon::{Output, print, print_json};
use crate::{
    admin::{Endpoint, client, status::Status},
    config::Config,
    doctor::{self, Finding, Port, Served, Severity},
    host::{self, Paths},
};

/// Arguments of `sluice doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if there is no problem (hints do not count), 1 if there is one. \
                        Every line below a finding is a command that cures it.")]
pub(super) struct Args {
    /// The balancer's configuration file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/sluice/sluice.toml")]
    config: PathBuf,
    /// Look at this host as a backend that serves a VIP; may be given several times
    #[arg(long = "backend", value_name = "VIP", conflicts_with = "config", requires = "interface")]
    vips: Vec<IpAddr>,
    /// The interface that packets from the balancer arrive at
    #[arg(long, value_name = "NAME", requires = "vips")]
    interface: Option<String>,
    /// A port of the VIPs at which a server is to listen, such as 80 or 53/udp; may be given several times
    #[arg(long = "port", value_name = "PORT[/udp]", conflicts_with = "config")]
    ports: Vec<Port>,
    /// The balancer forwards to this backend by l2: nothing arrives in tunnels
    #[arg(long, requires = "vips")]
    no_decap: bool,
    /// File that remembers what `sluice backend up` has done
    #[arg(long, value_name = "FILE", default_value = "/run/sluice/backend.json")]
    state: PathBuf,
    /// Directory of the decapsulator's pins
    #[arg(long, value_name = "DIRECTORY", default_value = "/sys/fs/bpf/sluice-backend")]
    pin_path: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Serialize)]
struct Report {
    /// `balancer` or `backend`.
    role: &'static str,
    /// Whether a daemon answers; none for a backend.
    daemon: Option<bool>,
    findings: Vec<Finding>,
}

/// Runs `sluice doctor`.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let report = super::runtime()?.block_on(examine(args))?;
    match args.output {
        Output::Json => print_json(&report)?,
        Output::Table => print(&shown(&report))?,
    }
    let is_ill = report.findings.iter().any(|finding| finding.severity == Severity::Problem);
    Ok(if is_ill { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A host that neither has a configuration nor is asked as a backend is what `sluice backend up` has made it.
async fn examine(args: &Args) -> Result<Report> {
    if let Some(interface) = &args.interface {
        let (interface, vips) = (interface.clone(), args.vips.clone());
        let served = Served { interface, vips, tunnelled: !args.no_decap, ports: args.ports.clone() };
        return backend(args, &served).await;
    }
    if args.config.exists() {
        return balancer(&args.config).await;
    }
    let paths = Paths { pins: args.pin_path.clone(), state: args.state.clone() };
    let Some(report) = host::show(&paths).await? else {
        bail!(
            "{} does not exist, and this host is no backend: say which file with --config, or which VIP with --backend and \
             --interface",
            args.config.display()
        );
    };
    let state = report.state;
    let (interface, vips) = (state.interface, state.vips);
    let served = Served { interface, vips, tunnelled: state.decap.is_some(), ports: args.ports.clone() };
    backend(args, &served).await
}

async fn balancer(file: &Path) -> Result<Report> {
    let (config, _) = Config::load(file)?;
    let balancer = &config.balancer;
    let places = [
        ("balancer.state_path", balancer.state_path.clone()),
        ("balancer.socket", balancer.socket.parent().unwrap_or(Path::new("/")).to_owned()),
        ("balancer.pin_path", balancer.pin_path.clone()),
    ];
    let facts = doctor::gather(&[&balancer.pin_path], &places).await?;
    let endpoint = Endpoint::on_socket(balancer.socket.clone());
    let answers = client::get::<Status>(&endpoint, "/v1/status").await.is_ok();
    Ok(Report { role: "balancer", daemon: Some(answers), findings: doctor::balancer(&facts, &config) })
}

async fn backend(args: &Args, served: &Served) -> Result<Report> {
    let facts = doctor::gather(&[&args.pin_path], &[]).await?;
    Ok(Report { role: "backend", daemon: None, findings: doctor::backend(&facts, served) })
}

fn shown(report: &Report) -> String {
    let Report { role, daemon, findings } = report;
    let daemon = match daemon {
        Some(true) => ", and a daemon answers",
        Some(false) => ", and no daemon answers",
        None => "",
    };
    let mut lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (problems, hints) = (count(Severity::Problem), count(Severity::Hint));
    lines.push(format!("this host as a {role}: {problems} problems, {hints} hints{daemon}"));
    lines.join("\n")
}
