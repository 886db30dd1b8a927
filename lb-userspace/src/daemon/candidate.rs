//! Another configuration: what it would change, and how it becomes the running one.

use std::{io, path::Path, sync::Arc};

use tracing::info;

use super::{Attachments, Owner, file::Draft, next_program};
use crate::{
    admin::plan::{Outcome, Preview, Table},
    causes::with_causes,
    changes::Document,
    config::{Config, Diagnostics, Warning},
};

/// Why a configuration is not compared, or does not become the running one. What ran goes on running.
#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    /// It is wrong.
    #[error(transparent)]
    Broken(#[from] Diagnostics),
    /// It would change something else by now.
    #[error(
        "what it would change is not what was shown any more (plan {shown}, now {is}): the configuration, or what is \
         known of backends, has changed since"
    )]
    Stale {
        /// The digest of the plan that was agreed to.
        shown: String,
        /// That of the plan as it is.
        is: String,
    },
    /// It cannot be followed.
    #[error("{0}")]
    Refused(String),
    /// The file cannot be written.
    #[error("cannot write {file}: {source}; nothing has changed")]
    File {
        /// Its path.
        file: String,
        /// What was said.
        #[source]
        source: io::Error,
    },
    /// It runs, and a restart would not know of it.
    #[error("it runs, but {file} could not be replaced, so a restart or a reload goes back: {source}")]
    NotKept {
        /// The path of the file.
        file: String,
        /// What was said.
        #[source]
        source: io::Error,
    },
}

impl Owner<'_> {
    /// What the configuration `text` would change, whose lists are beside `path`, or beside the file of the running one.
    pub(super) async fn plan(&mut self, text: &str, path: Option<&Path>) -> Result<Preview, CandidateError> {
        let path = path.unwrap_or(self.truth.path());
        let (config, warnings) = Config::read(path, text)?;
        let (config, ..) = self.layers.over(path, config, Document::of(Arc::new(text.to_owned())))?;
        Ok(self.preview(&config, &warnings).await)
    }

    pub(super) async fn preview(&mut self, config: &Config, warnings: &[Warning]) -> Preview {
        let mut preview = self.truth.preview(config);
        let found = Attachments::find(config, &self.netlink, self.pins).await;
        let places = found.and_then(|found| found.features(config, &config.services)).map(drop);
        for problem in [places, next_program(config).map(drop)] {
            preview.refused.extend(problem.err().map(|error| with_causes(error.as_ref())));
        }
        preview.warnings = warnings.iter().map(Warning::unnamed).collect();
        preview.concluded(self.truth.fingerprint())
    }

    /// Makes the configuration `text` the running one and what the file holds: all of it, or nothing. If `digest` is given,
    /// only if that is still the digest of its plan.
    pub(super) async fn apply(
        &mut self,
        text: &str,
        digest: Option<&str>,
        attachments: &mut Attachments,
    ) -> Result<Outcome, CandidateError> {
        let (config, warnings) = Config::read(self.truth.path(), text)?;
        let file = Document::of(Arc::new(text.to_owned()));
        let (config, said, overruled) = self.layers.over(self.truth.path(), config, file)?;
        let plan = self.preview(&config, &warnings).await;
        if let Some(shown) = digest.filter(|digest| *digest != plan.digest) {
            return Err(CandidateError::Stale { shown: shown.to_owned(), is: plan.digest });
        }
        if !plan.refused.is_empty() {
            return Err(CandidateError::Refused(plan.refused.join("; ")));
        }
        let shown = self.truth.path().display().to_string();
        let draft = Draft::write(self.truth.path(), text)
            .map_err(|source| CandidateError::File { file: shown.clone(), source })?;
        let refused = |error: anyhow::Error| CandidateError::Refused(with_causes(error.as_ref()));
        let api = self.api.prepare(&config.balancer).map_err(|error| refused(error.into()))?;
        self.try_adopt(config, attachments).await.map_err(refused)?;
        self.api.adopt(api);
        self.layers.adopt_or_log(said, &overruled, &self.truth.meters().leases);
        self.inputs.update(&self.truth);
        let file = draft.file().display().to_string();
        let before = draft.commit().map_err(|source| CandidateError::NotKept { file: shown, source })?;
        info!(plan = plan.digest, file, services = plan.services.len(), "configuration applied by command");
        let tables = self.truth.tables_of(plan.services.iter().map(|service| service.service.as_str()));
        Ok(Outcome { plan, file, before: Some(before.display().to_string()), tables })
    }
}

impl super::Truth {
    /// The tables of services, as far as they have any.
    fn tables_of<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Table> {
        let table = |name: &str| {
            let applied = self.applied_of(name)?;
            let (generation, digest) = (applied.entry.generation, format!("{:016x}", applied.entry.digest));
            Some(Table { service: name.to_owned(), generation, digest })
        };
        names.filter_map(table).collect()
    }
}
