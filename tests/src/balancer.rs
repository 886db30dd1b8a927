//! The program under test: the `sluice` binary, as daemon on the balancer and as `sluice backend` on the backends.

use std::{
    env,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    bpf::Pins,
    netns::Netns,
    process::{Process, shell_line, wait_until},
    status::Status,
    temporary,
    topology::Host,
};

/// How long the daemon may take until all backends are up.
pub const READY_DEADLINE: Duration = Duration::from_secs(15);

/// How long the daemon may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// The binary: `SLUICE_BIN`, or what the same profile of the same target directory holds.
///
/// # Errors
///
/// It has not been built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("SLUICE_BIN") {
        return Ok(path.into());
    }
    // A test binary lies in `deps` below its profile's directory.
    let path = env::current_exe()?.parent().and_then(Path::parent).unwrap_or(Path::new("/")).join("sluice");
    if !path.exists() {
        bail!("{} does not exist; run `cargo build -p lb-userspace` first", path.display());
    }
    Ok(path)
}

/// A running `sluice run`.
#[derive(Debug)]
pub struct Daemon<'host> {
    /// Its process.
    pub process: Process,
    binary: PathBuf,
    socket: PathBuf,
    netns: &'host Netns,
}

impl<'host> Daemon<'host> {
    /// Starts `binary` on `host` with the configuration file `config`, whose admin socket is `socket`.
    ///
    /// # Errors
    ///
    /// It cannot be started. Whether it stays up is for [`Daemon::wait_ready`].
    pub fn start(
        host: &'host Host,
        binary: &Path,
        config: &Path,
        socket: &Path,
        options: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(config).args(options);
        let process = Process::spawn(&host.netns, "sluice run", &mut command)?;
        Ok(Self { process, binary: binary.to_owned(), socket: socket.to_owned(), netns: &host.netns })
    }

    /// Asks it for its status.
    ///
    /// # Errors
    ///
    /// It does not answer (yet), or not as expected.
    pub fn status(&self) -> Result<Status> {
        let mut command = Command::new(&self.binary);
        command.args(["status", "--output", "json", "--socket"]).arg(&self.socket);
        let text = self.netns.output(&mut command)?;
        serde_json::from_str(&text).context("cannot read the status")
    }

    /// Waits until its status meets `condition`, and gives it.
    ///
    /// # Errors
    ///
    /// It does not after [`READY_DEADLINE`], or the daemon has ended; the error holds its log.
    pub fn wait_for(&mut self, what: &str, condition: impl Fn(&Status) -> bool) -> Result<Status> {
        let mut last = None;
        let met = || {
            last = self.status().ok();
            !self.process.is_running() || last.as_ref().is_some_and(&condition)
        };
        let waited = wait_until(READY_DEADLINE, what, met);
        self.process.check()?;
        waited.with_context(|| {
            format!("last status: {last:#?}\nsluice run printed:\n{}", self.process.log())
        })?;
        last.context("there is no status")
    }

    /// Waits until every backend is up and in its table.
    ///
    /// # Errors
    ///
    /// See [`Daemon::wait_for`].
    pub fn wait_ready(&mut self) -> Result<Status> {
        self.wait_for("all backends to be up", Status::is_ready)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    ///
    /// It does not end, or not with success.
    pub fn terminate(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait(STOP_DEADLINE)?;
        if !status.success() {
            bail!("sluice run ended with {status}; it printed:\n{}", self.process.log());
        }
        Ok(())
    }
}

impl Drop for Daemon<'_> {
    /// Lets it detach and remove its pins; what does not end is killed by the guard of the process.
    fn drop(&mut self) {
        if self.process.is_running() {
            let _ = self.process.signal(Signal::TERM);
            let _ = self.process.wait(STOP_DEADLINE);
        }
    }
}

/// A host that `sluice backend up` has set up. Dropping it removes what is outside the namespace.
#[derive(Debug)]
pub struct Prepared<'host> {
    /// Pins of the decapsulator.
    pub pins: Pins,
    binary: PathBuf,
    netns: &'host Netns,
    directory: TempDir,
}

impl<'host> Prepared<'host> {
    /// Sets `host` up for `vips`. `options` go to `sluice backend up`, such as `--no-decap`.
    ///
    /// # Errors
    ///
    /// The command fails.
    pub fn up(host: &'host Host, binary: &Path, vips: &[IpAddr], options: &[&str]) -> Result<Self> {
        let prepared = Self {
            pins: Pins::unique(&host.name)?,
            binary: binary.to_owned(),
            netns: &host.netns,
            directory: temporary::directory("backend")?,
        };
        prepared.again(vips, options)?;
        Ok(prepared)
    }

    /// Runs `sluice backend up` once more.
    ///
    /// # Errors
    ///
    /// The command fails.
    pub fn again(&self, vips: &[IpAddr], options: &[&str]) -> Result<()> {
        let vips = vips.iter().flat_map(|vip| ["--vip".to_owned(), vip.to_string()]);
        let mut command = self.command("up");
        command.args(["--interface", "eth0"]).args(vips).args(options);
        self.netns.output(&mut command).map(drop)
    }

    /// Runs `sluice backend down`.
    ///
    /// # Errors
    ///
    /// The command fails.
    pub fn down(&self) -> Result<()> {
        self.netns.output(&mut self.command("down")).map(drop)
    }

    /// Runs `sluice backend show`, which fails where the set-up does not hold any more.
    ///
    /// # Errors
    ///
    /// The command fails.
    pub fn show(&self) -> Result<String> {
        self.netns.output(&mut self.command("show"))
    }

    /// The shell command that runs `sluice backend ACTION` for this host, for the inside of its namespace.
    #[must_use]
    pub fn command_line(&self, action: &str) -> String {
        shell_line(&self.command(action))
    }

    /// Where the state file lies.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.directory.path().join("backend.json")
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(["backend", action, "--pin-path"]).arg(self.pins.path());
        command.arg("--state").arg(self.state_path());
        command
    }
}
