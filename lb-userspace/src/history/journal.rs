//! The file that keeps histories: a line of JSON for each change, written as it happens.
//!
//! A line that a daemon has written is there whatever ends the daemon. It is not forced to the disk, so a host that loses
//! its power loses the last of them: a history is no promise to anybody, and a thousand backends that go down at once
//! shall not wait for a disk. The file is written anew, without what is forgotten, where it has grown too long.
//!
//! Moments are seconds since 1970 there, as in the file of wishes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Aspect, Change, Histories, KEPT};
use crate::health::TargetKey;

/// Lines beyond those that are needed before the file is written anew.
const SPARE: usize = 1024;

/// What goes wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// What was said.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}; its directory is that of balancer.state_path", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// What was said.
        #[source]
        source: io::Error,
    },
}

/// The file, and what is to be written to it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// When the monotonic clock began, since 1970.
    boot: Duration,
    file: Option<File>,
    /// Lines in the file.
    lines: usize,
    pending: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    at: f64,
    service: String,
    backend: String,
    what: Aspect,
    is: String,
    why: String,
}

impl Journal {
    /// A file of which nothing is known yet. `boot` is when the monotonic clock began, since 1970.
    #[must_use]
    pub const fn new(path: PathBuf, boot: Duration) -> Self {
        Self { path, boot, file: None, lines: 0, pending: String::new() }
    }

    /// What the file keeps; nothing where it is not there. Lines that are none, such as a last one that broke off, are
    /// left out.
    ///
    /// # Errors
    ///
    /// [`JournalError::Read`].
    pub fn load(&mut self, now: Duration) -> Result<Histories, JournalError> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Histories::default()),
            read => read.map_err(|source| JournalError::Read { path: self.path.clone(), source })?,
        };
        if !text.ends_with(b"\n") && !text.is_empty() {
            // What broke off shall not spoil the next one.
            self.pending.push('\n');
        }
        let mut histories = Histories::default();
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            self.lines += 1;
            let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
            let (key, change) = line.into_change(self.boot, now);
            histories.add(&key, change);
        }
        Ok(histories)
    }

    /// Takes in a change. [`Self::save`] writes it.
    pub fn note(&mut self, key: &TargetKey, change: &Change) {
        let names = [key.service.as_str(), key.backend.as_str()];
        self.pending.push_str(&Line::new(names, change, self.boot).text());
        self.lines += 1;
    }

    /// Writes what was noted, or all of `histories` where the file has grown too long.
    ///
    /// # Errors
    ///
    /// [`JournalError::Write`].
    pub fn save(&mut self, histories: &Histories) -> Result<(), JournalError> {
        let needed = histories.len() * KEPT;
        if self.lines > 2 * needed + SPARE {
            return self.rewrite(histories);
        }
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        self.append(&pending).map_err(|source| JournalError::Write { path: self.path.clone(), source })
    }

    /// Writes all of `histories` into a file that takes the place of the one that is there.
    ///
    /// # Errors
    ///
    /// [`JournalError::Write`].
    pub fn rewrite(&mut self, histories: &Histories) -> Result<(), JournalError> {
        let mut all: Vec<_> = histories.all().collect();
        all.sort_by_key(|(_, change)| change.at);
        let text: String =
            all.iter().map(|&(names, change)| Line::new(names, change, self.boot).text()).collect();
        self.replace(&text).map_err(|source| JournalError::Write { path: self.path.clone(), source })?;
        (self.pending, self.file, self.lines) = (String::new(), None, all.len());
        Ok(())
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        let file = if let Some(file) = &mut self.file {
            file
        } else {
            if let Some(directory) = self.path.parent() {
                fs::create_dir_all(directory)?;
            }
            self.file.insert(OpenOptions::new().create(true).append(true).open(&self.path)?)
        };
        file.write_all(text.as_bytes())
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let draft = self.path.with_extension("history-draft");
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&draft, text)?;
        fs::rename(draft, &self.path)
    }
}

impl Line {
    fn new(names: [&str; 2], change: &Change, boot: Duration) -> Self {
        let [service, backend] = names.map(str::to_owned);
        let Change { at, aspect: what, is, why } = change.clone();
        let (is, why) = (is.into_owned(), why.into_owned());
        Self { at: (boot + at).as_secs_f64(), service, backend, what, is, why }
    }

