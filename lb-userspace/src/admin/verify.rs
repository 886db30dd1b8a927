//! Whether the kernel holds what the daemon has applied: `GET /v1/verify` and `POST /v1/verify/repair`.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What cures most of it.
const REPAIR: &str = "sluice verify --repair";

/// What a look at the kernel has found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    /// Whether the kernel holds all of it.
    pub same: bool,
    /// What is otherwise, by where it is.
    pub differences: Vec<Difference>,
    /// What was looked at.
    pub looked_at: LookedAt,
    /// How long the daemon has done nothing else for that, in seconds. Prefixes of lists are read beside it, but for a repair.
    pub took: f64,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LookedAt {
    /// Services.
    pub services: u32,
    /// Their backends.
    pub backends: u32,
    /// Slots of their tables, previous tables included.
    pub slots: u64,
    /// Pins of maps, programs and links.
    pub pins: u32,
    /// Interfaces.
    pub interfaces: u32,
}

/// Something that the kernel holds otherwise than it is to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// Where it is: a map by its name, or `pin`, `interface`, `plan`.
    pub place: String,
    /// The service that it is about.
    pub service: Option<String>,
    /// The backend that it is about; one that has left has its address here.
    pub backend: Option<String>,
    /// What of it, such as `slot 17` or `next_hop_mac`.
    pub field: String,
    /// What is to be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// How many slots it stands for; 1 for anything else. Of a table with many that differ, all beyond the first are one.
    pub count: u32,
    /// What cures it.
    pub remedy: String,
}

/// What was written anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Repair {
    /// What was otherwise before.
    pub found: Verification,
    /// What could not be written, and why; empty where all could.
    pub failures: Vec<String>,
    /// What a second look has found.
    pub then: Verification,
}

impl Difference {
    /// One that a repair cures.
    #[must_use]
    pub fn new(
        place: &str,
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            place: place.to_owned(),
            service: None,
            backend: None,
            field: field.into(),
            expected: expected.into(),
            found: found.into(),
            count: 1,
            remedy: REPAIR.to_owned(),
        }
    }

    /// The same about a service.
    #[must_use]
    pub fn of(self, service: Option<String>, backend: Option<String>) -> Self {
        Self { service, backend, ..self }
    }

    /// The same with another cure.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, field, expected, found, .. } = self;
        write!(f, "{place}: ")?;
        if let Some(service) = &self.service {
            write!(f, "service {service}, ")?;
        }
        if let Some(backend) = &self.backend {
            write!(f, "backend {backend}, ")?;
        }
        write!(f, "{field}: expected {expected}, found {found}")
    }
}
