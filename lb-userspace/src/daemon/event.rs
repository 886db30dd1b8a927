//! What the tasks of the daemon tell the one that owns the truth, and where its answers go.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use tokio::sync::oneshot;

use super::{CandidateError, EditEvent, reload::Reload};
use crate::{
    admin::{
        self,
        verify::{Repair, Verification},
    },
    changes::Said,
    config::Config,
    dataplane::capture::CaptureProgram,
    explain::Scene,
    fleet,
    health::{HealthEvent, TargetKey},
    metrics::Snapshot,
    neighbours::Resolution,
    path_mtu::TooBig,
    wishes::{Order, OrderError, RolloutError, RolloutOrder},
};

/// Something that may change the truth.
#[derive(Debug)]
pub enum Event {
    /// A next hop became different.
    NextHop(IpAddr, Resolution),
    /// A router says that a packet was too big.
    TooBig(TooBig),
    /// A backend's health became different.
    Health(HealthEvent),
    /// The file is to be read again.
    Reload(Reload),
    /// Somebody asks how things are.
    Status(StatusEvent),
    /// Somebody asks whether the kernel holds what was applied.
    Verify(oneshot::Sender<Result<Verification, String>>),
    /// Somebody wants what it does not hold written anew.
    Repair(oneshot::Sender<Result<Repair, String>>),
    /// Somebody wants to look at packets.
    BeginCapture(BeginCapture),
    /// Nobody does any more.
    EndCapture(EndCapture),
    /// Somebody wants to explain packets.
    Scene(oneshot::Sender<Scene>),
    /// Somebody wants something else of a backend.
    Order(OrderEvent),
    /// Somebody wants something else of a roll-out.
    Rollout(RolloutEvent),
    /// Somebody asks what another configuration would change.
    Plan(PlanEvent),
    /// Somebody wants another configuration to be the running one.
    Apply(ApplyEvent),
    /// Somebody wants a service or a backend to be another.
    Edit(EditEvent),
    /// Somebody asks what the services and backends are to be.
    Said(oneshot::Sender<Said>),
    /// Somebody asks for metrics.
    Metrics(oneshot::Sender<Snapshot>),
    /// Somebody asks for the configuration that runs.
    Config(oneshot::Sender<Arc<Config>>),
    /// Somebody asks whether packets are forwarded.
    Ready(oneshot::Sender<bool>),
    /// Another balancer asks or tells something.
    Peer(fleet::Event),
}

impl Event {
    /// Whether it changes nothing.
    pub(super) const fn only_asks(&self) -> bool {
        matches!(
            self,
            Self::BeginCapture(_)
                | Self::EndCapture(_)
                | Self::Status(_)
                | Self::Scene(_)
                | Self::Metrics(_)
                | Self::Config(_)
                | Self::Ready(_)
                | Self::Plan(_)
                | Self::Said(_)
                | Self::Verify(_)
        )
    }
}

/// A question about everything, and where its answer goes.
#[derive(Debug)]
pub struct StatusEvent {
    /// Whether the histories of backends are asked for too.
    pub histories: bool,
    /// Told at once.
    pub answer: oneshot::Sender<admin::status::Status>,
}

/// A program that shows packets, which is to take the place of the other one, and where it is told whether it has.
#[derive(Debug)]
pub struct BeginCapture {
    /// The program.
    pub program: Box<CaptureProgram>,
    /// Told once every packet meets it, or why not.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// The end of a program that shows packets.
#[derive(Debug)]
pub struct EndCapture {
    /// Its number.
    pub id: u64,
    /// Told once no packet meets it any more.
    pub answer: oneshot::Sender<()>,
}

/// An order about a service's roll-out, and where its answer goes.
#[derive(Debug)]
pub struct RolloutEvent {
    /// The service.
    pub service: String,
    /// What is wanted of it.
    pub order: RolloutOrder,
    /// Told once the order is kept and the data plane follows.
    pub answer: oneshot::Sender<Result<admin::rollout::Obeyed, RolloutError>>,
}

/// An order, and where its answer goes.
#[derive(Debug)]
pub struct OrderEvent {
    /// The backend.
    pub target: TargetKey,
    /// What is wanted of it.
    pub order: Order,
    /// Told once the order is kept and the data plane follows.
    pub answer: oneshot::Sender<Result<admin::order::Obeyed, OrderError>>,
}

/// A question what a configuration would change, and where its answer goes.
#[derive(Debug)]
pub struct PlanEvent {
    /// Its text.
    pub text: String,
    /// The file that it is from, beside which its lists are; none: that of the running one.
    pub path: Option<PathBuf>,
    /// Told at once.
    pub answer: oneshot::Sender<Result<admin::plan::Preview, CandidateError>>,
}

/// A configuration that is to be the running one, and where is told what came of it.
#[derive(Debug)]
pub struct ApplyEvent {
    /// Its text.
    pub text: String,
    /// The digest of the plan that was agreed to; none: whatever it changes.
    pub digest: Option<String>,
    /// Told once it is in the file and the data plane follows.
    pub answer: oneshot::Sender<Result<admin::plan::Outcome, CandidateError>>,
}
