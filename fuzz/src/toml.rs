//! The target `toml`: text for the configuration's parser, and what it makes of it for the plan.

mod edit;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_tests::random::Random;
use sluice::{
    config::{Config, Diagnostics, Limits},
    dataplane::memory::Memory,
    plan::{Tables, View, plan},
    reconcile::{Applied, reconcile},
};

use crate::{Deadline, Options, Report, corpus::Corpus, write_failure};
use edit::edit;

/// The files that every key is in.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

/// The longest text that is tried.
const LONGEST: usize = 16 << 10;

/// Beyond this a plan takes longer than a thousand texts.
const MOST_SLOTS: u32 = 5_000;

/// What one thread has found.
#[derive(Default)]
struct Finding {
    runs: u64,
    accepted: u64,
    planned: u64,
    corpus: Corpus,
    failures: Vec<(String, String)>,
}

/// What a text comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// What was said of it, without what differs from text to text.
    signature: String,
    accepted: bool,
    planned: bool,
}

/// Searches until the time or the runs are over.
///
/// # Errors
///
/// A file cannot be read or written.
///
/// # Panics
///
/// Where a thread does.
pub fn fuzz(options: &Options) -> Result<Report> {
    let mut corpus = Corpus::read(options.corpus.join("toml.txt"))?;
    let examples = examples()?;
    let start = std::time::Instant::now();
    let findings: Vec<Finding> = thread::scope(|scope| {
        let search = |number: u64| {
            let (corpus, examples) = (corpus.clone(), examples.clone());
            let random = Random::new(options.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            scope.spawn(move || search(random, Deadline::of(options), examples, corpus))
        };
        let threads: Vec<_> = (0..options.threads as u64).map(search).collect();
        threads.into_iter().map(|thread| thread.join().expect("a search does not panic")).collect()
    });
    let mut report = Report { target: "toml", time: start.elapsed(), ..Report::default() };
    let mut sums = [0; 3];
    for finding in &findings {
        report.runs += finding.runs;
        let refused = finding.runs - finding.accepted;
        sums.iter_mut()
            .zip([refused, finding.accepted, finding.planned])
            .for_each(|(sum, more)| *sum += more);
        corpus.merge(&finding.corpus);
        for (what, text) in &finding.failures {
            let name = format!("toml-{}.toml", report.failures.len());
            report.failures.push((what.clone(), write_failure(options, &name, text)?));
        }
    }
    let names = ["refused", "accepted", "planned and reconciled"];
    report.ends = names.into_iter().map(str::to_owned).zip(sums).collect();
    report.corpus = corpus.sizes();
    if options.keep {
        corpus.write()?;
    }
    Ok(report)
}

fn examples() -> Result<Vec<String>> {
    let files = Path::new(EXAMPLES).read_dir().with_context(|| format!("cannot list {EXAMPLES}"))?;
    let paths = files.filter_map(|file| Some(file.ok()?.path()));
    let tomls = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    tomls
        .map(|path| std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display())))
        .collect()
}

fn search(mut random: Random, deadline: Deadline, mut known: Vec<String>, corpus: Corpus) -> Finding {
    let words = edit::words(&known);
    known.extend(corpus.inputs().map(str::to_owned));
    let mut finding = Finding { corpus, ..Finding::default() };
    while !deadline.has_passed(finding.runs) && finding.failures.is_empty() {
        let mut text = known[random.below(known.len())].clone();
        for _ in 0..=random.below(4) {
            text = edit(&text, &known[random.below(known.len())], &words, &mut random);
        }
        if text.len() > LONGEST {
            continue;
        }
        finding.runs += 1;
        match judge(&text) {
            Err(what) => finding.failures.push((what, text)),
            Ok(end) => {
                finding.accepted += u64::from(end.accepted);
                finding.planned += u64::from(end.planned);
                let before = finding.corpus.sizes().0;
                finding.corpus.offer(&end.signature, &text);
                if finding.corpus.sizes().0 > before {
                    known.push(text);
                }
            }
        }
    }
    finding
}

