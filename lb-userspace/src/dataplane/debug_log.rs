//! What an object that was built for debugging tells of its decisions, as events of `tracing`. Any other object has no map for
//! that, and then there is nothing to be done.

use std::time::Duration;

use aya::Ebpf;
use aya_log::EbpfLogger;
use lb_common::counter::Reason;
use log::{Log, Metadata, Record};
use tokio::{task::JoinHandle, time::interval};
use tracing::{debug, warn};

/// The map in which it is told.
pub const MAP: &str = "AYA_LOGS";

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(50);

/// A task that passes on what a program tells, until it is dropped.
#[derive(Debug)]
pub(super) struct DebugLog(JoinHandle<()>);

impl DebugLog {
    /// Of the programs of `ebpf`, where they tell anything and there is a runtime.
    pub(super) fn of(ebpf: &mut Ebpf) -> Option<Self> {
        ebpf.map(MAP)?;
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let logger = EbpfLogger::init_with_logger(ebpf, Events)
            .inspect_err(|error| warn!("the program's log cannot be read: {error}"))
            .ok()?;
        Some(Self(runtime.spawn(pass_on(logger))))
    }
}

impl Drop for DebugLog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pass_on(mut logger: EbpfLogger<Events>) {
    let mut ticks = interval(EVERY);
    loop {
        ticks.tick().await;
        logger.flush();
    }
}

/// Makes each line an event.
struct Events;

impl Log for Events {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        debug!(target: "program", "{}{line}", named(&line).map(|name| format!("{name}: ")).unwrap_or_default());
    }

    fn flush(&self) {}
}

/// The name of the reason whose number a line has.
fn named(line: &str) -> Option<&'static str> {
    let number = line.strip_prefix("reason=")?.split(' ').next()?.parse().ok()?;
    Reason::from_number(number).map(Reason::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_about_a_verdict_gets_the_name_of_its_reason() {
        let line = format!("reason={} action=3 bytes=60", Reason::Transmitted as u32);
        assert_eq!(named(&line), Some("transmitted"));
        assert_eq!(named("reason=9999 action=3 bytes=60"), None);
        assert_eq!(named("something else"), None);
    }

    #[test]
    fn object_that_is_not_built_for_debugging_has_no_trace_of_it() {
        let map = MAP.as_bytes();
        let has_it = super::super::OBJECT.windows(map.len()).any(|bytes| bytes == map);
        assert!(!has_it, "build it without `--debug-log`");
    }
}
