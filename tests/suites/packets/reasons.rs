//! Which reason which case produces.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use lb_common::counter::Reason;
use libtest_mimic::{Failed, Trial};

use crate::case::Case;

/// Reasons without a case, and why.
const EXEMPT: &[(Reason, &str)] =
    &[(Reason::Internal, "maps that contradict each other; nothing that the daemon does makes them")];

/// The cases of every reason.
#[derive(Clone)]
pub struct Reasons {
    count: usize,
    names: Vec<String>,
    /// By the reason's number: how many cases, and the first of them.
    cases: BTreeMap<u32, (usize, String)>,
}

impl Reasons {
    pub fn of(cases: &[Case]) -> Self {
        let names = cases.iter().map(Case::full_name).collect();
        let mut reasons = Self { count: cases.len(), names, cases: BTreeMap::new() };
        for case in cases {
            let entry = reasons.cases.entry(case.reason() as u32);
            entry.or_insert_with(|| (0, case.full_name())).0 += 1;
        }
        reasons
    }

    /// Tests of the table itself.
    pub fn trials(&self) -> Vec<Trial> {
        let (reasons, table) = (self.clone(), self.clone());
        let complete = Trial::test("table::every reason has a case", move || reasons.check_complete());
        let unique = Trial::test("table::names of cases are unique", move || table.check_unique());
        vec![complete, unique]
    }

    fn check_complete(&self) -> Result<(), Failed> {
        let missing =
            |reason: &Reason| !self.cases.contains_key(&(*reason as u32)) && excuse(*reason).is_none();
        let missing: Vec<_> = Reason::ALL.into_iter().filter(missing).map(Reason::name).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("no case produces: {}", missing.join(", ")).into())
    }

    fn check_unique(&self) -> Result<(), Failed> {
        let mut seen = HashSet::new();
        match self.names.iter().find(|name| !seen.insert(*name)) {
            Some(name) => Err(format!("two cases are called `{name}`").into()),
            None => Ok(()),
        }
    }
}

fn excuse(reason: Reason) -> Option<&'static str> {
    EXEMPT.iter().find(|(exempt, _)| *exempt == reason).map(|(_, why)| *why)
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} cases, by what becomes of the packet:\n", self.count)?;
        writeln!(f, "{:<18}{:>6}  the first of them", "reason", "cases")?;
        for reason in Reason::ALL {
            match (self.cases.get(&(reason as u32)), excuse(reason)) {
                (Some((count, first)), _) => writeln!(f, "{:<18}{count:>6}  {first}", reason.name())?,
                (None, Some(why)) => writeln!(f, "{:<18}{:>6}  {why}", reason.name(), "-")?,
                (None, None) => writeln!(f, "{:<18}{:>6}  MISSING", reason.name(), 0)?,
            }
        }
        Ok(())
    }
}
