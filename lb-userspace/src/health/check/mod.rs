//! How each type of probe is made: one module for each.
//!
//! A check that cannot go on returns its outcome as an error, so that `?` ends it. None of them limits its own time: it is
//! dropped when that is over, and what it has opened is closed by that.

mod agent;
mod client;
mod connect;
mod dns;
mod exec;
mod grpc;
mod http;
mod icmp;
mod tcp;
mod tls;
mod trust;
mod udp;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use super::{Job, Outcome, Prober, way::Guide};
use crate::config::Check;
use trust::Trusts;
pub(crate) use trust::roots;

/// Probes backends for real.
#[derive(Clone, Debug)]
pub struct Network {
    trusts: Arc<Trusts>,
    guide: Guide,
}

impl Network {
    /// Probes by the ways that `guide` finds.
    #[must_use]
    pub fn new(guide: Guide) -> Self {
        Self { trusts: Arc::default(), guide }
    }
}

impl Prober for Network {
    async fn probe(&self, job: &Job) -> Outcome {
        if job.by_path {
            job.stage.waits_for("its next hop");
            let way = self.guide.way(&job.key).await;
            job.way.get_or_init(|| way);
        }
        let made = match &*job.check {
            Check::Tcp => tcp::check(job).await,
            Check::Http(check) => http::check(job, check, &self.trusts).await,
            Check::Tls(check) => tls::check(job, check, &self.trusts).await,
            Check::Grpc(check) => grpc::check(job, check, &self.trusts).await,
            Check::Udp(check) => udp::check(job, check).await,
            Check::Dns(check) => dns::check(job, check).await,
            Check::Icmp => icmp::check(job).await,
            Check::Exec(command) => exec::check(job, command).await,
            Check::Agent { send } => return agent::check(job, send).await.unwrap_or_else(|outcome| outcome),
        };
        made.map_or_else(|outcome| outcome, |()| Outcome::Passed)
    }
}

/// A number that nobody can guess, by which an answer is known to be one.
fn token() -> u64 {
    RandomState::new().hash_one(())
}

/// Whether `needle` is somewhere in `text`.
fn holds(text: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || text.windows(needle.len()).any(|window| window == needle)
}

/// What a backend has sent, fit for a line of text.
fn shown(bytes: &[u8]) -> String {
    const SHOWN_CHARS: usize = 60;
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::OnceLock, time::Duration};

    use tokio::sync::watch;

    use super::*;
    use crate::health::{Stage, TargetKey, way::Ways};

    /// Makes a probe of `address` for a test.
    pub(super) async fn probe(check: Check, address: SocketAddr) -> Outcome {
        let key = TargetKey { service: "web".to_owned(), backend: "b1".to_owned() };
        let timeout = Duration::from_secs(5);
        let (way, stage) = (OnceLock::new(), Stage::default());
        let job = Job { key, address, check: Arc::new(check), timeout, by_path: false, way, stage };
        let (_, ways) = watch::channel(Ways::new());
        Network::new(Guide::new(ways)).probe(&job).await
    }

    pub(super) fn failed(reason: &str) -> Outcome {
        Outcome::Failed(reason.to_owned())
    }

    #[test]
    fn what_is_shown_is_one_short_line() {
        assert_eq!(shown(b"a\nb\0\xff"), "a\\nb\\0\u{fffd}");
        assert_eq!(shown(&[b'x'; 61]), format!("{}…", "x".repeat(60)));
    }

    #[test]
    fn needle_is_found_anywhere() {
        assert!(holds(b"ready", b"") && holds(b"ready", b"read") && holds(b"ready", b"dy"));
        assert!(!holds(b"rea", b"ready") && !holds(b"", b"r"));
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(token(), token());
    }
}
