//! The interfaces that the program is attached to.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail};
use lb_common::knobs::{FEATURE_FRAMES, FEATURE_NEXT};
use tracing::{info, warn};

use super::truth;
use crate::{
    admin::status,
    config::{Config, Service, XdpMode},
    dataplane::{
        attach::{self, Place},
        ebpf::EbpfDataPlane,
        pins::{self, Pins, unpin},
    },
    interface::{Interface, Mode, Netlink, ONE_PIECE},
};

/// What is attached, or can be.
#[derive(Debug)]
pub(super) struct Attachments {
    wanted: XdpMode,
    interfaces: Vec<Attachment>,
}

#[derive(Debug)]
struct Attachment {
    interface: Interface,
    pin: std::path::PathBuf,
    mode: Option<Mode>,
}

impl Attachments {
    /// Looks for a place on every configured interface; attaches nothing.
    pub(super) async fn find(config: &Config, netlink: &Netlink, pins: &Pins) -> Result<Self> {
        let mut interfaces = Vec::new();
        for name in &config.balancer.interfaces {
            let interface = netlink.interface(name).await.context("balancer.interfaces")?;
            let pin = pins.link(name);
            attach::place(&interface, &pin)?;
            interfaces.push(Attachment { interface, pin, mode: None });
        }
        Ok(Self { wanted: config.balancer.mode, interfaces })
    }

    /// Attaches the program everywhere, through the links that are there where there are some.
    pub(super) fn attach(&mut self, dataplane: &mut EbpfDataPlane, pin_path: &Path) -> Result<()> {
        dataplane.hold_next(pin_path)?;
        let program = dataplane.program()?;
        for attachment in &mut self.interfaces {
            let place: Place = attach::place(&attachment.interface, &attachment.pin)?;
            let kept = matches!(place, Place::Ours(..));
            let mode = attach::attach(program, &attachment.interface, place, self.wanted, &attachment.pin)?;
            attachment.mode = Some(mode);
            tell(&attachment.interface, mode, self.wanted, kept);
        }
        let pin = pin_path.join(pins::PROGRAM);
        unpin(&pin)?;
        program.pin(&pin).with_context(|| format!("cannot pin the program to {}", pin.display()))?;
        Ok(dataplane.release_former_next(pin_path)?)
    }

    /// Detaches from all interfaces but these.
    pub(super) fn detach_others(&self, pins: &Pins) -> Result<()> {
        for interface in pins.linked_interfaces()? {
            if !self.interfaces.iter().any(|attachment| attachment.interface.name == interface) {
                unpin(&pins.link(&interface))?;
                info!(interface, "detached");
            }
        }
        Ok(())
    }

    /// What configuration and interfaces need of the program.
    ///
    /// # Errors
    ///
    /// What is pinned as the next program takes frames of one piece, as does what jumps to it.
    pub(super) fn features<'a>(
        &self,
        config: &Config,
        services: impl IntoIterator<Item = &'a Arc<Service>>,
    ) -> Result<u32> {
        let features = truth::features(config, services);
        let large = self.interfaces.iter().find(|attachment| attachment.interface.has_large_frames());
        let Some(Attachment { interface, .. }) = large else { return Ok(features) };
        if features & FEATURE_NEXT != 0 {
            let Interface { name, mtu, .. } = interface;
            bail!(
                "balancer.next_program cannot be had on {name}, whose MTU is {mtu}: beyond {ONE_PIECE} bytes frames may \
                 consist of several pieces; lower the MTU, or leave `next_program` out"
            );
        }
        Ok(features | FEATURE_FRAMES)
    }

    /// The interfaces' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.interfaces.iter().map(|attachment| attachment.interface.name.as_str())
    }

    /// For the status.
    pub(super) fn report(&self) -> Vec<status::Interface> {
        self.interfaces
            .iter()
            .filter_map(|a| {
                Some(status::Interface { name: a.interface.name.clone(), mode: a.mode?.name().to_owned() })
            })
            .collect()
    }
}

/// Tells of a new attachment, and of a mode that is not what one would wish for.
fn tell(interface: &Interface, mode: Mode, wanted: XdpMode, kept: bool) {
    let Interface { name: interface, members, .. } = interface;
    match (mode, wanted) {
        (Mode::Generic, XdpMode::Auto) if !members.is_empty() => warn!(
            interface,
            "attached in generic mode, since this bond has no native XDP: every packet is first copied into a socket \
             buffer, which costs several times as much per packet; its members may have it: name them in \
             balancer.interfaces instead, {}",
            attach::list(members)
        ),
        (Mode::Generic, XdpMode::Auto) => warn!(
            interface,
            "attached in generic mode, since the driver has no native XDP: every packet is first copied into a socket \
             buffer, which costs several times as much per packet"
        ),
        (Mode::Generic, XdpMode::Native) | (Mode::Native, XdpMode::Generic) => warn!(
            interface,
            "stays in {} mode, in which an earlier daemon attached it; to change that, \
             stop it, `sluice detach`, and start it again",
            mode.name()
        ),
        _ if kept => {}
        _ => info!(interface, mode = mode.name(), "attached"),
    }
}
