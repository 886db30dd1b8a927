//! `sluice services` and `sluice backends`: short lists of what a running daemon balances.

use anyhow::{Result, bail};
use comfy_table::Table;

use super::{
    daemon::{DaemonArgs, Output, print, print_json},
    state::cell,
    status::{align_right, opened, plain_table},
};
use crate::admin::{
    client,
    status::{Backend, Service, Status},
};

/// Arguments of `sluice services`.
#[derive(Debug, clap::Args)]
pub(super) struct ServicesArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Arguments of `sluice backends`.
#[derive(Debug, clap::Args)]
pub(super) struct BackendsArgs {
    /// The service; all of them where none is named
    service: Option<String>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn services(args: &ServicesArgs) -> Result<()> {
    let status = status(&args.daemon)?;
    match args.daemon.output {
        Output::Json => print_json(&status.services),
        Output::Table => print(&table_of_services(&status.services).to_string()),
    }
}

pub(super) fn backends(args: &BackendsArgs) -> Result<()> {
    let mut services = status(&args.daemon)?.services;
    if let Some(wanted) = &args.service {
        services.retain(|service| service.name == *wanted);
        if services.is_empty() {
            bail!("there is no service {wanted}; `sluice services` lists all of them");
        }
    }
    match args.daemon.output {
        Output::Json => print_json(&services.into_iter().flat_map(|s| s.backends).collect::<Vec<_>>()),
        Output::Table => print(&table_of_backends(&services).to_string()),
    }
}

fn status(daemon: &DaemonArgs) -> Result<Status> {
    super::runtime()?.block_on(client::get(&daemon.endpoint, "/v1/status"))
}

fn table_of_services(services: &[Service]) -> Table {
    let mut table =
        plain_table(&["service", "address", "port", "protocol", "backends", "available", "new flows"]);
    for Service { name, address, port, protocol, backends, available, opened_flows, .. } in services {
        let takes_flows = |backend: &&Backend| backend.share > 0.0;
        let port = if *port == 0 { "any".to_owned() } else { port.to_string() };
        let taking = format!("{} of {}", backends.iter().filter(takes_flows).count(), backends.len());
        let available = if *available { "yes" } else { "no" };
        table.add_row([
            name.clone(),
            address.to_string(),
            port,
            protocol.clone(),
            taking,
            available.to_owned(),
            opened(*opened_flows),
        ]);
    }
    align_right(&mut table, &[2, 6]);
    table
}

fn table_of_backends(services: &[Service]) -> Table {
    let mut table = plain_table(&["backend", "address", "weight", "state", "share", "new flows"]);
    for (service, backend) in services.iter().flat_map(|s| s.backends.iter().map(move |b| (&s.name, b))) {
        table.add_row([
            format!("{service}/{}", backend.name),
            backend.address.to_string(),
            backend.weight.to_string(),
            cell(backend),
            format!("{:.2} %", backend.share * 100.0),
            opened(backend.opened_flows),
        ]);
    }
    align_right(&mut table, &[2, 4, 5]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{backend, service};

    #[test]
    fn lists_have_a_line_for_each() {
        let services =
            [service("web", vec![backend("b1"), backend("b2")]), service("dns", vec![backend("b1")])];
        let lines = |table: Table| table.to_string().lines().count();
        assert_eq!((lines(table_of_services(&services)), lines(table_of_backends(&services))), (3, 4));
        assert!(table_of_backends(&services).to_string().contains("dns/b1"));
    }
}
