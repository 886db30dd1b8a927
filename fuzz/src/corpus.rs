//! Inputs worth keeping: the smallest one for each way of ending, in a text file that a person can read and git can
//! compare.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, Result};

/// What an entry's first line begins with.
const MARK: &str = "=== ";

/// Inputs as text, by what becomes of them.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    path: PathBuf,
    entries: BTreeMap<String, String>,
    new: usize,
}

impl Corpus {
    /// Reads `path`; where there is no such file, nothing is kept yet.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn read(path: PathBuf) -> Result<Self> {
        if !path.exists() {
            return Ok(Self { path, ..Self::default() });
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let next = format!("\n{MARK}");
        let parts = text.split(&next).map(|part| part.trim_start_matches(MARK));
        let entries = parts.filter_map(|part| part.split_once('\n'));
        let entries =
            entries.map(|(end, input)| (end.to_owned(), input.trim_end_matches('\n').to_owned())).collect();
        Ok(Self { path, entries, new: 0 })
    }

    /// The inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.entries.values().map(String::as_str)
    }

    /// How many there are, and how many were not read from the file.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.new)
    }

    /// Keeps `input` if it is the first that ends like this, or the smallest.
    pub fn offer(&mut self, end: &str, input: &str) {
        if input.lines().any(|line| line.starts_with(MARK)) {
            return;
        }
        match self.entries.get_mut(end) {
            Some(held) if held.len() <= input.len() => {}
            Some(held) => input.clone_into(held),
            None => {
                self.entries.insert(end.to_owned(), input.to_owned());
                self.new += 1;
            }
        }
    }

    /// Takes over what others have found.
    pub fn merge(&mut self, other: &Self) {
        for (end, input) in &other.entries {
            self.offer(end, input);
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self) -> Result<()> {
        let text = self.entries.iter().fold(String::new(), |mut text, (end, input)| {
            let _ = writeln!(text, "{MARK}{end}\n{input}");
            text
        });
        fs::write(&self.path, text).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let path = std::env::temp_dir().join(format!("sluice-corpus-{}", std::process::id()));
        let mut corpus = Corpus::read(path.clone()).expect("no file is no corpus");
        corpus.offer("short", "a\nb");
        corpus.offer("longer", "c");
        corpus.write().expect("a temporary file");
        let read = Corpus::read(path.clone()).expect("just written");
        fs::remove_file(path).expect("just written");
        assert_eq!(read.inputs().collect::<Vec<_>>(), ["c", "a\nb"]);
        assert_eq!(read.sizes(), (2, 0));
    }

    #[test]
    fn the_smallest_input_of_an_end_is_kept() {
        let mut corpus = Corpus::default();
        for input in ["abc", "ab", "abcd"] {
            corpus.offer("end", input);
        }
        assert_eq!((corpus.inputs().collect::<Vec<_>>(), corpus.sizes()), (vec!["ab"], (1, 1)));
    }
}
