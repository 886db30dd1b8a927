//! Files by curl.

use std::{fs, process::Command};

use anyhow::Result;
use lb_tests::{netns::Netns, temporary};

/// Far more than a transfer takes; less than one that waits for retransmissions again and again.
const DEADLINE: &str = "60";

/// Sends `content` from `client` to `url`.
pub(crate) fn upload(client: &Netns, content: &[u8], url: &str) -> Result<()> {
    let file = temporary::file("upload")?;
    fs::write(file.path(), content)?;
    client.output(curl().arg("--upload-file").arg(file.path()).arg(url)).map(drop)
}

/// Gets what is at `url`.
pub(crate) fn download(client: &Netns, url: &str) -> Result<Vec<u8>> {
    let file = temporary::file("download")?;
    client.output(curl().arg("--output").arg(file.path()).arg(url))?;
    Ok(fs::read(file.path())?)
}

fn curl() -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--disable", "--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", DEADLINE]);
    curl
}
