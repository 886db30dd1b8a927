//! The maps that a daemon starts with: those that another one left, or its own.

use anyhow::Result;
use tracing::{info, warn};

use super::{now, truth};
use crate::{
    config::Config,
    dataplane::{DataPlane as _, ebpf::EbpfDataPlane, load::check_reuse, pins::Pins},
    reconcile::Applied,
};

/// Loads the program for `config`, on the pinned maps if they fit, on new ones otherwise. What is attached goes on with
/// the maps that it has until the program is swapped.
pub(super) fn open(config: &Config, features: u32, pins: &Pins) -> Result<(EbpfDataPlane, Applied)> {
    let knobs = truth::knobs(config, features);
    match check_reuse(knobs, pins.path()) {
        Ok(()) => {
            if let Some(adopted) = adopt(config, features, pins)? {
                return Ok(adopted);
            }
        }
        Err(reason) if pins.has_maps() => info!("starting with new maps beside the pinned ones: {reason}"),
        Err(_) => {}
    }
    let mut dataplane = EbpfDataPlane::load(knobs, Some(&pins.stage()?))?;
    dataplane.sign(&config.fleet.seed)?;
    pins.commit()?;
    Ok((dataplane, Applied::new(&config.limits, config.fleet.seed.index_key())))
}

/// Goes on with the pinned maps, unless they contradict themselves.
fn adopt(config: &Config, features: u32, pins: &Pins) -> Result<Option<(EbpfDataPlane, Applied)>> {
    let mut dataplane = EbpfDataPlane::load(truth::knobs(config, features), Some(pins.path()))?;
    let (image, key) = (dataplane.image(), config.fleet.seed.index_key());
    match Applied::adopt(&config.limits, key, &image, &dataplane, now()) {
        Ok((applied, leftovers)) => {
            dataplane.apply(&leftovers);
            info!(services = applied.services().count(), "going on with the pinned maps");
            Ok(Some((dataplane, applied)))
        }
        Err(error) => {
            warn!("starting with new maps, since the pinned ones cannot be gone on with: {error}");
            Ok(None)
        }
    }
}
