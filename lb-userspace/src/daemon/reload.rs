//! What makes the daemon read its file again: SIGHUP, and the file's own changes.
//!
//! The file's directory is watched, not the file: editors and configuration management replace it by a rename, and
//! a mounted secret or config map changes through a symbolic link beside it.

use std::{
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
    sync::mpsc,
    task, time,
};

use super::Event;

/// How long a file has to be quiet before it is read: a writer may write it in parts.
const QUIET: Duration = Duration::from_millis(100);

/// Why the file is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Somebody sent SIGHUP.
    Signal,
    /// Its text is another than before.
    FileChanged,
}

impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "SIGHUP",
            Self::FileChanged => "file changed",
        })
    }
}

/// Starts to watch for texts other than `text`. Stops when what is returned is dropped.
///
/// # Errors
///
/// Where the kernel gives no watch or no signal handler.
pub(super) fn watch(
    file: &Path,
    text: Option<Vec<u8>>,
    events: mpsc::Sender<Event>,
) -> Result<(AbortOnDrop, RecommendedWatcher)> {
    let (touch, touches) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is itself an access; only what may have changed it counts.
        if !matches!(event.map(|event| event.kind), Ok(EventKind::Access(_))) {
            let _ = touch.send(());
        }
    })
    .context("cannot watch files")?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    watcher
        .watch(directory, RecursiveMode::NonRecursive)
        .with_context(|| format!("cannot watch {}", directory.display()))?;
    let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let task = task::spawn(tell(file.to_owned(), text, hangups, touches, events));
    Ok((AbortOnDrop(task), watcher))
}

/// Ends the watching task with its owner.
#[derive(Debug)]
pub(super) struct AbortOnDrop(task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn tell(
    file: PathBuf,
    mut text: Option<Vec<u8>>,
    mut hangups: Signal,
    mut touches: mpsc::UnboundedReceiver<()>,
    events: mpsc::Sender<Event>,
) {
    // The file may have changed before it was watched.
    let mut first = true;
    loop {
        let reload = tokio::select! {
            () = ready(()), if mem::take(&mut first) => Reload::FileChanged,
            Some(()) = hangups.recv() => Reload::Signal,
            Some(()) = touches.recv() => Reload::FileChanged,
            else => return,
        };
        if reload == Reload::FileChanged {
            time::sleep(QUIET).await;
            while touches.try_recv().is_ok() {}
        }
        let read = fs::read(&file).await.ok();
        let same = read == text;
        text = read;
        if (reload == Reload::Signal || !same) && events.send(Event::Reload(reload)).await.is_err() {
            return;
        }
    }
}
