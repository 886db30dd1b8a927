//! Reads what `cargo test` prints: the counts of each test binary, and the names of failed tests.

const RESULT: &str = "test result: ";

/// Tests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

/// The sum so far, over all test binaries of one `cargo test`.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    pub(super) failures: Vec<String>,
    /// The line that has not ended.
    partial: Vec<u8>,
}

impl Tally {
    /// Takes in the next piece of output, which may end anywhere.
    pub(super) fn feed(&mut self, output: &[u8]) {
        for piece in output.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                self.line(String::from_utf8_lossy(&line).trim_end());
            }
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix(RESULT) {
            self.counts.passed += count(counts, " passed");
            self.counts.failed += count(counts, " failed");
            self.counts.skipped += count(counts, " ignored");
        } else if let Some(test) =
            line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"))
        {
            self.failures.push(test.trim_end().to_owned());
        }
    }
}

/// The number before `what` in `ok. 3 passed; 1 failed; …`.
fn count(counts: &str, what: &str) -> usize {
    let words = counts.split(';').find_map(|part| part.strip_suffix(what));
    words.and_then(|words| words.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 3 tests\ntest a ... ok\ntest b::c ... FAILED\ntest d ... ignored, slow\n\n\
        test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n\
        test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.50s\n";

    const COUNTS: Counts = Counts { passed: 11, failed: 1, skipped: 1 };

    #[test]
    fn results_of_all_binaries_are_summed() {
        let mut tally = Tally::default();
        tally.feed(OUTPUT.as_bytes());
        assert_eq!(tally.counts, COUNTS);
        assert_eq!(tally.failures, ["b::c"]);
    }

    #[test]
    fn output_may_come_in_pieces_of_any_size() {
        for size in 1..40 {
            let mut tally = Tally::default();
            OUTPUT.as_bytes().chunks(size).for_each(|chunk| tally.feed(chunk));
            assert_eq!(tally.counts, COUNTS, "pieces of {size} bytes");
        }
    }

    #[test]
    fn what_only_looks_like_a_result_is_not_counted() {
        let mut tally = Tally::default();
        tally.feed(b"my test result: ok. 5 passed; 0 failed\ntest result: none\n");
        assert_eq!(tally.counts, Counts::default());
    }
}
