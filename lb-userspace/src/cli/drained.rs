//! Waiting until backends are empty. What a look at the status comes to is pure; the waiting is thin.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use super::{
    daemon::{DaemonArgs, Output, print, shown},
    names::Name,
    state::remainder,
};
use crate::admin::{
    client,
    order::Obeyed,
    status::{Backend, Status},
};

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_secs(1);

/// How often in a row it may fail to answer: it may be restarted meanwhile.
const MOST_FAILURES: u32 = 30;

/// A backend that is waited for.
#[derive(Clone, Debug)]
struct Awaited {
    name: Name,
    /// Its state when it was seen last.
    seen: Option<Backend>,
}

/// What a look at a backend comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Nothing has changed.
    Same,
    /// It has other flows than before.
    Changed,
    /// It gets no packet any more.
    Empty,
    /// It is not even there any more.
    Left,
    /// Somebody gives it flows again.
    Ready,
}

/// Waits until all of `names` are empty, telling what changes, and gives them as they were then.
///
/// # Errors
///
/// The time is up, somebody made one of them ready, or the daemon does not answer.
pub(super) async fn wait(
    daemon: &DaemonArgs,
    names: Vec<Name>,
    timeout: Option<Duration>,
) -> Result<Vec<Obeyed>> {
    let end = timeout.map(|timeout| Instant::now() + timeout);
    let mut awaited: Vec<_> = names.into_iter().map(|name| Awaited { name, seen: None }).collect();
    let mut drained = Vec::new();
    let mut failures = 0;
    loop {
        match client::get::<Status>(&daemon.endpoint, "/v1/status").await {
            Ok(status) => {
                failures = 0;
                awaited = step(awaited, &status, daemon.output, &mut drained)?;
            }
            Err(error) if failures == MOST_FAILURES => return Err(error),
            Err(_) => failures += 1,
        }
        if awaited.is_empty() {
            return Ok(drained);
        }
        if let Some((end, timeout)) = end.zip(timeout)
            && end <= Instant::now()
        {
            bail!("{}", too_late(&awaited, timeout));
        }
        let next = Instant::now() + EVERY;
        sleep(end.map_or(next, |end| end.min(next)) - Instant::now()).await;
    }
}

/// Looks at all that are waited for; those that are still to be.
fn step(
    awaited: Vec<Awaited>,
    status: &Status,
    output: Output,
    drained: &mut Vec<Obeyed>,
) -> Result<Vec<Awaited>> {
    let mut left = Vec::new();
    for mut one in awaited {
        let look = one.look(status);
        let line = match look {
            Look::Same => String::new(),
            Look::Ready => bail!("{} was made ready meanwhile; it is not empty", one.name),
            Look::Left => format!("{}: it has left, nothing names it any more", one.name),
            Look::Changed | Look::Empty => {
                format!("{}: {}", one.name, one.seen.as_ref().map(remainder).unwrap_or_default())
            }
        };
        if !line.is_empty() && output == Output::Table {
            print(&line)?;
        }
        if !matches!(look, Look::Empty | Look::Left) {
            left.push(one);
        } else if let Some(backend) = one.seen {
            drained.push(Obeyed { service: one.name.service, backend, warning: None });
        }
    }
    Ok(left)
}

impl Awaited {
    fn look(&mut self, status: &Status) -> Look {
        let service = status.services.iter().find(|service| service.name == self.name.service);
        let now = service.and_then(|s| s.backends.iter().find(|backend| backend.name == self.name.backend));
        let Some(now) = now else { return Look::Left };
        let flows = |backend: &Backend| backend.tracked_flows;
        let look = match () {
            () if now.admin == "ready" => Look::Ready,
            () if now.empty => Look::Empty,
            () if self.seen.as_ref().map(flows) == Some(flows(now)) => Look::Same,
            () => Look::Changed,
        };
        self.seen = Some(now.clone());
        look
    }
}

fn too_late(awaited: &[Awaited], timeout: Duration) -> String {
    let each = awaited.iter().map(|one| {
        let left = one.seen.as_ref().map_or_else(|| "not seen".to_owned(), remainder);
        format!("{}: {left}", one.name)
    });
    let each: Vec<_> = each.collect();
    format!("not empty after {}, and draining on: {}", shown(timeout.as_secs_f64()), each.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{backend, service, status};

    fn awaited() -> Awaited {
        Awaited { name: Name { service: "web".to_owned(), backend: "b1".to_owned() }, seen: None }
    }

    fn seen(admin: &str, tracked_flows: u32, empty: bool) -> Status {
        let b1 = Backend { admin: admin.to_owned(), tracked_flows, empty, ..backend("b1") };
        status(vec![service("web", vec![b1])])
    }

    #[test]
    fn looks_follow_the_backend_to_its_end() {
        let mut one = awaited();
        for (status, look) in [
            (seen("drain", 3, false), Look::Changed),
            (seen("drain", 3, false), Look::Same),
            (seen("drain", 1, false), Look::Changed),
            (seen("leaving", 1, false), Look::Same),
            (seen("drain", 0, true), Look::Empty),
            (seen("ready", 0, false), Look::Ready),
            (status(vec![service("web", vec![])]), Look::Left),
            (status(vec![]), Look::Left),
        ] {
            assert_eq!(one.look(&status), look, "{status:?}");
        }
    }

    #[test]
    fn one_that_is_ready_ends_the_wait_for_all() {
        let error =
            step(vec![awaited()], &seen("ready", 1, false), Output::Json, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "web/b1 was made ready meanwhile; it is not empty");
    }

    #[test]
    fn time_that_is_up_is_told_with_what_is_left() {
        let mut drained = Vec::new();
        let left = step(vec![awaited()], &seen("drain", 2, false), Output::Json, &mut drained).unwrap();
        let told = too_late(&left, Duration::from_mins(5));
        assert_eq!(told, "not empty after 5m, and draining on: web/b1: 2 tracked flows");
        assert!(drained.is_empty());
    }
}
