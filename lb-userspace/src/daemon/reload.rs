//! What makes the daemon read its file again: SIGHUP, and the file's own changes or those of its lists.
//!
//! The files' directories are watched, not the files: editors and configuration management replace them by a rename, and
//! a mounted secret or config map changes through a symbolic link beside it.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::ready,
    mem,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    fs,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task, time,
};
use tracing::warn;

use super::Event;
use crate::config::{Config, Diagnostics, Text, fingerprint};

/// How long a file has to be quiet before it is read: a writer may write it in parts.
const QUIET: Duration = Duration::from_millis(100);

/// The file, read again.
#[derive(Clone, Debug)]
pub struct Reload {
    /// Why.
    pub cause: Cause,
    /// What it holds, or why that is not known.
    pub text: Result<Text, Diagnostics>,
}

/// Why the file is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody sent SIGHUP.
    Signal,
    /// Its text is another than before.
    FileChanged,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "SIGHUP",
            Self::FileChanged => "file changed",
        })
    }
}

/// The files of a configuration's lists, each with the fingerprint of what was read of it.
pub(super) type ListFiles = Vec<(PathBuf, u64)>;

/// Those of the configuration at `path`.
pub(super) fn list_files(config: &Config, path: &Path) -> ListFiles {
    let of = |list: &crate::config::List| Some((directory(path).join(list.file.as_ref()?), list.fingerprint));
    config.lists.iter().filter_map(of).collect()
}

/// Starts to watch for texts other than `text`, and for lists other than those that were read. Stops when what is
/// returned is dropped.
///
/// # Errors
///
/// Where the kernel gives no watch or no signal handler.
pub(super) fn watch(
    file: &Path,
    text: Text,
    lists: watch::Receiver<ListFiles>,
    events: mpsc::Sender<Event>,
) -> Result<AbortOnDrop> {
    let (touch, touches) = mpsc::unbounded_channel();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is itself an access; only what may have changed it counts.
        if !matches!(event.map(|event| event.kind), Ok(EventKind::Access(_))) {
            let _ = touch.send(());
        }
    })
    .context("cannot watch files")?;
    let mut files = Watched {
        file: file.to_owned(),
        text: Ok(text),
        lists,
        seen: HashMap::new(),
        watcher,
        directories: HashSet::new(),
    };
    files.watch_directory(directory(file))?;
    let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    Ok(AbortOnDrop(task::spawn(files.tell(hangups, touches, events))))
}

/// The directory that a file is in.
fn directory(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Ends the watching task with its owner.
#[derive(Debug)]
pub(super) struct AbortOnDrop(task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is watched, and what was seen of it.
struct Watched {
    file: PathBuf,
    text: Result<Text, Diagnostics>,
    lists: watch::Receiver<ListFiles>,
    /// Fingerprints of lists that have changed since they were read.
    seen: HashMap<PathBuf, u64>,
    watcher: RecommendedWatcher,
    directories: HashSet<PathBuf>,
}

impl Watched {
    async fn tell(
        mut self,
        mut hangups: Signal,
        mut touches: mpsc::UnboundedReceiver<()>,
        events: mpsc::Sender<Event>,
    ) {
        // The files may have changed before they were watched.
        let mut first = true;
        loop {
            let cause = tokio::select! {
                () = ready(()), if mem::take(&mut first) => Cause::FileChanged,
                Some(()) = hangups.recv() => Cause::Signal,
                Some(()) = touches.recv() => Cause::FileChanged,
                Ok(()) = self.lists.changed() => Cause::FileChanged,
                else => return,
            };
            if cause == Cause::FileChanged {
                self.watch_lists();
                time::sleep(QUIET).await;
                while touches.try_recv().is_ok() {}
            }
            let changed = self.look().await;
            let reload = Reload { cause, text: self.text.clone() };
            if (cause == Cause::Signal || changed) && events.send(Event::Reload(reload)).await.is_err() {
                return;
            }
        }
    }

    /// Whether any file is another than when it was looked at last, or read.
    async fn look(&mut self) -> bool {
        let file = self.file.clone();
        let Ok(mut read) = task::spawn_blocking(move || Text::read(&file)).await else { return false };
        let mut changed = read != self.text;
        if let (Ok(read), Ok(before)) = (&mut read, &self.text) {
            read.share(before);
        }
        self.text = read;
        let lists = self.lists.borrow().clone();
        for (path, read) in lists {
            // One that is not there for a moment is about to be replaced.
            let Ok(bytes) = fs::read(&path).await else { continue };
            let now = fingerprint(&bytes);
            changed |= self.seen.insert(path, now).unwrap_or(read) != now;
        }
        changed
    }

    fn watch_lists(&mut self) {
        let lists = self.lists.borrow_and_update().clone();
        for (path, _) in lists {
            if let Err(error) = self.watch_directory(directory(&path)) {
                warn!("{error:#}; `systemctl reload` or SIGHUP still reads it again");
            }
        }
    }

    fn watch_directory(&mut self, directory: &Path) -> Result<()> {
        if self.directories.insert(directory.to_owned()) {
            self.watcher
                .watch(directory, RecursiveMode::NonRecursive)
                .with_context(|| format!("cannot watch {}", directory.display()))?;
        }
        Ok(())
    }
}
