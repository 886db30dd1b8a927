//! The file with what was changed over it at run time: how it is read, kept, and becomes what runs.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::{Attachments, Owner, boot, now};
use crate::{
    admin::change::Changed,
    causes::with_causes,
    changes::{Changes, Condition, Document, Edit, EditError, Said, Unmet, file::ChangesFile},
    config::{Config, Diagnostics, Reader, Text, Warning},
    health::TargetKey,
    metrics::Leases,
    wishes::file::StateError,
};

/// When a lease that could not be ended is looked at again.
const RETRY: Duration = Duration::from_secs(1);

/// A change that somebody wants, and where is told what came of it.
#[derive(Debug)]
pub struct EditEvent {
    /// What is to be another.
    pub edit: Edit,
    /// On what condition.
    pub condition: Condition,
    /// Whether only to tell what would change.
    pub dry_run: bool,
    /// Told once it is kept and the data plane follows.
    pub answer: oneshot::Sender<Result<Changed, EditRefused>>,
}

/// Why a change was not made. What ran goes on running.
#[derive(Debug, thiserror::Error)]
pub enum EditRefused {
    /// It was meant for something else than there is.
    #[error(transparent)]
    Unmet(#[from] Unmet),
    /// It cannot be made.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// What it comes to is wrong.
    #[error("{error}")]
    Broken {
        /// What is wrong.
        error: String,
        /// The key of the body, where it is about one.
        key: Option<String>,
        /// What would be right.
        remedy: Option<String>,
    },
    /// It cannot be followed.
    #[error("{0}")]
    Refused(String),
}

/// What is said, and where it is kept.
#[derive(Debug)]
pub(super) struct Layers {
    /// Reads the file.
    reader: Reader,
    /// Reads what it and the changes come to.
    merged: Reader,
    said: Said,
    store: ChangesFile,
    /// When a lease is looked at again that could not be ended.
    retry: Option<Duration>,
}

impl Layers {
    /// What the `text` of the file at `path` comes to, with what was kept.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn start(path: &Path, text: &Text) -> Result<(Config, Self), Diagnostics> {
        let mut reader = Reader::default();
        let (config, file) = load(&mut reader, path, text)?;
        let mut store = ChangesFile::beside(&config.balancer.state_path);
        let kept = store.load(boot(), now()).unwrap_or_else(|error| {
            warn!("{}; what was changed at run time is lost", with_causes(&error));
            put_aside(&mut store);
            Changes::default()
        });
        let (said, overruled) = Said::new(file.clone(), kept);
        for name in &overruled {
            tell_overruled(name);
        }
        let mut merged = Reader::default();
        match read(&mut merged, path, config.clone(), &said) {
            Ok((config, _)) => Ok((config, Self { reader, merged, said, store, retry: None })),
            Err(diagnostics) => {
                error!(
                    "what was changed at run time does not go with the file any more, so the file holds alone: {}",
                    diagnostics.unnamed()
                );
                put_aside(&mut store);
                let (said, _) = Said::new(file, Changes::default());
                Ok((config, Self { reader, merged, said, store, retry: None }))
            }
        }
    }

    /// What is said.
    pub(super) const fn said(&self) -> &Said {
        &self.said
    }

