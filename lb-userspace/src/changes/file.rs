//! The file that keeps changes over restarts, beside the one of wishes: JSON, replaced as a whole.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Change, Changes, Lease};
use crate::{
    health::TargetKey,
    wishes::file::{ParseError, StateError, replace},
};

/// The layout's number.
const VERSION: u32 = 1;

/// The file and what is in it.
#[derive(Debug)]
pub struct ChangesFile {
    path: PathBuf,
    kept: Changes,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    services: Vec<SavedChange>,
    backends: Vec<SavedChange>,
}

#[derive(Serialize, Deserialize)]
struct SavedChange {
    service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    over: Option<Table>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is: Option<Table>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<SavedLease>,
}

/// In seconds, `until` since 1970.
#[derive(Serialize, Deserialize)]
struct SavedLease {
    ttl: f64,
    until: f64,
}

impl ChangesFile {
    /// The one beside the file of wishes.
    #[must_use]
    pub fn beside(state: &Path) -> Self {
        Self { path: state.with_extension("changes"), kept: Changes::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it keeps; nothing where it is not there. `boot` is when the monotonic clock began, since 1970.
    ///
    /// # Errors
    ///
    /// [`StateError::Read`] and [`StateError::Broken`].
    pub fn load(&mut self, boot: Duration, now: Duration) -> Result<Changes, StateError> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Changes::default()),
            read => read.map_err(|source| StateError::Read { path: self.path.clone(), source })?,
        };
        let parsed = parse(&text, boot);
        self.kept = parsed.map_err(|source| StateError::Broken { path: self.path.clone(), source })?;
        Ok(self.kept.clone().resumed(now))
    }

    /// Puts it aside, for somebody to look at.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn put_aside(&mut self) -> io::Result<PathBuf> {
        let aside = self.path.with_extension("changes.rejected");
        fs::rename(&self.path, &aside)?;
        self.kept = Changes::default();
        Ok(aside)
    }

    /// Keeps it: on the disk when this returns. Writes nothing where what is there is as good, as where only a lease was
    /// renewed.
    ///
    /// # Errors
    ///
    /// [`StateError::Write`]; what was there before is there still.
    pub fn save(&mut self, changes: &Changes, boot: Duration) -> Result<(), StateError> {
        if changes.is_as_good_as(&self.kept) {
            return Ok(());
        }
        let text = render(changes, boot);
        replace(&self.path, &text).map_err(|source| StateError::Write { path: self.path.clone(), source })?;
        self.kept = changes.clone();
        Ok(())
    }
}

/// What `text` keeps, leases as they were when it was written.
///
/// # Errors
///
/// [`ParseError`].
pub fn parse(text: &str, boot: Duration) -> Result<Changes, ParseError> {
    #[derive(Deserialize)]
    struct Numbered {
        version: u32,
    }
    let Numbered { version } = serde_json::from_str(text)?;
    if version != VERSION {
        return Err(ParseError::Version(version));
    }
    let Saved { services, backends, .. } = serde_json::from_str(text)?;
    let services = services.into_iter().map(|saved| (saved.service.clone(), saved.into_change(boot)));
    let backends = backends.into_iter().map(|saved| {
        let backend = saved.backend.clone().unwrap_or_default();
        (TargetKey { service: saved.service.clone(), backend }, saved.into_change(boot))
    });
    Ok(Changes { services: services.collect(), backends: backends.collect() })
}

/// The text that keeps it.
///
/// # Panics
///
/// Never: all of it can be JSON.
#[must_use]
pub fn render(changes: &Changes, boot: Duration) -> String {
    let services = changes.services.iter().map(|(name, change)| SavedChange::new(name, None, change, boot));
    let backends = changes
        .backends
        .iter()
        .map(|(key, change)| SavedChange::new(&key.service, Some(&key.backend), change, boot));
    let saved = Saved { version: VERSION, services: services.collect(), backends: backends.collect() };
    serde_json::to_string_pretty(&saved).expect("strings, numbers and lists are all JSON has to hold") + "\n"
}

impl SavedChange {
    fn new(service: &str, backend: Option<&str>, change: &Change, boot: Duration) -> Self {
        let lease = change.lease.map(|Lease { ttl, until }| SavedLease {
            ttl: ttl.as_secs_f64(),
            until: (boot + until).as_secs_f64(),
        });
        let (over, is) = (change.over.clone(), change.is.clone());
        Self { service: service.to_owned(), backend: backend.map(str::to_owned), over, is, lease }
    }

    fn into_change(self, boot: Duration) -> Change {
        let lease = self.lease.map(|saved| saved.into_lease(boot));
        Change { over: self.over, is: self.is, lease }
    }
}

impl SavedLease {
    fn into_lease(self, boot: Duration) -> Lease {
        let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Lease { ttl: seconds(self.ttl), until: seconds(self.until).saturating_sub(boot) }
    }
}
