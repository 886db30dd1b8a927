//! Who has changed what, or was refused: a line of the log for each, and one of a file where there is one.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use serde::Serialize;
use tracing::{error, info, warn};

use super::refused::Refused;
use crate::config::redact;

/// Bytes of a body that a line shows.
const SHOWN: usize = 2048;

/// Bytes of a body that is looked at. One that is larger is a whole file, and known from there.
const READ: usize = 256 << 10;

/// Bytes of a secret by which it is found in a message.
const QUOTED: usize = 8;

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}; set balancer.audit_path to a path that can be written", path.display())]
pub struct AuditError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Where the lines go.
#[derive(Clone, Debug, Default)]
pub(super) struct Audit(Arc<Mutex<Option<File>>>);

/// What somebody has asked for, and what came of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line<'a> {
    /// Who.
    pub(super) who: &'a str,
    /// From where.
    pub(super) from: &'a str,
    /// How.
    pub(super) method: &'a str,
    /// Of what, with the query.
    pub(super) path: &'a str,
    /// With what.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) body: &'a str,
    /// The answer's status.
    pub(super) status: u16,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'a str>,
}

#[derive(Serialize)]
struct Dated<'a> {
    time: String,
    #[serde(flatten)]
    line: &'a Line<'a>,
}

/// Opens a file for lines at its end. Only its owner may read it: bodies are in it.
///
/// # Errors
///
/// [`AuditError`].
pub(super) fn open(path: &Path) -> Result<File, AuditError> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(path);
    file.map_err(|source| AuditError { path: path.to_owned(), source })
}

impl Audit {
    /// Has the next lines go there.
    pub(super) fn follow(&self, file: Option<File>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    /// Writes a line.
    pub(super) fn write(&self, line: &Line<'_>) {
        let Line { who, from, method, path, body, status, error } = line;
        match error {
            None => info!(target: "audit", who, from, method, path, body, status, "admin API: done"),
            Some(error) => {
                warn!(target: "audit", who, from, method, path, body, status, error, "admin API: refused");
            }
        }
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = file.as_mut()
            && let Err(error) = append(file, line)
        {
            error!("the audit log is not written: {error}");
        }
    }
}

/// In one call, so that lines of two daemons do not mix.
fn append(file: &mut File, line: &Line<'_>) -> io::Result<()> {
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let mut text = serde_json::to_vec(&Dated { time, line })?;
    text.push(b'\n');
    file.write_all(&text)
}

/// What a line shows of a request's body, and what it must not show.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// As much of it as a line shows.
    pub(super) text: String,
    secrets: Vec<String>,
}

impl Shown {
    /// What is shown of `body`, which is JSON or the text of a configuration file. Of anything else nobody can tell what in
    /// it is secret.
    pub(super) fn of(body: &[u8]) -> Self {
        let size = body.len();
        if size == 0 {
            return Self::default();
        }
        if size > READ {
            return Self { text: format!("({size} bytes)"), secrets: Vec::new() };
        }
        let Some((text, secrets)) = of_json(body).or_else(|| of_toml(body)) else {
            return Self { text: format!("({size} bytes, neither JSON nor TOML)"), secrets: Vec::new() };
        };
        let end = text.floor_char_boundary(SHOWN);
        let rest = if end < text.len() { "…" } else { "" };
        Self { text: format!("{}{rest}", &text[..end]), secrets }
    }

    /// Why the request was refused. Messages quote values, of which some are cut; one that quotes a secret is left out, and
    /// the key that it is about stands for it.
    pub(super) fn reason<'a>(&self, refused: &'a Refused) -> &'a str {
        let quotes = |secret: &String| {
            let begin = &secret[..secret.floor_char_boundary(QUOTED)];
            !begin.is_empty()
                && (refused.error.contains(begin)
                    || refused.error.contains(&begin.escape_debug().to_string()))
        };
        if !self.secrets.iter().any(quotes) {
            return &refused.error;
        }
        refused.key.as_deref().unwrap_or("a secret")
    }
}

fn of_json(body: &[u8]) -> Option<(String, Vec<String>)> {
    let mut value = serde_json::from_slice(body).ok()?;
    let secrets = redact(&mut value);
    Some((value.to_string(), secrets))
}

fn of_toml(body: &[u8]) -> Option<(String, Vec<String>)> {
    let table: toml::Table = std::str::from_utf8(body).ok()?.parse().ok()?;
    let mut value = serde_json::to_value(table).ok()?;
    let secrets = redact(&mut value);
    Some((toml::Table::try_from(value).ok()?.to_string(), secrets))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_of_the_file_are_json_and_their_bodies_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let audit = Audit::default();
        let long = format!("\"{}\"", "x".repeat(3000));
        for (error, body) in [(None, "{\"weight\":\n5}"), (Some("no"), long.as_str())] {
            let body = Shown::of(body.as_bytes()).text;
            audit.follow(Some(open(&path).unwrap()));
            let line = Line {
                who: "uid 0",
                from: "socket",
                method: "PUT",
                path: "/v1",
                body: &body,
                status: 200,
                error,
            };
            audit.write(&line);
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["body"], "{\"weight\":5}");
        assert_eq!(lines[0].get("error"), None);
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(lines[1]["error"], "no");
        assert_eq!(lines[1]["body"].as_str().unwrap().chars().count(), SHOWN + 1);
    }

    #[test]
    fn file_that_cannot_be_written_is_named_with_its_key() {
        let error = open(Path::new("/proc/nowhere/audit.log")).unwrap_err().to_string();
        assert!(error.contains("/proc/nowhere/audit.log; set balancer.audit_path"), "{error}");
    }

    #[test]
    fn secrets_of_a_body_are_not_shown() {
        let shown = |body: &str| Shown::of(body.as_bytes()).text;
        let json = r#"{"probe": {"type": "http", "headers": {"authorization": "Bearer sesame"}}}"#;
        assert_eq!(shown(json), r#"{"probe":{"headers":{"authorization":"(secret)"},"type":"http"}}"#);
        let toml = "[fleet]\nseed = \"sesame\" # or open\n";
        assert_eq!(shown(toml), "[fleet]\nseed = \"(secret)\"\n");
        assert_eq!(shown("{\"headers\": {\"authorization\": \"ses"), "(34 bytes, neither JSON nor TOML)");
        assert_eq!(shown(&format!("\"{}\"", "x".repeat(READ))), "(262146 bytes)");
        assert_eq!(shown(""), "");
    }

    #[test]
    fn message_that_quotes_a_secret_is_not_shown() {
        let shown = Shown::of(br#"{"weight": 70000, "probe": {"headers": {"x": "open\tsesame, and more"}}}"#);
        let reason = |error: &str, key: Option<&str>| {
            let refused = Refused { error: error.to_owned(), key: key.map(str::to_owned), remedy: None };
            shown.reason(&refused).to_owned()
        };
        assert_eq!(reason("weight: 70000 is out of range", Some("weight")), "weight: 70000 is out of range");
        for quote in ["\"open\\tsesam… is no header", "open\tsesame, and more"] {
            assert_eq!(reason(quote, Some("probe.headers.x")), "probe.headers.x");
            assert_eq!(reason(quote, None), "a secret");
        }
    }
}