    /// What another `text` of the file at `path` comes to, and what of the changes it overrules.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn load(
        &mut self,
        path: &Path,
        text: &Text,
    ) -> Result<(Config, Said, Vec<String>), Diagnostics> {
        let (config, file) = load(&mut self.reader, path, text)?;
        self.over(path, config, file)
    }

    /// What another text of the file would come to, which alone is `config`, and what of the changes it overrules.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn over(
        &mut self,
        path: &Path,
        config: Config,
        file: Document,
    ) -> Result<(Config, Said, Vec<String>), Diagnostics> {
        let (said, overruled) = Said::new(file, self.said.changes().clone());
        let (config, _) = read(&mut self.merged, path, config, &said)?;
        Ok((config, said, overruled))
    }

    /// Has what runs now be what is said.
    ///
    /// # Errors
    ///
    /// Where it cannot be kept. It holds nevertheless.
    pub(super) fn adopt(&mut self, said: Said, leases: &Leases) -> Result<(), StateError> {
        leases.note(self.said.changes(), said.changes());
        self.said = said;
        self.retry = None;
        self.store.save(self.said.changes(), boot())
    }

    /// The same, where nobody waits.
    pub(super) fn adopt_or_log(&mut self, said: Said, overruled: &[String], leases: &Leases) {
        for name in overruled {
            tell_overruled(name);
        }
        if let Err(error) = self.adopt(said, leases) {
            warn!("a restart will not know what was changed at run time: {}", with_causes(&error));
        }
    }

    /// When the next lease lapses.
    pub(super) fn next_lapse(&self) -> Option<Duration> {
        let lapse = self.said.changes().next_lapse()?;
        Some(self.retry.map_or(lapse, |retry| retry.max(lapse)))
    }
}

/// What a text of the file at `path` comes to alone. The log is told what is questionable in it.
fn load(reader: &mut Reader, path: &Path, text: &Text) -> Result<(Config, Document), Diagnostics> {
    let (config, warnings) = reader.take(path, text)?;
    for warning in warnings {
        warn!("{}", warning.unnamed());
    }
    Ok((config, Document::of(Arc::clone(text.text()))))
}

/// The configuration that is said; `of_file` where nothing was changed.
fn read(
    reader: &mut Reader,
    path: &Path,
    of_file: Config,
    said: &Said,
) -> Result<(Config, Vec<Warning>), Diagnostics> {
    if said.changes().is_empty() {
        return Ok((of_file, Vec::new()));
    }
    read_document(reader, path, said.document())
}

fn read_document(
    reader: &mut Reader,
    path: &Path,
    document: &Document,
) -> Result<(Config, Vec<Warning>), Diagnostics> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Lines of this text are in no file, which the messages should not pretend.
    reader.read(&path.with_file_name(format!("{name}, changed at run time")), Arc::new(document.text()))
}

fn put_aside(store: &mut ChangesFile) {
    match store.put_aside() {
        Ok(aside) => warn!("it lies in {}", aside.display()),
        Err(error) => warn!("{} cannot be put aside: {error}", store.path().display()),
    }
}

fn tell_overruled(name: &str) {
    warn!(name, "what was changed at run time does not hold any more: the file says something else now");
}

impl Owner<'_> {
    /// Changes something, or tells what that would be.
    pub(super) async fn edit(
        &mut self,
        edit: &Edit,
        condition: &Condition,
        dry_run: bool,
        attachments: &mut Attachments,
    ) -> Result<Changed, EditRefused> {
        let before = self.layers.said().clone();
        let edited = before.edited(edit, now());
        // Nothing can be said on condition about what there is not (RFC 9110, section 13.2.1).
        if !matches!(edited, Err(EditError::NoService(_) | EditError::NoBackend(_))) {
            let exists = edit.path(before.document()).is_some();
            condition.check(&before.document().version(), exists)?;
        }
        let said = edited?;
        let version = said.document().version();
        if said.document() == before.document() && !dry_run {
            let kept = self.layers.adopt(said, &self.truth.meters().leases);
            return Ok(Changed { version, ..changed(kept) });
        }
        let path = self.truth.path().to_owned();
        let (config, warnings) = read_document(&mut self.layers.merged, &path, said.document())
            .map_err(|wrong| broken(&wrong, edit, &said))?;
        let warnings = warnings_about(&warnings, edit, &said);
        if dry_run {
            let preview = Box::pin(self.preview(&config, &[])).await;
            return Ok(Changed { version: before.document().version(), warnings, preview: Some(preview) });
        }
        let adopted = Box::pin(self.try_adopt(config, attachments)).await;
        adopted.map_err(|error| EditRefused::Refused(with_causes(error.as_ref())))?;
        self.inputs.update(&self.truth);
        let kept = changed(self.layers.adopt(said, &self.truth.meters().leases));
        Ok(Changed { version, warnings: [warnings, kept.warnings].concat(), preview: None })
    }

    /// Ends the leases that have lapsed. Their backends leave as if they had been taken out of the file.
    pub(super) async fn lapse(&mut self, attachments: &mut Attachments) {
        let (said, lapsed) = self.layers.said().lapsed(now());
        let path = self.truth.path().to_owned();
        let result = match read_document(&mut self.layers.merged, &path, said.document()) {
            Ok((config, _)) => Box::pin(self.try_adopt(config, attachments)).await,
            Err(wrong) => Err(wrong.into()),
        };
        match result {
            Ok(()) => {
                for TargetKey { service, backend } in &lapsed {
                    info!(service, backend, "the lease of the backend has lapsed");
                    self.truth.meters().leases.note_lapse(service);
                }
                self.inputs.update(&self.truth);
                self.layers.adopt_or_log(said, &[], &self.truth.meters().leases);
            }
            Err(error) => {
                error!("a lease has lapsed and cannot be ended: {}", super::logged(&error));
                self.layers.retry = Some(now() + RETRY);
            }
        }
    }
}

