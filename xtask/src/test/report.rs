//! Judges how suites went, and prints it as a table that ends in one plain line.

use std::{
    fmt::{self, Display, Formatter},
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use crate::test::tally::{Counts, Tally};

/// How a skip's reason begins that no setup can avoid: the running kernel lacks something.
const KERNEL: &str = "kernel:";

/// Which skips are accepted; any other is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skips {
    ForAnyReason,
    OnlyForTheKernel,
}

/// How one suite went.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    counts: Counts,
    failures: Vec<String>,
    skips: Vec<String>,
    duration: Duration,
}

/// How all suites went.
#[derive(Debug, Default)]
pub(crate) struct Report {
    suites: Vec<(&'static str, Outcome)>,
}

impl Outcome {
    /// `skipped` holds a line `TEST: REASON` for each test that ended early, which its binary counts as passed.
    pub(super) fn new(tally: Tally, status: ExitStatus, skipped: &str, skips: Skips) -> Self {
        let Tally { counts, failures, .. } = tally;
        let mut outcome = Self { counts, failures, ..Self::default() };
        for skip in skipped.lines() {
            outcome.skip(skip, skips);
        }
        if !status.success() && counts.failed == 0 {
            // A binary that did not compile, or crashed before it could say how its tests went.
            outcome.fail(format!("`cargo test` itself ({status})"));
        }
        outcome
    }

    pub(super) fn taking(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    fn skip(&mut self, skip: &str, skips: Skips) {
        self.counts.passed = self.counts.passed.saturating_sub(1);
        let reason = skip.split_once(": ").map_or("", |(_, reason)| reason);
        if skips == Skips::OnlyForTheKernel && !reason.starts_with(KERNEL) {
            return self.fail(format!("{skip} (a skip that is not the kernel's fault)"));
        }
        self.counts.skipped += 1;
        self.skips.push(skip.to_owned());
    }

    fn fail(&mut self, what: String) {
        self.counts.failed += 1;
        self.failures.push(what);
    }
}

impl Report {
    pub(super) fn add(&mut self, suite: &'static str, outcome: Outcome) {
        self.suites.push((suite, outcome));
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.sum().failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn sum(&self) -> Counts {
        self.suites.iter().fold(Counts::default(), |sum, (_, Outcome { counts, .. })| Counts {
            passed: sum.passed + counts.passed,
            failed: sum.failed + counts.failed,
            skipped: sum.skipped + counts.skipped,
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<10}{:>8}{:>8}{:>9}{:>9}", "suite", "passed", "failed", "skipped", "time")?;
        for (suite, Outcome { counts, duration, .. }) in &self.suites {
            let Counts { passed, failed, skipped } = counts;
            writeln!(f, "{suite:<10}{passed:>8}{failed:>8}{skipped:>9}{:>7} s", duration.as_secs())?;
        }
        for (suite, outcome) in &self.suites {
            outcome.skips.iter().try_for_each(|skip| writeln!(f, "skipped in {suite}: {skip}"))?;
            outcome.failures.iter().try_for_each(|failure| writeln!(f, "failed in {suite}: {failure}"))?;
        }
        let Counts { passed, failed, skipped } = self.sum();
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const SKIPPED: &str = "a::b: kernel: no VLAN devices\nc: no iperf3\n";

    fn outcome(failed: usize, wait_status: i32, skips: Skips) -> Outcome {
        let mut tally = Tally::default();
        tally.feed(format!("test result: _. 5 passed; {failed} failed; 1 ignored\n").as_bytes());
        Outcome::new(tally, ExitStatus::from_raw(wait_status), SKIPPED, skips)
    }

    fn last_line(outcomes: Vec<Outcome>) -> String {
        let mut report = Report::default();
        for outcome in outcomes {
            report.add("host", outcome);
        }
        report.to_string().lines().last().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        assert_eq!(last_line(vec![outcome(0, 0, Skips::ForAnyReason)]), "3 passed, 0 failed, 3 skipped");
    }

    #[test]
    fn where_nobody_watches_only_the_kernel_excuses() {
        assert_eq!(last_line(vec![outcome(0, 0, Skips::OnlyForTheKernel)]), "3 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn suites_are_summed() {
        let outcomes = vec![outcome(2, 1, Skips::ForAnyReason), outcome(0, 0, Skips::ForAnyReason)];
        assert_eq!(last_line(outcomes), "6 passed, 2 failed, 6 skipped");
    }

    #[test]
    fn a_binary_that_crashes_counts_as_a_failure() {
        assert_eq!(last_line(vec![outcome(0, 11, Skips::ForAnyReason)]), "3 passed, 1 failed, 3 skipped");
    }
}
