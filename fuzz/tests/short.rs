//! A short search of each target, with its corpus: what was once found stays right.

use std::{path::PathBuf, time::Duration};

use lb_fuzz::{Options, Report, packets, toml};

/// The same search every time.
fn options() -> Options {
    Options {
        time: Duration::from_hours(1),
        runs: 40_000,
        seed: 1,
        threads: 1,
        corpus: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus"),
        failures: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("failures"),
        keep: false,
    }
}

fn assert_good(report: &Report) {
    println!("{report}");
    assert!(report.failures.is_empty(), "{report}");
}

#[test]
fn no_bytes_break_the_program() {
    let report = packets::fuzz(&options()).expect("the program loads and the corpus is there");
    assert_good(&report);
    assert!(report.ends.len() > 8, "the search reaches many reasons: {report}");
}

#[test]
fn no_text_breaks_the_configuration() {
    let report = toml::fuzz(&Options { runs: 2_000, ..options() }).expect("the corpus is there");
    assert_good(&report);
    assert!(report.ends.iter().all(|(_, count)| *count > 0), "texts of every kind are tried: {report}");
}