/// An answer, with a warning where it will not outlive the daemon.
fn changed(kept: Result<(), StateError>) -> Changed {
    let warning = kept.err().map(|error| format!("a restart forgets this: {}", with_causes(&error)));
    Changed { warnings: warning.into_iter().collect(), ..Changed::default() }
}

/// What is wrong, in the words of whoever has sent the body.
fn broken(wrong: &Diagnostics, edit: &Edit, said: &Said) -> EditRefused {
    let own = edit.path(said.document());
    let told = |path: &str, message: &str| match key_within(own.as_deref(), path) {
        Some("") => message.to_owned(),
        Some(key) => format!("{key}: {message}"),
        None => format!("{path}: {message}"),
    };
    let all: Vec<_> = wrong.iter().map(|one| told(one.key_path(), one.message())).collect();
    let first = wrong.iter().next();
    let key = first.and_then(|first| key_within(own.as_deref(), first.key_path()));
    EditRefused::Broken {
        error: all.join("; "),
        key: key.filter(|key| !key.is_empty()).map(str::to_owned),
        remedy: first.and_then(|first| first.remedy()).map(str::to_owned),
    }
}

fn warnings_about(warnings: &[Warning], edit: &Edit, said: &Said) -> Vec<String> {
    let own = edit.path(said.document());
    let told = |warning: &Warning| {
        let diagnostic = warning.diagnostic();
        key_within(own.as_deref(), diagnostic.key_path()).map(|_| diagnostic.message().to_owned())
    };
    warnings.iter().filter_map(told).collect()
}

/// The part of `path` behind `own`, where it is below that.
fn key_within<'a>(own: Option<&str>, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(own?)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[balancer]\ninterfaces = [\"eth0\"]\n\n[[service]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\n\
        protocol = \"tcp\"\nforwarding = \"l2\"\nprobe = { type = \"none\" }\n\n[[service.backend]]\nname = \"b1\"\naddress = \"192.0.2.1\"\n";

    fn said() -> Said {
        Said::new(Document::parse(FILE).unwrap(), Changes::default()).0
    }

    #[test]
    fn mistake_is_told_with_the_key_of_the_body() {
        let key = TargetKey { service: "web".to_owned(), backend: "b2".to_owned() };
        let table = "name = 'b2'\naddress = '192.0.2.2'\nwieght = 70000".parse().unwrap();
        let edit = Edit::PutBackend(key, table, None);
        let said = said().edited(&edit, Duration::ZERO).unwrap();
        let file = Path::new("/etc/sluice.toml");
        let wrong = read_document(&mut Reader::default(), file, said.document()).unwrap_err();
        let EditRefused::Broken { error, key, remedy } = broken(&wrong, &edit, &said) else { panic!() };
        assert_eq!(error, "wieght: unknown key `wieght` in [[service.backend]]");
        assert_eq!((key.as_deref(), remedy.as_deref()), (Some("wieght"), Some("did you mean `weight`?")));
    }
}
