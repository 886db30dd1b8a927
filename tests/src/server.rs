//! Real servers: nginx that answers with its backend's name, and iperf3.

use std::{fs, net::TcpStream, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    process::{Process, shell_line, wait_until},
    temporary,
    topology::Host,
};

/// Ports that [`Nginx`] listens at, over both families.
pub const HTTP_PORTS: [u16; 2] = [80, 8080];

/// How long a server may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// An nginx that answers every request with `My id is NAME`, and closes the connection after each, so that every
/// request is a flow of its own.
#[derive(Debug)]
pub struct Nginx {
    /// The one process: no master, no workers, so killing it is killing the server.
    pub process: Process,
    directory: TempDir,
}

impl Nginx {
    /// Starts it on `host` and waits until it listens.
    ///
    /// # Errors
    ///
    /// nginx is missing or does not come up.
    pub fn start(host: &Host) -> Result<Self> {
        let directory = temporary::directory("nginx")?;
        let name = &host.name;
        fs::write(config_path(&directory), configuration(name))?;
        let mut process = Process::spawn(&host.netns, &format!("nginx on {name}"), &mut command(&directory))?;
        listening(host, HTTP_PORTS[0], &mut process)?;
        Ok(Self { process, directory })
    }

    /// The shell command that starts it again after it was killed, for the inside of its namespace.
    #[must_use]
    pub fn command_line(&self) -> String {
        shell_line(&command(&self.directory))
    }
}

fn command(directory: &TempDir) -> Command {
    let mut command = Command::new("nginx");
    // The log of errors before the configuration is read would otherwise go to /var/log.
    command.args(["-e", "stderr", "-p"]).arg(directory.path()).arg("-c").arg(config_path(directory));
    command
}

fn config_path(directory: &TempDir) -> PathBuf {
    directory.path().join("nginx.conf")
}

fn configuration(name: &str) -> String {
    let listen = HTTP_PORTS.map(|port| format!("listen {port}; listen [::]:{port} ipv6only=on;")).concat();
    format!(
        "daemon off;\n\
         master_process off;\n\
         pid nginx.pid;\n\
         error_log stderr warn;\n\
         events {{}}\n\
         http {{\n\
         \x20   access_log off;\n\
         \x20   keepalive_timeout 0;\n\
         \x20   client_body_temp_path body;\n\
         \x20   proxy_temp_path proxy;\n\
         \x20   fastcgi_temp_path fastcgi;\n\
         \x20   uwsgi_temp_path uwsgi;\n\
         \x20   scgi_temp_path scgi;\n\
         \x20   server {{ {listen} return 200 \"My id is {name}\\n\"; }}\n\
         }}\n"
    )
}

/// An iperf3 server.
#[derive(Debug)]
pub struct Iperf {
    /// Its process.
    pub process: Process,
}

impl Iperf {
    /// Starts it on `host`, at `port` of both families, and waits until it listens.
    ///
    /// # Errors
    ///
    /// iperf3 is missing or does not come up.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let mut command = Command::new("iperf3");
        command.args(["--server", "--forceflush", "--port", &port.to_string()]);
        let name = format!("iperf3 on {}", host.name);
        let mut process = Process::spawn(&host.netns, &name, &mut command)?;
        // A connection would be a client to it, so its own word is taken.
        let said = || process.log().contains("Server listening");
        wait_until(START_DEADLINE, &name, said).with_context(|| process.log())?;
        process.check()?;
        Ok(Self { process })
    }
}

fn listening(host: &Host, port: u16, process: &mut Process) -> Result<()> {
    let answers = || host.netns.run(|| TcpStream::connect((host.v4, port)).is_ok()).unwrap_or(false);
    let what = format!("port {port} of {}", host.name);
    wait_until(START_DEADLINE, &what, || !process.is_running() || answers())?;
    process.check()
}
