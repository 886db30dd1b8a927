//! What is wrong with a host that balances, or that is a backend, with remedies that can be copied.
//!
//! Facts are gathered first (`facts`), without a daemon and without changing anything; each module of checks is a pure
//! function of them.

mod addresses;
mod backend;
mod driver;
mod facts;
mod interface;
mod kernel;
mod places;
mod queues;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use backend::Port;
pub use facts::{Facts, Interrupt, Link, Listener, Place, Transport, gather};

use crate::config::Config;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It breaks something.
    Problem,
    /// It costs something, or may break something.
    Hint,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What it is about, such as `eth0`.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// A command line that cures it; none where that is for somebody to decide.
    pub remedy: Option<String>,
}

impl Finding {
    fn problem(subject: &str, found: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, subject: subject.to_owned(), found: found.into(), remedy: None }
    }

    fn hint(subject: &str, found: impl Into<String>) -> Self {
        Self { severity: Severity::Hint, ..Self::problem(subject, found) }
    }

    fn remedy(self, command: impl Into<String>) -> Self {
        Self { remedy: Some(command.into()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Problem => "problem",
            Severity::Hint => "hint",
        };
        write!(f, "{word}: {}: {}", self.subject, self.found)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "\n    {remedy}"))
    }
}

/// What a backend is asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The interface that packets from the balancer arrive at.
    pub interface: String,
    /// The VIPs.
    pub vips: Vec<std::net::IpAddr>,
    /// Whether packets arrive in tunnels.
    pub tunnelled: bool,
    /// The ports that clients connect to, as far as they are told.
    pub ports: Vec<Port>,
}

/// Everything that is wrong with a balancer, the gravest first.
#[must_use]
pub fn balancer(facts: &Facts, config: &Config) -> Vec<Finding> {
    let interfaces = config.balancer.interfaces.iter();
    let mut findings = kernel::check(facts);
    findings.extend(kernel::check_daemon(config, facts));
    findings.extend(places::check(facts));
    findings.extend(interfaces.flat_map(|name| interface::check(name, config, facts)));
    findings.extend(addresses::check(config, facts));
    sorted(findings)
}

/// Everything that is wrong with a backend, the gravest first.
#[must_use]
pub fn backend(facts: &Facts, served: &Served) -> Vec<Finding> {
    let mut findings = if served.tunnelled { kernel::check(facts) } else { Vec::new() };
    findings.extend(backend::check(facts, served));
    sorted(findings)
}

fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.severity);
    findings
}
