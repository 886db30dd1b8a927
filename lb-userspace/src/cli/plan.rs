//! `sluice plan`, `diff` and `apply`: what a file would change, and that it becomes the running configuration.

mod shown;

use std::{
    fs,
    io::{IsTerminal as _, Write as _, stderr, stdin},
    path::{Path, PathBuf, absolute},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, sleep};

use super::daemon::{DaemonArgs, Output, print, print_json};
use crate::{
    admin::{
        Endpoint, client,
        plan::{Outcome, Preview, Table},
        status::Status,
    },
    config::KeyChange,
};

/// What `plan` and `diff` end with where something would change: errors have 1.
const CHANGES: u8 = 2;

/// How long new backends may take to be reached, until their tables are what was promised.
const SETTLES: Duration = Duration::from_secs(10);

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Arguments of `sluice plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if nothing would change, 2 if something would, 1 on errors, \
                        also where the file could not become the running configuration.")]
pub(super) struct PlanArgs {
    /// The configuration
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Arguments of `sluice diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if there is no difference, 2 if there is one, 1 on errors.")]
pub(super) struct DiffArgs {
    /// The configuration; the daemon's own file where it is not said
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Arguments of `sluice apply`.
#[derive(Debug, clap::Args)]
pub(super) struct ApplyArgs {
    /// The configuration. It takes the place of the daemon's file, beside which its lists are looked for
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only if its plan is this one: the `digest` that `sluice plan` has told
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Runs `sluice plan`.
pub(super) fn plan(args: &PlanArgs) -> Result<ExitCode> {
    let preview = super::runtime()?.block_on(ask(&args.daemon.endpoint, &args.file, Some(&args.file)))?;
    match args.daemon.output {
        Output::Json => print_json(&preview)?,
        Output::Table => print(&shown::plan(&preview, shown::is_coloured()))?,
    }
    if !preview.refused.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(exit_code(preview.changes))
}

/// Runs `sluice diff`.
pub(super) fn diff(args: &DiffArgs) -> Result<ExitCode> {
    let preview = super::runtime()?.block_on(async {
        let file = if let Some(file) = &args.file {
            file.clone()
        } else {
            let status: Status = client::get(&args.daemon.endpoint, "/v1/status").await?;
            PathBuf::from(status.config)
        };
        ask(&args.daemon.endpoint, &file, Some(&file)).await
    })?;
    let changes = differences(&preview);
    match args.daemon.output {
        Output::Json => print_json(&changes)?,
        Output::Table if changes.is_empty() => print("no difference")?,
        Output::Table => print(&shown::changes(&changes, shown::is_coloured()))?,
    }
    Ok(exit_code(!changes.is_empty()))
}

fn exit_code(changes: bool) -> ExitCode {
    if changes { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS }
}

/// Every key that differs, by its whole path.
fn differences(preview: &Preview) -> Vec<KeyChange> {
    let below = |prefix: String, changes: &[KeyChange]| -> Vec<KeyChange> {
        let whole =
            |change: &KeyChange| KeyChange { key: format!("{prefix}.{}", change.key), ..change.clone() };
        changes.iter().map(whole).collect()
    };
    let mut all = preview.settings.clone();
    for service in &preview.services {
        let name = format!("service.{}", service.service);
        all.extend(below(name.clone(), &service.settings));
        for backend in &service.backends {
            all.extend(below(format!("{name}.backend.{}", backend.backend), &backend.settings));
        }
    }
    all
}

/// Runs `sluice apply`.
pub(super) fn apply(args: &ApplyArgs) -> Result<ExitCode> {
    super::runtime()?.block_on(show_and_apply(args))
}

async fn show_and_apply(args: &ApplyArgs) -> Result<ExitCode> {
    let endpoint = &args.daemon.endpoint;
    // As it will be: with the lists beside the daemon's file.
    let preview = ask(endpoint, &args.file, None).await?;
    let is_table = args.daemon.output == Output::Table;
    if is_table {
        print(&shown::plan(&preview, shown::is_coloured()))?;
    }
    if !preview.refused.is_empty() {
        bail!("it cannot become the running configuration: {}", preview.refused.join("; "));
    }
    if !preview.changes && args.digest.is_none() {
        if !is_table {
            print_json(&preview)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes && args.digest.is_none() && !agrees()? {
        bail!("not applied");
    }
    let digest = args.digest.as_ref().unwrap_or(&preview.digest);
    let path = format!("/v1/apply?digest={}", encoded(digest));
    let outcome: Outcome = client::post_text(endpoint, &path, read(&args.file)?).await?;
    let tables = settled(endpoint, &outcome).await?;
    let outcome = Outcome { tables, ..outcome };
    match args.daemon.output {
        Output::Json => print_json(&outcome)?,
        Output::Table => print(&shown::outcome(&outcome))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until new backends are reached, so that the tables are what was promised; gives them as they are then.
async fn settled(endpoint: &Endpoint, outcome: &Outcome) -> Result<Vec<Table>> {
    let until = Instant::now() + SETTLES;
    loop {
        let status: Status = client::get(endpoint, "/v1/status").await?;
        let table = |service: &crate::admin::status::Service| Table {
            service: service.name.clone(),
            generation: service.generation,
            digest: service.digest.clone(),
        };
        let changed = |service: &&crate::admin::status::Service| {
            outcome.plan.services.iter().any(|change| change.service == service.name)
        };
        let tables: Vec<Table> = status.services.iter().filter(changed).map(table).collect();
        if outcome.plan.services.iter().all(|change| shown::is_promised(change, &tables))
            || Instant::now() > until
        {
            return Ok(tables);
        }
        sleep(LOOK).await;
    }
}

/// Asks what `file` would change, with the lists beside `path`.
async fn ask(endpoint: &Endpoint, file: &Path, path: Option<&Path>) -> Result<Preview> {
    let query = match path {
        Some(path) => {
            let path = absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
            format!("?path={}", encoded(&path.to_string_lossy()))
        }
        None => String::new(),
    };
    client::post_text(endpoint, &format!("/v1/plan{query}"), read(file)?).await
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file)
        .with_context(|| format!("cannot read {}; give the path of a TOML file", file.display()))
}

/// As a query has it (RFC 3986 section 2.1).
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            (byte as char).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn agrees() -> Result<bool> {
    if !stdin().is_terminal() {
        bail!(
            "nobody can be asked, since standard input is no terminal: say --yes, or --digest with the plan that is meant"
        );
    }
    write!(stderr(), "\nApply this? Only `yes` does: ").context("cannot ask")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_in_a_query_has_no_character_that_means_something_there() {
        assert_eq!(encoded("/etc/sluice/my file&x=ä.toml"), "/etc/sluice/my%20file%26x%3D%C3%A4.toml");
    }
}
