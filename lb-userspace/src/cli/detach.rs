//! `sluice detach`: takes down the data plane that a daemon has left forwarding. While one runs, it has the lock on the
//! pins, and this is refused.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::daemon::{Output, print, print_json};
use crate::{dataplane::pins::Pins, interface::Netlink, road};

/// Arguments of `sluice detach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the daemon has pinned maps, programs and links: its `balancer.pin_path`
    #[arg(long, value_name = "PATH", default_value = "/sys/fs/bpf/sluice")]
    pin_path: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What was taken down, for programs.
#[derive(Debug, Serialize)]
struct Detached {
    /// The interfaces that had the program.
    interfaces: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let pin_path = &args.pin_path;
    if !pin_path.exists() {
        bail!("nothing is pinned at {}; is this the daemon's balancer.pin_path?", pin_path.display());
    }
    let pins = Pins::open(pin_path)?;
    let interfaces = pins.linked_interfaces()?;
    clear_roads(&pins)?;
    pins.remove()?;
    if args.output == Output::Json {
        return print_json(&Detached { interfaces });
    }
    let from = if interfaces.is_empty() { "no interface".to_owned() } else { interfaces.join(", ") };
    print(&format!("detached from {from}"))
}

/// Takes down what a daemon that was killed has left of the roads of its probes.
fn clear_roads(pins: &Pins) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(async {
        let netlink = Netlink::open()?;
        Ok(road::clear(&netlink, pins).await?)
    })
}
