//! The file that keeps the operator's wishes over restarts, and what else no map says: JSON, replaced as a whole.
//!
//! Moments are seconds since 1970 there, since the monotonic clock begins anew with every boot; `boot` is the moment at
//! which it began. One that lies ahead, since somebody has set the clock back, counts as now.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use lb_common::service::ServiceKey;
use serde::{Deserialize, Serialize};

use super::{Leaving, RolloutWish, Wish, Wishes};
use crate::{
    config::{AdminState, Backend, Forwarding, OnDeadline, Protocol},
    health::TargetKey,
};

/// The layout's number.
const VERSION: u32 = 1;

/// Why the wishes could not be kept, or found again.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// What was said.
        #[source]
        source: io::Error,
    },
    /// It is not what a daemon has written.
    #[error("{} is no state file", path.display())]
    Broken {
        /// Its path.
        path: PathBuf,
        /// What was said.
        #[source]
        source: ParseError,
    },
    /// It cannot be written.
    #[error("cannot write {}; set balancer.state_path to a path that can be written", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// What was said.
        #[source]
        source: io::Error,
    },
}

/// Why a text is not a state.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is no JSON, or lacks something.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Another version of the daemon has written it.
    #[error("its layout is number {0}, and this sluice knows {VERSION}")]
    Version(u32),
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What the operator wants.
    pub wishes: Wishes,
    /// When backends began to take flows that have not their whole share yet.
    pub started: BTreeMap<TargetKey, Duration>,
}

/// The file and what is in it.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    text: String,
}

impl StateFile {
    /// A file of which nothing is known yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, text: String::new() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it keeps; nothing where it is not there.
    ///
    /// # Errors
    ///
    /// [`StateError::Read`] and [`StateError::Broken`].
    pub fn load(&mut self, boot: Duration, now: Duration) -> Result<Kept, StateError> {
        let path = || self.path.clone();
        self.text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
            read => read.map_err(|source| StateError::Read { path: path(), source })?,
        };
        parse(&self.text, boot, now).map_err(|source| StateError::Broken { path: path(), source })
    }

    /// Keeps it: on the disk when this returns. Writes nothing where it is there already.
    ///
    /// # Errors
    ///
    /// [`StateError::Write`]; what was there before is there still.
    pub fn save(&mut self, kept: &Kept, boot: Duration) -> Result<(), StateError> {
        let text = render(kept, boot);
        let known = if self.text.is_empty() { render(&Kept::default(), boot) } else { self.text.clone() };
        if text == known {
            return Ok(());
        }
        replace(&self.path, &text).map_err(|source| StateError::Write { path: self.path.clone(), source })?;
        self.text = text;
        Ok(())
    }
}

/// A crash leaves the one text or the other.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(directory)?.sync_all()
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    backends: Vec<SavedBackend>,
    leaving: Vec<SavedLeaving>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rollouts: BTreeMap<String, RolloutWish>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    started: Vec<SavedStart>,
}

#[derive(Serialize, Deserialize)]
struct SavedStart {
    service: String,
    backend: String,
    since: u64,
}

#[derive(Serialize, Deserialize)]
struct SavedBackend {
    service: String,
    backend: String,
    #[serde(flatten)]
    wish: SavedWish,
}

#[derive(Serialize, Deserialize)]
struct SavedLeaving {
    vip: IpAddr,
    port: u16,
    protocol: Protocol,
    backend: String,
    address: IpAddr,
    forwarding: Forwarding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend_port: Option<u16>,
    #[serde(flatten)]
    wish: SavedWish,
}

#[derive(Serialize, Deserialize)]
struct SavedWish {
    state: AdminState,
    #[serde(skip_serializing_if = "Option::is_none")]
    over: Option<AdminState>,
    since: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_deadline: Option<OnDeadline>,
}

/// What `text` keeps.
///
/// # Errors
///
/// [`ParseError`].
pub fn parse(text: &str, boot: Duration, now: Duration) -> Result<Kept, ParseError> {
    #[derive(Deserialize)]
    struct Numbered {
        version: u32,
    }
    let Numbered { version } = serde_json::from_str(text)?;
    if version != VERSION {
        return Err(ParseError::Version(version));
    }
    let saved: Saved = serde_json::from_str(text)?;
    let backends = saved.backends.into_iter();
    let mut wishes = Wishes {
        backends: backends
            .map(|saved| (TargetKey::new(&saved.service, &saved.backend), saved.wish.into_wish(boot, now)))
            .collect(),
        leaving: Vec::new(),
        rollouts: saved.rollouts,
    };
    wishes.add_leaving(saved.leaving.into_iter().map(|leaving| leaving.into_leaving(boot, now)));
    let started = saved.started.into_iter();
    let started = started
        .map(|start| (TargetKey::new(&start.service, &start.backend), moment(start.since, boot, now)))
        .collect();
    Ok(Kept { wishes, started })
}

/// The text that keeps it.
///
/// # Panics
///
/// Never: all of it can be JSON.
#[must_use]
pub fn render(kept: &Kept, boot: Duration) -> String {
    let Kept { wishes, started } = kept;
    let backends = wishes.backends.iter().map(|(key, wish)| SavedBackend {
        service: key.service.clone(),
        backend: key.backend.clone(),
        wish: SavedWish::new(wish, boot),
    });
    let leaving = wishes.leaving.iter().map(|leaving| SavedLeaving::new(leaving, boot));
    let started = started.iter().map(|(key, since)| SavedStart {
        service: key.service.clone(),
        backend: key.backend.clone(),
        since: (boot + *since).as_secs(),
    });
    let saved = Saved {
        version: VERSION,
        backends: backends.collect(),
        leaving: leaving.collect(),
        rollouts: wishes.rollouts.clone(),
        started: started.collect(),
    };
    serde_json::to_string_pretty(&saved).expect("strings, numbers and lists are all JSON has to hold") + "\n"
}

/// A moment that was kept, on the monotonic clock.
fn moment(since_epoch: u64, boot: Duration, now: Duration) -> Duration {
    Duration::from_secs(since_epoch).saturating_sub(boot).min(now)
}

impl SavedWish {
    fn new(wish: &Wish, boot: Duration) -> Self {
        Self {
            state: wish.state,
            over: wish.over,
            since: (boot + wish.since).as_secs(),
            deadline_s: wish.deadline.map(|deadline| deadline.as_secs_f64()),
            on_deadline: wish.on_deadline,
        }
    }

    fn into_wish(self, boot: Duration, now: Duration) -> Wish {
        let deadline = self.deadline_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let since = moment(self.since, boot, now);
        Wish { state: self.state, over: self.over, since, deadline, on_deadline: self.on_deadline }
    }
}

impl SavedLeaving {
    fn new(leaving: &Leaving, boot: Duration) -> Self {
        let Leaving { service, backend, wish } = leaving;
        let udp = service.protocol == Protocol::Udp.number();
        Self {
            vip: service.address.into(),
            port: u16::from_be_bytes(service.port),
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            backend: backend.name.clone(),
            address: backend.address,
            forwarding: backend.forwarding,
            backend_port: backend.port,
            wish: SavedWish::new(wish, boot),
        }
    }

    fn into_leaving(self, boot: Duration, now: Duration) -> Leaving {
        let Self { vip, port, protocol, backend: name, address, forwarding, backend_port, wish } = self;
        let backend = Backend { port: backend_port, ..Backend::unlisted(name, address, forwarding) };
        let service = ServiceKey::new(vip.into(), port, protocol.number());
        Leaving { service, backend, wish: wish.into_wish(boot, now) }
    }
}