    fn text(&self) -> String {
        let json = serde_json::to_string(self).expect("numbers and strings are all JSON has to hold");
        format!("{json}\n")
    }

    fn into_change(self, boot: Duration, now: Duration) -> (TargetKey, Change) {
        let Self { at, service, backend, what: aspect, is, why } = self;
        let at = Duration::try_from_secs_f64(at).unwrap_or_default().saturating_sub(boot).min(now);
        (TargetKey { service, backend }, Change { at, aspect, is: is.into(), why: why.into() })
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::{super::tests::change, *};

    const BOOT: Duration = Duration::from_secs(1_700_000_000);
    const NOW: Duration = Duration::from_secs(10_000);

    fn journal() -> (TempDir, Journal) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("made/state.history");
        (directory, Journal::new(path, BOOT))
    }

    fn key(n: u64) -> TargetKey {
        TargetKey { service: "web".to_owned(), backend: format!("b{}", n % 3) }
    }

    /// Notes as many changes as `range` has numbers.
    fn noted(journal: &mut Journal, histories: &mut Histories, range: std::ops::Range<u64>) {
        for n in range {
            let change = change(n, Aspect::Health, "up");
            journal.note(&key(n), &change);
            histories.add(&key(n), change);
        }
        journal.save(histories).unwrap();
    }

    fn loaded(journal: &Journal) -> (Histories, usize) {
        let mut again = Journal::new(journal.path.clone(), BOOT);
        (again.load(NOW).unwrap(), again.lines)
    }

    #[test]
    fn changes_are_there_after_a_restart() {
        let (_directory, mut journal) = journal();
        let mut histories = journal.load(NOW).unwrap();
        assert_eq!(histories, Histories::default());
        noted(&mut journal, &mut histories, 0..5);
        noted(&mut journal, &mut histories, 5..9);
        assert_eq!(loaded(&journal), (histories, 9));
    }

    #[test]
    fn line_that_broke_off_is_left_out() {
        let (_directory, mut journal) = journal();
        let mut histories = Histories::default();
        noted(&mut journal, &mut histories, 0..3);
        let text = fs::read_to_string(&journal.path).unwrap();
        fs::write(&journal.path, format!("nonsense\n{}", &text[..text.len() - 9])).unwrap();
        let (found, _) = loaded(&journal);
        assert_eq!((found.all().count(), found.of(&key(2)).count()), (2, 0));
        // What comes after it is read again.
        let mut next = Journal::new(journal.path.clone(), BOOT);
        let mut histories = next.load(NOW).unwrap();
        noted(&mut next, &mut histories, 5..6);
        assert_eq!(loaded(&next).0.of(&key(5)).count(), 1);
    }

    #[test]
    fn file_stays_short() {
        let (_directory, mut journal) = journal();
        let mut histories = Histories::default();
        for n in 0..4000 {
            noted(&mut journal, &mut histories, n..n + 1);
        }
        let (found, lines) = loaded(&journal);
        assert_eq!(found, histories);
        assert!((3 * KEPT..=2 * 3 * KEPT + SPARE).contains(&lines), "{lines}");
    }

    #[test]
    fn moment_of_another_boot_is_kept() {
        let (_directory, mut journal) = journal();
        let mut histories = Histories::default();
        noted(&mut journal, &mut histories, 5000..5001);
        let mut rebooted = Journal::new(journal.path.clone(), BOOT + Duration::from_secs(4000));
        let at = |histories: &Histories| histories.all().map(|(_, change)| change.at.as_secs()).next();
        assert_eq!(at(&rebooted.load(NOW).unwrap()), Some(1000));
        let mut ahead = Journal::new(journal.path.clone(), BOOT);
        assert_eq!(at(&ahead.load(Duration::from_secs(9)).unwrap()), Some(9), "the clock was set back");
    }

    #[test]
    fn directory_that_cannot_be_is_told() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let mut journal = Journal::new(directory.path().join("file/state.history"), BOOT);
        journal.note(&key(1), &change(1, Aspect::Health, "up"));
        let error = journal.save(&Histories::default()).unwrap_err().to_string();
        assert!(error.contains("balancer.state_path"), "{error}");
        assert!(matches!(journal.load(NOW), Err(JournalError::Read { .. })));
    }
}
