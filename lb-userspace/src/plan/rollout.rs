//! Which versions of a service's backends new flows go to.
//!
//! Versions that are compatible make a *line*. One line runs at a time: the oldest of which a backend has not stopped, or
//! the one that the operator has said go to, for as long as one of its own has not. Backends of other lines get no new
//! flows; their old ones are nobody's business here. Within the line that runs, the service's preference and its canary
//! say what each version gets.
//!
//! Nothing is remembered: balancers that know the same decide the same. So an old version that was down for longer than
//! its grace and comes back runs again, unless the operator has said go meanwhile.

use std::time::Duration;

use crate::{
    config::{Canary, Compatible, PreferVersion},
    version::Version,
};

/// What a service says of versions now, file and commands taken together.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Which versions make a line.
    pub compatible: &'a Compatible,
    /// Which of them new flows go to.
    pub prefer: PreferVersion,
    /// What another of them gets nevertheless.
    pub canary: Option<Canary>,
    /// A version of the line that the operator has said go to.
    pub go: Option<&'a Version>,
}

/// A backend, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What it runs.
    pub version: &'a Version,
    /// Whether it may be given new flows, if its version may.
    pub takes_new: bool,
    /// Whether it has stopped.
    pub stopped: Stopped,
    /// Its share relative to the others'.
    pub weight: f64,
}

/// Whether a backend makes others wait that are not compatible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It is to have no new flows: it drains, is in maintenance, has no weight. What still lives of its old flows makes
    /// nobody wait, or nobody at all would get the new ones meanwhile.
    Yes,
    /// It is down, and counts as stopped from then on: a false alarm starts nothing.
    From(Duration),
    /// It runs.
    No,
}

/// What a roll-out means for a backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// It gets new flows: its weight times this.
    Takes(f64),
    /// Others of its line are preferred.
    Spare,
    /// Its line does not run. It waits until the last of the one that does has stopped.
    Waits,
}

/// What a roll-out comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<'a> {
    /// The least version of the line that runs; none while nobody is to have new flows.
    pub runs: Option<&'a Version>,
    /// One for each candidate.
    pub parts: Vec<Part>,
    /// When this changes by itself.
    pub until: Option<Duration>,
}

/// Decides about all backends of a service.
#[must_use]
pub fn decide<'a>(rules: Rules<'a>, candidates: &[Candidate<'a>], now: Duration) -> Decision<'a> {
    let runs = running(rules, candidates, now);
    let in_line = |candidate: &Candidate<'_>| {
        runs.is_none_or(|line| rules.compatible.run_side_by_side(line, candidate.version))
    };
    let split = Split::of(rules, &takers(candidates, in_line));
    let part = |candidate: &Candidate<'_>| match (in_line(candidate), split.factor(candidate.version)) {
        (false, _) => Part::Waits,
        (true, factor) if factor > 0.0 => Part::Takes(factor),
        (true, _) => Part::Spare,
    };
    let stops = candidates.iter().filter_map(|candidate| match candidate.stopped {
        Stopped::From(at) => Some(at),
        _ => None,
    });
    Decision { runs, parts: candidates.iter().map(part).collect(), until: stops.filter(|&at| at > now).min() }
}

/// Those of the line that runs whose versions count. Where none takes flows, that is all that could come back: what to do
/// about it is not for a roll-out to say.
fn takers<'c, 'a>(
    candidates: &'c [Candidate<'a>],
    in_line: impl Fn(&Candidate<'a>) -> bool,
) -> Vec<&'c Candidate<'a>> {
    let those = |counts: fn(&Candidate<'_>) -> bool| -> Vec<_> {
        candidates.iter().filter(|candidate| in_line(candidate) && counts(candidate)).collect()
    };
    let able = those(|candidate| candidate.takes_new);
    if able.is_empty() { those(|candidate| candidate.stopped != Stopped::Yes) } else { able }
}

