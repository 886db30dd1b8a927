//! What a configuration would change: `POST /v1/plan` and `POST /v1/apply`.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::KeyChange;

/// What a configuration would change if it became the running one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// Tells plans apart, 16 hex digits: the same as long as the same would be changed in the same tables.
    pub digest: String,
    /// Whether anything would change.
    pub changes: bool,
    /// Why it cannot become the running one as long as this daemon runs, or at all; empty where it can.
    pub refused: Vec<String>,
    /// Keys that belong to no service.
    pub settings: Vec<KeyChange>,
    /// What the program that is loaded does not have, so that another one takes its place.
    pub program: Vec<String>,
    /// The services that would change, by name.
    pub services: Vec<ServiceChange>,
    /// What all of them come to.
    pub totals: Totals,
    /// What has been taken for granted, since it is not known yet.
    pub assumed: Vec<String>,
    /// What the file has that is allowed and probably not meant.
    pub warnings: Vec<String>,
}

/// What becomes of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is new.
    Added,
    /// It stays, and something of it is another.
    Changed,
    /// It is gone; a backend keeps its old flows until they end.
    Removed,
    /// A backend is gone, and gives its old flows up.
    Dropped,
}

/// What would become of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct ServiceChange {
    /// Its name.
    pub service: String,
    /// What becomes of it as a whole.
    pub fate: Fate,
    /// Its own keys.
    pub settings: Vec<KeyChange>,
    /// Its backends that change, or get another part of its slots.
    pub backends: Vec<BackendChange>,
    /// Slots of its table then.
    pub slots: u32,
    /// Slots whose new flows would go to another backend.
    pub moved_slots: u32,
    /// Those of them that would go between backends that the change is not about; none where that cannot be told.
    pub collateral_slots: Option<u32>,
    /// Live flows that are remembered, as of the last walk through their tables.
    pub tracked_flows: u32,
    /// Those of them whose slot moves. They stay with their backends, as long as those keep their flows.
    pub moved_flows: u32,
    /// Those that would lose their backend.
    pub lost_flows: u32,
    /// Digest of its table now, 16 hex digits; none where it has none.
    pub digest_before: Option<String>,
    /// The same then.
    pub digest_after: Option<String>,
    /// The largest packet of a client's that fits on the way to every backend now, in bytes.
    pub largest_packet_before: Option<u16>,
    /// The same then.
    pub largest_packet_after: Option<u16>,
    /// What to do about that, where it is less than what clients send.
    pub size_warning: Option<String>,
}

/// What would become of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct BackendChange {
    /// Its name.
    pub backend: String,
    /// Its address, then.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// What becomes of it.
    pub fate: Fate,
    /// Its keys.
    pub settings: Vec<KeyChange>,
    /// Slots of the table that name it now.
    pub slots_before: u32,
    /// The same then.
    pub slots_after: u32,
    /// Live flows that are remembered to be with it.
    pub tracked_flows: u32,
}

/// What all services come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// Backends that are new.
    pub added: u32,
    /// Backends that stay, and have another key.
    pub changed: u32,
    /// Backends that go.
    pub removed: u32,
    /// Slots whose new flows would go to another backend.
    pub moved_slots: u64,
    /// Those of them that would go between backends that the change is not about, where that can be told.
    pub collateral_slots: u64,
    /// Tracked flows whose slot moves.
    pub moved_flows: u64,
    /// Tracked flows that would lose their backend.
    pub lost_flows: u64,
}

impl Preview {
    /// Adds up what services come to, and what tells this plan from another.
    #[must_use]
    pub fn concluded(mut self, running: u64) -> Self {
        self.totals = self.services.iter().fold(Totals::default(), Totals::with);
        self.changes = !self.settings.is_empty() || !self.services.is_empty();
        self.digest = format!("{:016x}", self.fingerprint(running));
        self
    }

    /// Flows come and go at any time, and are left out.
    fn fingerprint(&self, running: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        running.hash(&mut hasher);
        self.settings.hash(&mut hasher);
        self.refused.hash(&mut hasher);
        for service in &self.services {
            let backends = service.backends.iter().map(|b| BackendChange { tracked_flows: 0, ..b.clone() });
            let settled = ServiceChange {
                tracked_flows: 0,
                moved_flows: 0,
                lost_flows: 0,
                backends: backends.collect(),
                ..service.clone()
            };
            settled.hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Totals {
    fn with(self, service: &ServiceChange) -> Self {
        let count = |fates: &[Fate]| {
            let of_fate = service.backends.iter().filter(|backend| fates.contains(&backend.fate));
            of_fate.filter(|backend| backend.fate != Fate::Changed || !backend.settings.is_empty()).count()
                as u32
        };
        Self {
            added: self.added + count(&[Fate::Added]),
            changed: self.changed + count(&[Fate::Changed]),
            removed: self.removed + count(&[Fate::Removed, Fate::Dropped]),
            moved_slots: self.moved_slots + u64::from(service.moved_slots),
            collateral_slots: self.collateral_slots + u64::from(service.collateral_slots.unwrap_or(0)),
            moved_flows: self.moved_flows + u64::from(service.moved_flows),
            lost_flows: self.lost_flows + u64::from(service.lost_flows),
        }
    }
}

/// What came of a configuration that has become the running one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// What it has changed.
    pub plan: Preview,
    /// The file that was written.
    pub file: String,
    /// Where what was in it before lies now: the way back.
    pub before: Option<String>,
    /// The tables of the services that have changed.
    pub tables: Vec<Table>,
}

/// A service's table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Table {
    /// The service.
    pub service: String,
    /// Its generation.
    pub generation: u32,
    /// Its digest, 16 hex digits.
    pub digest: String,
}
