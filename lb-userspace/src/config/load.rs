//! From a path or a text to a checked [`Config`].

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    str,
    sync::Arc,
};

use toml::de::DeTable;

use super::{
    Config, Service,
    diagnostics::{Diagnostic, Diagnostics, Severity, Warning},
    file::{File, Place},
    list::ReadList,
    reader::Reader,
    section::Section,
    whole,
};

/// A million backends take less.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// What a text has come to.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) config: Config,
    pub(super) warnings: Vec<Warning>,
    /// The services that the text has, in its order.
    pub(super) services: Vec<Arc<Service>>,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it, or why it cannot be read.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), Diagnostics> {
        Reader::default().load(path)
    }

    /// Checks `text` as if the file at `path` held it: files of lists that it names are taken from there.
    ///
    /// # Errors
    /// Everything that is wrong with it; where it is not TOML, only how.
    pub fn read(path: &Path, text: &str) -> Result<(Self, Vec<Warning>), Diagnostics> {
        read(path, text, &[]).map(|reading| (reading.config, reading.warnings))
    }

    /// Checks `text` alone, which diagnostics call `path_for_messages`: files of lists that it names count as empty.
    ///
    /// # Errors
    /// Everything that is wrong with it; where it is not TOML, only how.
    pub fn parse(path_for_messages: &str, text: &str) -> Result<(Self, Vec<Warning>), Diagnostics> {
        let reading = parse(path_for_messages, text, &|_| Ok(Vec::new()), &[])?;
        Ok((reading.config, reading.warnings))
    }
}

/// Checks `text` as if the file at `path` held it, and services beside it that are `known` to be right.
pub(super) fn read(path: &Path, text: &str, known: &[Arc<Service>]) -> Result<Reading, Diagnostics> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let read_list = |list: &Path| bytes(&directory.join(list)).map(|(bytes, _)| bytes);
    parse(&path.display().to_string(), text, &read_list, known)
}

fn parse(
    path_for_messages: &str,
    text: &str,
    read_list: ReadList<'_>,
    known: &[Arc<Service>],
) -> Result<Reading, Diagnostics> {
    let file = File::new(path_for_messages, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let read = whole::config(&Section::root(&file, document.get_ref()), read_list, known);
        let ((config, services), warnings) = file.conclude(read)?;
        return Ok(Reading { config, warnings, services });
    }
    for error in errors {
        let place = Place { key: String::new(), span: error.span() };
        file.report(file.error(&place, "this is not TOML").expected(remedy(&error, text)));
    }
    file.conclude(None).map(|(reading, _)| reading)
}

/// What a file held at one moment.
#[derive(Clone, Debug)]
pub struct Text {
    pub(super) text: Arc<String>,
    /// What is to be said of the file where a seed of its own is in it.
    pub(super) of_public_seed: Option<Warning>,
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Text {
    /// It, as it was written.
    #[must_use]
    pub const fn text(&self) -> &Arc<String> {
        &self.text
    }

    /// Has a text that is as it was `before` be there once.
    pub fn share(&mut self, before: &Self) {
        if self == before {
            self.text = Arc::clone(&before.text);
        }
    }

    /// What the file at `path` holds now.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Diagnostics> {
        let shown = path.display().to_string();
        let (bytes, mode) = bytes(path).map_err(|error| unreadable(&shown, &error))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid_bytes = error.utf8_error().valid_up_to();
            not_text(&shown, error.as_bytes(), valid_bytes)
        })?;
        let of_public_seed = (mode & 0o004 != 0).then(|| seed_is_public(&shown));
        Ok(Self { text: Arc::new(text), of_public_seed })
    }
}

/// The parser takes a bare word for a misspelt `true` or for nothing it knows.
fn remedy(error: &toml::de::Error, text: &str) -> String {
    let message = error.message();
    let is_bare =
        message.starts_with("invalid boolean") || message.starts_with("string values must be quoted");
    let word = error.span().and_then(|span| text.get(span)).filter(|word| is_bare && !word.is_empty());
    word.map_or_else(|| message.to_owned(), |word| format!("expected a string in quotes: \"{word}\""))
}

/// The file's bytes and mode.
fn bytes(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.mode();
    // One byte more, which tells the end without growing.
    let mut bytes = Vec::with_capacity(metadata.len().min(MAX_FILE_BYTES) as usize + 1);
    if file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)? as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 256 MiB"));
    }
    Ok((bytes, mode))
}

fn unreadable(path: &str, error: &io::Error) -> Diagnostics {
    let help = match error.kind() {
        io::ErrorKind::NotFound => "give the path of a TOML file",
        io::ErrorKind::PermissionDenied => "make it readable for the user that runs sluice",
        _ => "expected a TOML file in UTF-8",
    };
    let message = format!("the configuration cannot be read: {error}");
    Diagnostics(vec![Diagnostic::new(Severity::Error, path, message).help(help)])
}

fn not_text(path: &str, bytes: &[u8], valid_bytes: usize) -> Diagnostics {
    let text = String::from_utf8_lossy(bytes);
    let file = File::new(path, &text);
    let place = Place { key: String::new(), span: Some(valid_bytes..valid_bytes + 1) };
    let error = file.error(&place, "this is not UTF-8");
    Diagnostics(vec![error.expected("expected text in UTF-8, which TOML is written in")])
}

fn seed_is_public(path: &str) -> Warning {
    let warning =
        Diagnostic::new(Severity::Warning, path, "everybody on this host can read the fleet's seed");
    Warning(
        warning.key("fleet.seed").help("whoever knows it can aim flows at one backend: `chmod o-r` the file"),
    )
}
