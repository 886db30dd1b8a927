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

/// Bytes of a body that a line shows.
const SHOWN: usize = 2048;

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

/// As much of a body as a line shows.
pub(super) fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
    let end = if body.len() > SHOWN { "…" } else { "" };
    format!("{text}{end}")
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
        for (error, body) in [(None, shown(b"{\"weight\":\n5}")), (Some("no"), shown(&[b'x'; 3000]))] {
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
        assert_eq!(lines[0]["body"], "{\"weight\":\n5}");
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
}
