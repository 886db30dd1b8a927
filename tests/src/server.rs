//! Real servers: nginx that answers with its backend's name and keeps files, and iperf3.

use std::{
    fs,
    net::{IpAddr, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

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
/// request is a flow of its own. Below `/store/` it keeps what is put there.
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
        Self::start_with(host, "")
    }

    /// The same, with a further server in nginx's words. The variable `$id` is the backend's name.
    ///
    /// # Errors
    ///
    /// nginx is missing or does not come up.
    pub fn start_with(host: &Host, server: &str) -> Result<Self> {
        let directory = temporary::directory("nginx")?;
        let name = &host.name;
        fs::write(config_path(&directory), configuration(name, server))?;
        fs::create_dir(directory.path().join("store"))?;
        let mut process = Process::spawn(&host.netns, &format!("nginx on {name}"), &mut command(&directory))?;
        listening(host, HTTP_PORTS[0], &mut process)?;
        Ok(Self { process, directory })
    }

    /// Where the file `/store/NAME` lies.
    #[must_use]
    pub fn stored(&self, name: &str) -> PathBuf {
        self.directory.path().join("store").join(name)
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

fn configuration(name: &str, server: &str) -> String {
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
         \x20   client_max_body_size 0;\n\
         \x20   map $host $id {{ default {name}; }}\n\
         \x20   server {{\n\
         \x20       {listen}\n\
         \x20       location / {{ return 200 \"My id is $id\\n\"; }}\n\
         \x20       location /store/ {{ root .; dav_methods PUT; }}\n\
         \x20   }}\n\
         {server}\n\
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
        Self::start_with(host, port, &[])
    }

    /// The same, at one address. Datagrams to any other would be answered from the address that the host prefers.
    ///
    /// # Errors
    ///
    /// iperf3 is missing or does not come up.
    pub fn start_at(host: &Host, address: IpAddr, port: u16) -> Result<Self> {
        Self::start_with(host, port, &["--bind", &address.to_string()])
    }

    fn start_with(host: &Host, port: u16, options: &[&str]) -> Result<Self> {
        let mut command = Command::new("iperf3");
        command.args(["--server", "--forceflush", "--port", &port.to_string()]).args(options);
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
