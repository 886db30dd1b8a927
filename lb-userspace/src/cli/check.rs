//! `sluice check`: what the daemon would say of a file, without touching anything.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets};

use super::is_styled;
use crate::config::{Config, Service};

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
    println!("{}\nok", summary(&config));
    Ok(())
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
    fn summary_lists_services_and_their_sums() {
        let full = include_str!("../../../examples/full.toml");
        let (config, _) = Config::parse("full.toml", full).unwrap();
        let said = summary(&config);
        insta::assert_snapshot!(said);
    }
}