/// The least version of the line that runs.
fn running<'a>(rules: Rules<'_>, candidates: &[Candidate<'a>], now: Duration) -> Option<&'a Version> {
    let live = || candidates.iter().filter(|candidate| candidate.stopped.is_live(now));
    let least_of = |line: &Version| {
        let of_line = live().filter(|candidate| rules.compatible.run_side_by_side(line, candidate.version));
        of_line.map(|candidate| candidate.version).min()
    };
    let down = || candidates.iter().filter(|candidate| candidate.stopped != Stopped::Yes);
    rules.go.and_then(least_of).or_else(|| least(live())).or_else(|| least(down()))
}

fn least<'c, 'a: 'c>(candidates: impl Iterator<Item = &'c Candidate<'a>>) -> Option<&'a Version> {
    candidates.map(|candidate| candidate.version).min()
}

impl Stopped {
    fn is_live(self, now: Duration) -> bool {
        match self {
            Self::Yes => false,
            Self::From(at) => at > now,
            Self::No => true,
        }
    }
}

/// What a version of the line that runs is to its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Preferred,
    Canary,
    Spare,
}

/// How new flows are split between the versions of the line that runs.
struct Split<'a> {
    rules: Rules<'a>,
    oldest: Option<&'a Version>,
    newest: Option<&'a Version>,
    /// What the weight of a backend of the canary's version is worth, and of one of a preferred version.
    canary: f64,
    preferred: f64,
}

