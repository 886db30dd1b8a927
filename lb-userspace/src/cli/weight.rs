//! `sluice weight`: a backend's share relative to the others', while the daemon runs.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    daemon::{DaemonArgs, Output, print, print_json},
    names::resolve,
};
use crate::{
    admin::{change::Changed, client, status::Status},
    config::MAX_WEIGHT,
};

/// Arguments of `sluice weight`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backend: of every service that has it, where no service is named
    #[arg(value_name = "[SERVICE/]BACKEND")]
    backend: String,
    /// Its weight from now on, also over restarts, until the file says something else of it
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_WEIGHT)))]
    weight: u32,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn run(args: &Args) -> Result<()> {
    super::runtime()?.block_on(set(args))
}

async fn set(args: &Args) -> Result<()> {
    let endpoint = &args.daemon.endpoint;
    let status: Status = client::get(endpoint, "/v1/status").await?;
    let mut all = Vec::new();
    for name in resolve(&status, &args.backend)? {
        let path = format!("/v1/services/{}/backends/{}", name.service, name.backend);
        let changed: Changed = client::patch(endpoint, &path, &json!({ "weight": args.weight }))
            .await
            .with_context(|| name.to_string())?;
        for warning in &changed.warnings {
            eprintln!("warning: {name}: {warning}");
        }
        if args.daemon.output == Output::Table {
            print(&format!("{name} has weight {}", args.weight))?;
        }
        all.push(changed);
    }
    if args.daemon.output == Output::Json { print_json(&all) } else { Ok(()) }
}
