//! `sluice check`: what the daemon would say of a file, without touching anything.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::{
    daemon::{Output, print, print_json},
    is_styled,
};
use crate::{
    budget,
    config::{Config, Diagnostic, Service, Warning},
    home,
    interface::Netlink,
    neighbours::{OwnWay, own_ways},
};

/// Arguments of `sluice check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Configuration to check
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What is said of a file, for programs.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether a daemon would run with it.
    ok: bool,
    /// What it would balance; nothing where it would not run.
    services: Vec<Summary>,
    /// What is wrong with it, or probably not meant.
    complaints: Vec<Complaint>,
}

#[derive(Debug, Serialize)]
struct Summary {
    name: String,
    address: IpAddr,
    /// 0: every port.
    port: u16,
    protocol: &'static str,
    backends: usize,
    slots: u32,
}

#[derive(Debug, Serialize)]
struct Complaint {
    /// `error` or `warning`.
    severity: &'static str,
    /// The key that it is about, such as `service[0].slots`; none where it is about the file, or the host.
    key: Option<String>,
    message: String,
    /// From 1.
    line: Option<usize>,
    /// From 1, in characters.
    column: Option<usize>,
    remedy: Option<String>,
}

/// Runs `sluice check`: a summary and `ok` on standard output, complaints on standard error.
pub(super) fn run(args: &CheckArgs) -> Result<ExitCode> {
    if args.output == Output::Json {
        return run_for_programs(args);
    }
    let (config, warnings) = Config::load(&args.file)?;
    for warning in &warnings {
        eprintln!("{}\n", if is_styled() { warning.styled() } else { warning.to_string() });
    }
    for warning in host_warnings(&config)? {
        eprintln!("warning: {warning}\n");
    }
    print(&format!("{}\nok", summary(&config)))?;
    Ok(ExitCode::SUCCESS)
}

fn run_for_programs(args: &CheckArgs) -> Result<ExitCode> {
    let (report, code) = match Config::load(&args.file) {
        Ok((config, warnings)) => {
            (Report::of(&config, &warnings, host_warnings(&config)?), ExitCode::SUCCESS)
        }
        Err(diagnostics) => (Report::broken(&diagnostics), ExitCode::FAILURE),
    };
    print_json(&report)?;
    Ok(code)
}

impl Report {
    fn of(config: &Config, warnings: &[Warning], of_host: Vec<String>) -> Self {
        let of_file = warnings.iter().map(|warning| Complaint::of("warning", warning.diagnostic()));
        let of_host = of_host.into_iter().map(|message| Complaint {
            severity: "warning",
            key: None,
            message,
            line: None,
            column: None,
            remedy: None,
        });
        let services = config.services.iter().map(|service| Summary {
            name: service.name.clone(),
            address: service.address,
            port: service.port,
            protocol: service.protocol.name(),
            backends: service.backends.len(),
            slots: service.slots,
        });
        Self { ok: true, services: services.collect(), complaints: of_file.chain(of_host).collect() }
    }

    fn broken<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> Self {
        let complaints = diagnostics.into_iter().map(|diagnostic| Complaint::of("error", diagnostic));
        Self { ok: false, services: Vec::new(), complaints: complaints.collect() }
    }
}

impl Complaint {
    fn of(severity: &'static str, diagnostic: &Diagnostic) -> Self {
        let (line, column) = diagnostic.position().unzip();
        let key = Some(diagnostic.key_path()).filter(|key| !key.is_empty()).map(str::to_owned);
        let (message, remedy) = (diagnostic.message().to_owned(), diagnostic.remedy().map(str::to_owned));
        Self { severity, key, message, line, column, remedy }
    }
}

/// What this host makes of a file that may be meant for another one.
fn host_warnings(config: &Config) -> Result<Vec<String>> {
    let runtime = super::runtime()?;
    let mut warnings = runtime.block_on(size_warnings(config));
    warnings.extend(runtime.block_on(home_warnings(config)));
    Ok(warnings)
}

