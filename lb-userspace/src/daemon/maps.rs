//! The maps that a daemon starts with: those that another one left, or its own, with what the others hold or empty.

use anyhow::{Context as _, Result};
use tracing::{info, warn};

use super::{now, truth};
use crate::{
    causes::with_causes,
    config::Config,
    dataplane::{DataPlane as _, ebpf::EbpfDataPlane, inherited::Inherited, load::check_reuse, pins::Pins},
    reconcile::{Applied, Op},
};

/// A data plane with what it holds.
pub(super) struct Opened {
    pub(super) dataplane: EbpfDataPlane,
    pub(super) applied: Applied,
    /// Where it was moved over from. Until this program takes the place of the other one, flows are remembered there.
    pub(super) inherited: Option<Inherited>,
}

/// Loads the program for `config`, on the pinned maps if they fit, on new ones otherwise. What is attached goes on with
/// the maps that it has until the program is swapped.
pub(super) fn open(config: &Config, features: u32, pins: &Pins) -> Result<Opened> {
    let knobs = truth::knobs(config, features);
    let mut inherited = None;
    match check_reuse(knobs, pins.path()) {
        Ok(()) => {
            if let Some(opened) = adopt(config, features, pins)? {
                return Ok(opened);
            }
        }
        Err(reason) if reason.is_understood() => {
            info!("moving over to new maps, since the pinned ones are not what is asked for: {reason}");
            inherited = Some(Inherited::open(pins.path())?);
        }
        Err(reason) if pins.has_maps() => warn!(
            "starting with new maps beside the pinned ones: {reason}; connections whose slots have moved lately may break"
        ),
        Err(_) => {}
    }
    let mut dataplane = EbpfDataPlane::load(knobs, Some(&pins.stage()?))?;
    let moved = inherited.as_ref().and_then(|from| move_over(config, from, &mut dataplane));
    let inherited = inherited.filter(|_| moved.is_some());
    dataplane.sign(&config.fleet.seed)?;
    pins.commit()?;
    let applied = moved.unwrap_or_else(|| Applied::new(&config.limits, config.fleet.seed.index_key()));
    Ok(Opened { dataplane, applied, inherited })
}

/// Goes on with the pinned maps, unless they contradict themselves.
fn adopt(config: &Config, features: u32, pins: &Pins) -> Result<Option<Opened>> {
    let mut dataplane = EbpfDataPlane::load(truth::knobs(config, features), Some(pins.path()))?;
    let (image, key) = (dataplane.image(), config.fleet.seed.index_key());
    match Applied::adopt(&config.limits, key, &image, &dataplane, now()) {
        Ok((applied, leftovers)) => {
            dataplane.apply(&leftovers);
            info!(services = applied.services().count(), "going on with the pinned maps");
            Ok(Some(Opened { dataplane, applied, inherited: None }))
        }
        Err(error) => {
            warn!("starting with new maps, since the pinned ones cannot be gone on with: {error}");
            Ok(None)
        }
    }
}

/// Fills new maps with what others hold.
fn move_over(config: &Config, from: &Inherited, to: &mut EbpfDataPlane) -> Option<Applied> {
    match contents(config, from) {
        Ok((applied, ops)) => {
            to.apply(&ops);
            to.take_flows(from);
            Some(applied)
        }
        Err(error) => {
            let causes = with_causes(error.as_ref());
            warn!("starting with new maps, since the pinned ones' content does not fit: {causes}");
            None
        }
    }
}

fn contents(config: &Config, from: &Inherited) -> Result<(Applied, Vec<Op>)> {
    let key = config.fleet.seed.index_key();
    let image = from.image().resized(&config.limits, key).context("limits are too low for what they hold")?;
    let (applied, _) = Applied::adopt(&config.limits, key, &image, from, now())?;
    let ops = applied.contents(from);
    Ok((applied, ops))
}
