//! What the operator wants of a service's roll-out, beyond what the file says.
//!
//! `prefer` and `canary` that were set by command hold until the file says something else of them. A *go* holds for as
//! long as a backend of the file runs a version that is compatible with it.

use serde::{Deserialize, Serialize};

use super::Wishes;
use crate::{
    config::{Canary, Config, PreferVersion, Rollout, Service},
    plan::rollout::Rules,
    version::Version,
};

/// What was said by command of one service's roll-out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutWish {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    go: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefer: Option<Over<PreferVersion>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canary: Option<Over<Option<Canary>>>,
}

/// What a command has said over the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Over<T> {
    is: T,
    /// What the file said then.
    over: T,
}

/// What somebody asks for by command. What it leaves out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutOrder {
    /// Which line is to run.
    pub go: Option<Go>,
    /// Which of its versions new flows go to.
    pub prefer: Option<PreferVersion>,
    /// What another one gets of them; `Some(None)`: nothing is set apart.
    pub canary: Option<Option<Canary>>,
}

/// Which line is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Go {
    /// That of the newest version.
    Newest,
    /// That of this version.
    To(Version),
    /// The oldest that has not stopped, as if nobody had said go.
    Hold,
}

/// Why a roll-out cannot be changed that way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// No such service.
    #[error("there is no service {0}")]
    NoService(String),
    /// Its versions mean nothing.
    #[error("service {0} has no roll-out; say `rollout = {{ … }}` in its table of the file")]
    NoRollout(String),
    /// Nobody could go there.
    #[error("no backend of {service} runs {version} or what is compatible with it; there is {there}")]
    NoSuchVersion {
        /// The service.
        service: String,
        /// What was asked for.
        version: Version,
        /// The versions that it has.
        there: String,
    },
}

impl RolloutWish {
    /// The version that the operator has said go to.
    #[must_use]
    pub const fn go(&self) -> Option<&Version> {
        self.go.as_ref()
    }

    /// Whether a command has said which versions are preferred.
    #[must_use]
    pub const fn has_preference(&self) -> bool {
        self.prefer.is_some()
    }

    /// Whether a command has said what the canary's share is.
    #[must_use]
    pub const fn has_canary(&self) -> bool {
        self.canary.is_some()
    }

    /// What is left of it where the file says `service`.
    fn followed(&self, service: &Service) -> Self {
        let Some(rollout) = &service.rollout else { return Self::default() };
        Self {
            go: self.go.clone().filter(|go| has_line(service, rollout, go)),
            prefer: Over::followed(self.prefer, rollout.prefer),
            canary: Over::followed(self.canary, rollout.canary),
        }
    }
}

impl<T: Copy + PartialEq> Over<T> {
    /// It holds where the file says what it said then, and there is a difference.
    fn followed(this: Option<Self>, file: T) -> Option<Self> {
        this.filter(|over| over.over == file && over.is != file)
    }

    fn new(is: T, file: T) -> Option<Self> {
        (is != file).then_some(Self { is, over: file })
    }
}

impl Wishes {
    /// What a service says of versions now; none where it has no roll-out.
    #[must_use]
    pub fn rules_of<'a>(&'a self, service: &'a Service) -> Option<Rules<'a>> {
        let Rollout { compatible, prefer, canary } = service.rollout.as_ref()?;
        let wish = self.rollouts.get(&service.name);
        Some(Rules {
            compatible,
            prefer: wish.and_then(|wish| wish.prefer).map_or(*prefer, |over| over.is),
            canary: wish.and_then(|wish| wish.canary).map_or(*canary, |over| over.is),
            go: wish.and_then(RolloutWish::go),
        })
    }

    /// What commands have said of a service's roll-out.
    #[must_use]
    pub fn rollout_of(&self, service: &str) -> Option<&RolloutWish> {
        self.rollouts.get(service)
    }

    /// Does what somebody asks for.
    ///
    /// # Errors
    ///
    /// [`RolloutError`]; nothing has changed then.
    pub fn roll_out(
        &mut self,
        config: &Config,
        name: &str,
        order: &RolloutOrder,
    ) -> Result<(), RolloutError> {
        let service = config.services.iter().find(|service| service.name == name);
        let service = service.ok_or_else(|| RolloutError::NoService(name.to_owned()))?;
        let rollout = service.rollout.as_ref().ok_or_else(|| RolloutError::NoRollout(name.to_owned()))?;
        let mut wish = self.rollouts.get(name).cloned().unwrap_or_default();
        match &order.go {
            None => {}
            Some(Go::Hold) => wish.go = None,
            Some(Go::Newest) => wish.go = versions(service).max().cloned(),
            Some(Go::To(version)) if has_line(service, rollout, version) => wish.go = Some(version.clone()),
            Some(Go::To(version)) => return Err(no_such_version(service, version)),
        }
        if let Some(prefer) = order.prefer {
            wish.prefer = Over::new(prefer, rollout.prefer);
        }
        if let Some(canary) = order.canary {
            wish.canary = Over::new(canary, rollout.canary);
        }
        self.set_rollout(name, wish);
        Ok(())
    }

    /// Follows the file to `config`; the names of the services of which commands do not hold any more.
    pub fn follow_rollouts(&mut self, config: &Config) -> Vec<String> {
        let mut overruled = Vec::new();
        for (name, wish) in std::mem::take(&mut self.rollouts) {
            let service = config.services.iter().find(|service| service.name == name);
            let left = service.map(|service| wish.followed(service)).unwrap_or_default();
            if left != wish {
                overruled.push(name.clone());
            }
            self.set_rollout(&name, left);
        }
        overruled
    }

    fn set_rollout(&mut self, name: &str, wish: RolloutWish) {
        if wish == RolloutWish::default() {
            self.rollouts.remove(name);
        } else {
            self.rollouts.insert(name.to_owned(), wish);
        }
    }
}

fn versions(service: &Service) -> impl Iterator<Item = &Version> {
    service.backends.iter().filter_map(|backend| backend.version.as_ref())
}

fn has_line(service: &Service, rollout: &Rollout, version: &Version) -> bool {
    versions(service).any(|there| rollout.compatible.run_side_by_side(there, version))
}

fn no_such_version(service: &Service, version: &Version) -> RolloutError {
    let mut there: Vec<_> = versions(service).collect();
    there.sort();
    there.dedup();
    let there: Vec<_> = there.into_iter().map(ToString::to_string).collect();
    RolloutError::NoSuchVersion {
        service: service.name.clone(),
        version: version.clone(),
        there: there.join(", "),
    }
}