/// What the interfaces say of the packets that fit through tunnels, where they are this host's: the file may be meant for
/// another one.
async fn size_warnings(config: &Config) -> Vec<String> {
    let Ok(netlink) = Netlink::open() else { return Vec::new() };
    let mut widest = None;
    for name in &config.balancer.interfaces {
        let Ok(interface) = netlink.interface(name).await else { return Vec::new() };
        widest = widest.max(Some(interface.mtu));
    }
    let Some(mtu) = widest.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX)) else { return Vec::new() };
    config.services.iter().filter_map(|service| size_warning(service, mtu)).collect()
}

/// What is to be said of backends that are to be translated to, and are this host: by its own routes, as for sizes.
async fn home_warnings(config: &Config) -> Vec<String> {
    let pairs =
        || config.services.iter().flat_map(|service| service.backends.iter().map(move |b| (service, b)));
    let translated = pairs().filter(|(service, backend)| home::remedy(service, backend).is_some());
    let addresses: BTreeSet<_> = translated.map(|(_, backend)| backend.address).collect();
    let Ok(ways) = own_ways(&addresses).await else { return Vec::new() };
    let own = pairs().filter(|(_, backend)| ways.get(&backend.address) == Some(&OwnWay::Home));
    own.filter_map(|(service, backend)| {
        let remedy = home::remedy(service, backend)?;
        Some(format!("service `{}`, backend `{}`: {remedy}", service.name, backend.name))
    })
    .collect()
}

/// What is to be said of a service where no interface carries more than `mtu` bytes.
fn size_warning(service: &Service, mtu: u16) -> Option<String> {
    let sizes = service.backends.iter().map(|backend| budget::configured(service, backend, mtu));
    let remedy = budget::remedy(&service.key(), sizes.min()?)?;
    Some(format!("service `{}`, by interfaces of {mtu} bytes: {remedy}", service.name))
}

fn summary(config: &Config) -> String {
    let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
    let slots: u64 = config.services.iter().map(|service| u64::from(service.slots)).sum();
    let total = format!("services: {}, backends: {backends}, slots: {slots}", config.services.len());
    if config.services.is_empty() {
        return total;
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["service", "address", "port", "protocol", "backends", "slots"]);
    table.add_rows(config.services.iter().map(|service| row(service)));
    format!("{}\n\n{total}", table.trim_fmt())
}

fn row(service: &Service) -> [String; 6] {
    [
        service.name.clone(),
        service.address.to_string(),
        if service.port == 0 { "any".to_owned() } else { service.port.to_string() },
        service.protocol.name().to_owned(),
        service.backends.len().to_string(),
        service.slots.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_whose_tunnels_leave_less_than_clients_send_are_warned_of() {
        let full = include_str!("../../../examples/full.toml");
        let (config, _) = Config::parse("full.toml", full).unwrap();
        let warnings = |mtu| -> Vec<_> {
            config.services.iter().filter_map(|service| size_warning(service, mtu)).collect()
        };
        assert_eq!(warnings(1600), Vec::<String>::new());
        insta::assert_snapshot!(warnings(1500).join("\n"));
    }

    #[test]
    fn report_for_programs_has_a_stable_shape() {
        let text = "[balancer]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"203.0.113.10\"\n\
                    port = 80\nprotocol = \"tcp\"\nforwarding = \"l2\"\nprobe = { type = \"none\" }\n\
                    [[service.backend]]\nname = \"b1\"\naddress = \"192.0.2.11\"\n";
        let (config, warnings) = Config::parse("sluice.toml", text).unwrap();
        let good = Report::of(&config, &warnings, vec!["service `web`: too wide".to_owned()]);
        let broken = Config::parse("sluice.toml", &text.replace("port = 80", "port = 80\nslots = 4100"));
        let broken = Report::broken(&broken.unwrap_err());
        insta::assert_snapshot!(serde_json::to_string_pretty(&[good, broken]).unwrap());
    }

    #[test]
    fn summary_lists_services_and_their_sums() {
        let full = include_str!("../../../examples/full.toml");
        let (config, _) = Config::parse("full.toml", full).unwrap();
        let said = summary(&config);
        insta::assert_snapshot!(said);
    }
}
