//! `sluice check`: what the daemon would say of a file, without touching anything.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets};

use super::is_styled;
use crate::{
    budget,
    config::{Config, Service},
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
}

/// Runs `sluice check`: a summary and `ok` on standard output, complaints on standard error.
pub(super) fn run(args: &CheckArgs) -> Result<()> {
    let (config, warnings) = Config::load(&args.file)?;
    for warning in &warnings {
        eprintln!("{}\n", if is_styled() { warning.styled() } else { warning.to_string() });
    }
    let runtime = super::runtime()?;
    let (sizes, homes) = (runtime.block_on(size_warnings(&config)), runtime.block_on(home_warnings(&config)));
    for warning in sizes.iter().chain(&homes) {
        eprintln!("{warning}\n");
    }
    println!("{}\nok", summary(&config));
    Ok(())
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
        Some(format!("warning: service `{}`, backend `{}`: {remedy}", service.name, backend.name))
    })
    .collect()
}

/// What is to be said of a service where no interface carries more than `mtu` bytes.
fn size_warning(service: &Service, mtu: u16) -> Option<String> {
    let sizes = service.backends.iter().map(|backend| budget::configured(service, backend, mtu));
    let remedy = budget::remedy(&service.key(), sizes.min()?)?;
    Some(format!("warning: service `{}`, by interfaces of {mtu} bytes: {remedy}", service.name))
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
    table.add_rows(config.services.iter().map(row));
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
    fn summary_lists_services_and_their_sums() {
        let full = include_str!("../../../examples/full.toml");
        let (config, _) = Config::parse("full.toml", full).unwrap();
        let said = summary(&config);
        insta::assert_snapshot!(said);
    }
}