/// What becomes of a text.
///
/// # Errors
///
/// What must not be: a panic, a refusal that says nothing, a configuration that is not the same twice or whose plan does
/// not come to rest.
pub fn judge(text: &str) -> Result<End, String> {
    catch_unwind(AssertUnwindSafe(|| parsed(text))).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!(
            "panic: {}",
            what.or(panic.downcast_ref::<&str>().copied()).unwrap_or("of a kind of its own")
        ))
    })
}

fn parsed(text: &str) -> Result<End, String> {
    let (config, warnings) = match Config::parse("fuzz.toml", text) {
        Ok(parsed) => parsed,
        Err(diagnostics) => return refused(&diagnostics),
    };
    let again = Config::parse("fuzz.toml", text).map(|(config, _)| config);
    if again.as_ref().ok() != Some(&config) {
        return Err("the same text is another configuration the second time".to_owned());
    }
    let warnings: BTreeSet<_> = warnings.iter().map(|warning| shape(&warning.to_string())).collect();
    let kinds: BTreeSet<_> =
        config.services.iter().map(|service| format!("{:?}", service.protocol)).collect();
    let planned = comes_to_rest(config)?;
    let signature = format!("accepted, {kinds:?}, planned: {planned}, warnings: {}", warnings.len());
    Ok(End { signature, accepted: true, planned })
}

fn refused(diagnostics: &Diagnostics) -> Result<End, String> {
    let messages: BTreeSet<_> = diagnostics.iter().map(|one| shape(one.message())).collect();
    if messages.is_empty() || diagnostics.styled().is_empty() || diagnostics.to_string().is_empty() {
        return Err("refused without a word".to_owned());
    }
    // The first two: a text with a dozen mistakes is no other than one with some of them.
    let signature = messages.into_iter().take(2).collect::<Vec<_>>().join("; ");
    Ok(End { signature, accepted: false, planned: false })
}

/// A message without names, numbers and values.
fn shape(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let mut quoted = false;
    let mut shape = String::new();
    for c in line.chars() {
        if matches!(c, '`' | '"') {
            quoted = !quoted;
        } else if !quoted && !c.is_ascii_digit() {
            shape.push(c);
        }
    }
    shape.truncate(shape.char_indices().nth(60).map_or(shape.len(), |(at, _)| at));
    shape.trim().to_owned()
}

/// Plans the configuration for maps in memory; what is planned a second time has to change nothing. `false` where maps
/// or tables would be larger than is worth the time.
fn comes_to_rest(mut config: Config) -> Result<bool, String> {
    if config.services.iter().any(|service| service.slots > MOST_SLOTS) {
        return Ok(false);
    }
    shrink(&mut config.limits);
    let (seed, limits, now) = (&config.fleet.seed, &config.limits, Duration::from_secs(1_000));
    let mut memory = Memory::new(limits, seed.flow_key(), seed.index_key());
    let (view, mut tables) = (View::default(), Tables::default());
    let wanted = plan(&config, &view, &mut tables, now);
    let Ok((ops, applied)) = reconcile(&Applied::new(limits, seed.index_key()), &wanted, &memory, now) else {
        return Ok(false);
    };
    for op in &ops {
        memory.step(op);
    }
    let wanted = plan(&config, &view, &mut tables, now);
    let (ops, _) =
        reconcile(&applied, &wanted, &memory, now).map_err(|error| format!("planned anew: {error}"))?;
    if ops.is_empty() {
        Ok(true)
    } else {
        Err(format!("the same plan asks for {} more operations", ops.len()))
    }
}

/// Maps of a size that does not take longer to clear than to fill.
fn shrink(limits: &mut Limits) {
    limits.services = limits.services.min(1 << 10);
    limits.backends = limits.backends.min(1 << 12);
    limits.slots = limits.slots.min(1 << 16);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_accepted() {
        for text in examples().expect("the examples are there") {
            assert!(judge(&text).expect("nothing is wrong with it").accepted);
        }
    }

    #[test]
    fn mistakes_of_one_kind_look_the_same() {
        assert_eq!(shape("unknown key `colour` at 3"), shape("unknown key `size` at 17"));
        assert_ne!(shape("unknown key `colour`"), shape("`colour` is missing"));
    }
}