impl<'a> Split<'a> {
    fn of(rules: Rules<'a>, takers: &[&Candidate<'a>]) -> Self {
        let versions = || takers.iter().map(|taker| taker.version);
        let (oldest, newest) = (versions().min(), versions().max());
        let split = Self { rules, oldest, newest, canary: 0.0, preferred: 1.0 };
        let weight = |role| -> f64 {
            let of_role = takers.iter().filter(|taker| split.role(taker.version) == role);
            of_role.map(|taker| taker.weight).sum()
        };
        let (preferred, canary) = (weight(Role::Preferred), weight(Role::Canary));
        let share = rules.canary.map_or(0.0, Canary::fraction);
        match () {
            () if canary <= 0.0 => split,
            // Somebody has to have them all.
            () if preferred <= 0.0 || share >= 1.0 => Self { canary: 1.0, preferred: 0.0, ..split },
            () => Self { canary: share / (1.0 - share) * preferred / canary, ..split },
        }
    }

    /// Whatever lies between the two ends of a line has nothing where one of them is preferred.
    fn role(&self, version: &Version) -> Role {
        let (is_oldest, is_newest) = (self.oldest == Some(version), self.newest == Some(version));
        match self.rules.prefer {
            PreferVersion::Newest if is_newest => Role::Preferred,
            PreferVersion::Newest if is_oldest => Role::Canary,
            PreferVersion::Oldest if is_oldest => Role::Preferred,
            PreferVersion::Oldest if is_newest => Role::Canary,
            PreferVersion::Newest | PreferVersion::Oldest => Role::Spare,
            PreferVersion::Weight if is_newest && self.rules.canary.is_some() => Role::Canary,
            PreferVersion::Weight => Role::Preferred,
        }
    }

    fn factor(&self, version: &Version) -> f64 {
        match self.role(version) {
            Role::Preferred => self.preferred,
            Role::Canary => self.canary,
            Role::Spare => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use Stopped::{From, No, Yes};

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A version, whether it has stopped, and a weight.
    type Backend = (&'static str, Stopped, u32);

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    /// The line that runs, and what each backend gets in per cent of the new flows; `-` where it waits. Backends are a
    /// version, whether they have stopped, and a weight.
    fn decided(
        (compatible, prefer, canary, go): (Compatible, PreferVersion, &str, &str),
        backends: &[Backend],
    ) -> (String, String) {
        let versions: Vec<_> = backends.iter().map(|(text, ..)| version(text)).collect();
        let (canary, go) = (canary.parse().ok(), go.parse().ok());
        let rules = Rules { compatible: &compatible, prefer, canary, go: go.as_ref() };
        let candidates: Vec<_> = versions
            .iter()
            .zip(backends)
            .map(|(version, &(_, stopped, weight))| Candidate {
                version,
                takes_new: stopped == No,
                stopped,
                weight: weight.into(),
            })
            .collect();
        let decision = decide(rules, &candidates, NOW);
        let worth = |(part, candidate): (&Part, &Candidate<'_>)| match part {
            Part::Takes(factor) if candidate.takes_new => Some(factor * candidate.weight),
            Part::Waits => None,
            _ => Some(0.0),
        };
        let worths: Vec<_> = decision.parts.iter().zip(&candidates).map(worth).collect();
        let total: f64 = worths.iter().flatten().sum();
        let shown = |worth: &Option<f64>| {
            worth.map_or("-".to_owned(), |worth| format!("{}", (worth / total * 10_000.0).round() / 100.0))
        };
        (
            decision.runs.map_or("none".to_owned(), ToString::to_string),
            worths.iter().map(shown).collect::<Vec<_>>().join(" "),
        )
    }

    #[test]
    fn one_line_runs_at_a_time() {
        // (backends, the line that runs, what each gets)
        let table: [(&[Backend], &str, &str); 15] = [
            (&[("1.0.1", No, 1), ("1.0.2", No, 1)], "1.0.1", "50 50"),
            (&[("2.4.2", No, 1), ("2.5.1", No, 1)], "2.4.2", "100 -"),
            (&[("2.5.1", No, 1), ("2.4.2", No, 1), ("2.4.1", No, 3)], "2.4.1", "- 25 75"),
            // The last of the old ones has stopped, in each of the ways that it may.
            (&[("2.4.1", Yes, 1), ("2.4.2", No, 1), ("2.5.1", No, 1)], "2.4.2", "0 100 -"),
            (&[("2.4.1", Yes, 1), ("2.4.2", Yes, 1), ("2.5.1", No, 1)], "2.5.1", "- - 100"),
            (&[("2.4.2", From(at(100)), 1), ("2.5.1", No, 1)], "2.5.1", "- 100"),
            (&[("2.5.1", No, 1)], "2.5.1", "100"),
            // One that is down within its grace makes the others wait, though nobody is given flows meanwhile.
            (&[("2.4.2", From(at(101)), 1), ("2.5.1", No, 1)], "2.4.2", "NaN -"),
            (&[("2.4.1", From(at(101)), 1), ("2.4.2", No, 1), ("2.5.1", No, 1)], "2.4.1", "0 100 -"),
            // One that comes back runs again.
            (&[("2.4.2", No, 1), ("2.5.1", No, 1), ("3.0", No, 1)], "2.4.2", "100 - -"),
            (&[("2.4.2", Yes, 1), ("2.5.1", No, 1), ("3.0", No, 1)], "2.5.1", "- 100 -"),
            (&[("2.4.2", Yes, 1), ("2.5.1", Yes, 1), ("3.0", No, 1)], "3.0", "- - 100"),
            // Where all have stopped, nobody waits for anybody.
            (&[("2.4.2", Yes, 1), ("2.5.1", Yes, 1)], "none", "NaN NaN"),
            // Where all are down for long, the oldest come first if somebody has to have flows.
            (&[("2.5.1", From(at(9)), 1), ("2.4.2", From(at(100)), 1)], "2.4.2", "- NaN"),
            (&[], "none", ""),
        ];
        for (backends, runs, shares) in table {
            let found = decided((Compatible::Patch, PreferVersion::Weight, "", ""), backends);
            assert_eq!((found.0.as_str(), found.1.as_str()), (runs, shares), "{backends:?}");
        }
    }

    #[test]
    fn operator_says_go() {
        let (old, new) = (("2.4.2", No, 1), ("2.5.1", No, 1));
        let table: [(&str, &[Backend], &str, &str); 6] = [
            ("2.5.1", &[old, new], "2.5.1", "- 100"),
            ("2.5.0", &[old, new], "2.5.1", "- 100"),
            ("2.4.2", &[old, new, ("3.0", No, 1)], "2.4.2", "100 - -"),
            // A line that has stopped cannot run, whatever the operator has said.
            ("2.5.1", &[old, ("2.5.1", Yes, 1)], "2.4.2", "100 -"),
            ("2.5.1", &[old, ("2.5.1", From(at(100)), 1)], "2.4.2", "100 -"),
            ("9.9", &[old, new], "2.4.2", "100 -"),
        ];
        for (go, backends, runs, shares) in table {
            let found = decided((Compatible::Patch, PreferVersion::Weight, "", go), backends);
            assert_eq!((found.0.as_str(), found.1.as_str()), (runs, shares), "go {go}: {backends:?}");
        }
    }

    #[test]
    fn preference_and_canary_split_new_flows() {
        let (a, b, c) = (("1.0.1", No, 1), ("1.0.2", No, 1), ("1.0.3", No, 3));
        let down = |version| (version, From(at(900)), 1);
        let table: [(PreferVersion, &str, &[Backend], &str); 17] = [
            (PreferVersion::Weight, "", &[a, b, c], "20 20 60"),
            (PreferVersion::Newest, "", &[a, b, c], "0 0 100"),
            (PreferVersion::Oldest, "", &[a, b, c], "100 0 0"),
            (PreferVersion::Newest, "0%", &[a, c], "0 100"),
            // The canary is the other end of the line.
            (PreferVersion::Newest, "5%", &[a, b, c], "5 0 95"),
            (PreferVersion::Oldest, "5%", &[a, b, c], "95 0 5"),
            (PreferVersion::Weight, "5%", &[a, b, c], "47.5 47.5 5"),
            (PreferVersion::Weight, "0%", &[a, b], "100 0"),
            (PreferVersion::Oldest, "100%", &[a, c], "0 100"),
            (PreferVersion::Oldest, "0.25%", &[a, a, c, c], "49.88 49.88 0.13 0.13"),
            // What is down leaves its role to the next one.
            (PreferVersion::Newest, "", &[a, b, down("1.0.3")], "0 100 0"),
            (PreferVersion::Newest, "5%", &[down("1.0.1"), b, c], "0 5 95"),
            (PreferVersion::Oldest, "5%", &[a, b, down("1.0.3")], "95 5 0"),
            // One that is alone has all.
            (PreferVersion::Oldest, "5%", &[a, a], "50 50"),
            (PreferVersion::Oldest, "5%", &[down("1.0.1"), c], "0 100"),
            (PreferVersion::Newest, "5%", &[a, down("1.0.3")], "100 0"),
            (PreferVersion::Weight, "5%", &[c, c], "50 50"),
        ];
        for (prefer, canary, backends, shares) in table {
            let (_, found) = decided((Compatible::Minor, prefer, canary, ""), backends);
            assert_eq!(found, shares, "{prefer}, canary {canary:?}: {backends:?}");
        }
    }

    #[test]
    fn decision_ends_when_the_next_one_counts_as_stopped() {
        let version = version("1.0");
        let of = |stopped| Candidate { version: &version, takes_new: false, stopped, weight: 1.0 };
        let rules =
            Rules { compatible: &Compatible::Patch, prefer: PreferVersion::Weight, canary: None, go: None };
        let decision =
            decide(rules, &[of(From(at(140))), of(From(at(120))), of(From(at(100))), of(Yes), of(No)], NOW);
        assert_eq!(decision.until, Some(at(120)));
    }

    #[test]
    fn versions_count_where_nobody_takes_flows() {
        let (one, two, three) = (version("1.0"), version("1.0.1"), version("1.0.2"));
        let of = |version, stopped| Candidate { version, takes_new: false, stopped, weight: 1.0 };
        let (compatible, prefer, canary) = (&Compatible::Patch, PreferVersion::Newest, "5%".parse().ok());
        let rules = Rules { compatible, prefer, canary, go: None };
        let candidates = [of(&one, From(at(900))), of(&two, From(at(90))), of(&three, Yes)];
        let parts = decide(rules, &candidates, NOW).parts;
        let Part::Takes(canary) = parts[0] else { panic!("{parts:?}") };
        assert!((canary - 5.0 / 95.0).abs() < 1e-9, "{canary}");
        assert_eq!(parts[1..], [Part::Takes(1.0), Part::Spare]);
    }

    #[test]
    fn weights_stay_as_they_are_without_a_canary() {
        let (one, two) = (version("1.0"), version("1.0.1"));
        let of = |version| Candidate { version, takes_new: true, stopped: No, weight: 7.0 };
        for prefer in [PreferVersion::Newest, PreferVersion::Weight] {
            let rules = Rules { compatible: &Compatible::Patch, prefer, canary: None, go: None };
            assert_eq!(decide(rules, &[of(&one), of(&two)], NOW).parts[1], Part::Takes(1.0));
        }
    }
}
