//! `sluice completions` and `sluice man`: what shells and `man` are to know of this command line, from its own description.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, daemon::print};

/// Arguments of `sluice completions`.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `sluice man`.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Directory that the pages are written to, such as /usr/local/share/man/man1
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,
}

/// Runs `sluice completions`.
pub(super) fn completions(args: &CompletionsArgs) -> Result<()> {
    print(&script(args.shell))
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sluice", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Runs `sluice man`.
pub(super) fn man(args: &ManArgs) -> Result<()> {
    let out = &args.out;
    let written = || format!("cannot write to {}; give a directory that can be written", out.display());
    fs::create_dir_all(out).with_context(written)?;
    clap_mangen::generate_to(Cli::command(), out).with_context(written)?;
    print(&format!("written to {}", out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subcommands() -> Vec<String> {
        let command = Cli::command();
        command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect()
    }

    #[test]
    fn every_shell_knows_every_subcommand() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for name in subcommands() {
                assert!(script.contains(&name), "{shell} does not know {name}");
            }
        }
    }

    #[test]
    fn every_subcommand_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        man(&ManArgs { out: directory.path().to_owned() }).unwrap();
        for name in subcommands() {
            let page = fs::read_to_string(directory.path().join(format!("sluice-{name}.1")));
            let page = page.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
        }
    }
}
