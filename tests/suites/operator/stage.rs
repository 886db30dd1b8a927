//! What screens are to show: a balancer with services that real clients use all the time.

use std::{
    fs::{self, Permissions},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use lb_tests::{
    balancer::{Daemon, Prepared, binary},
    bpf::Pins,
    config::{Config, Service},
    process::output,
    server::Nginx,
    status::Backend,
    temporary,
    topology::{Host, Lan, VIP4, VIP6},
};
use tempfile::TempDir;

/// Where the daemon listens over TCP, in the balancer's namespace.
pub(crate) const ADDRESS: &str = "127.0.0.1:9901";

/// The token of somebody who may read.
pub(crate) const READER: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// The token of somebody who may change something.
pub(crate) const OPERATOR: &str = "f0e1d2c3b4a5968778695a4b3c2d1e0f";

/// Fields are dropped in order.
///
/// | service | backends |
/// | --- | --- |
/// | `web` | b1 to b4; b4 has twice the weight |
/// | `web-spare` | b3 alone |
/// | `web-v6` | b1, b2 |
pub(crate) struct Stage<'net> {
    _traffic: Vec<Traffic>,
    pub(crate) daemon: Daemon<'net>,
    pub(crate) lan: &'net Lan,
    servers: Vec<Nginx>,
    config: Config,
    _prepared: Vec<Prepared<'net>>,
    _pins: Pins,
    files: TempDir,
}

impl<'net> Stage<'net> {
    /// Sets it up, and waits until clients are served.
    pub(crate) fn set(lan: &'net Lan) -> Self {
        let binary = binary().unwrap();
        let prepare = |host| Prepared::up(host, &binary, &[VIP4, VIP6], &[]).unwrap();
        let prepared = lan.backends.iter().map(prepare).collect();
        let servers = lan.backends.iter().map(|host| Nginx::start(host).unwrap()).collect();
        let (pins, files) = (Pins::unique("screens").unwrap(), temporary::directory("screens").unwrap());
        let config = Config {
            interfaces: vec!["eth0".to_owned()],
            socket: files.path().join("sluice.sock"),
            pin_path: pins.path().to_owned(),
            balancer: api(&files),
            peers: Vec::new(),
            services: services(&lan.backends),
        };
        let path = files.path().join("sluice.toml");
        fs::write(&path, config.to_string()).unwrap();
        let mut daemon = Daemon::start(&lan.balancer, &binary, &path, &config.socket, &["--detach"]).unwrap();
        daemon.wait_ready().unwrap();
        let traffic = traffic(lan);
        Self { _traffic: traffic, daemon, lan, servers, config, _prepared: prepared, _pins: pins, files }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.config.socket.clone()
    }

    /// Stops a backend's server, and waits until the daemon knows.
    pub(crate) fn stop(&mut self, number: usize) {
        self.servers[number - 1].process.signal(rustix::process::Signal::KILL).unwrap();
        let name = format!("b{number}");
        let down = |status: &lb_tests::status::Status| {
            status.service("web").is_some_and(|web| web.backend(&name).is_some_and(|b| b.health == "down"))
        };
        self.daemon.wait_for("the backend to be down", down).unwrap();
    }

    /// Ends the daemon and starts another one; between the two, `meanwhile`.
    pub(crate) fn restart(&mut self, meanwhile: impl FnOnce()) {
        self.daemon.terminate().unwrap();
        meanwhile();
        let (binary, path) = (binary().unwrap(), self.files.path().join("sluice.toml"));
        self.daemon =
            Daemon::start(&self.lan.balancer, &binary, &path, &self.config.socket, &["--detach"]).unwrap();
    }

    /// The admin state of a backend of `web`.
    pub(crate) fn admin(&self, backend: &str) -> String {
        self.backend(backend).admin
    }

    /// The weight of a backend of `web`.
    pub(crate) fn weight(&self, backend: &str) -> u32 {
        self.backend(backend).weight
    }

    fn backend(&self, name: &str) -> Backend {
        let status = self.daemon.status().unwrap();
        status.service("web").unwrap().backend(name).unwrap().clone()
    }
}

const WEB: SocketAddr = SocketAddr::new(VIP4, 80);
const V6: SocketAddr = SocketAddr::new(VIP6, 8080);
const SPARE: SocketAddr = SocketAddr::new(VIP4, 8080);

fn services(backends: &[Host]) -> Vec<Service> {
    let mut web = Service::new("web", WEB).with("ipip", backends);
    web.backends[3].weight = 2;
    let spare = Service::new("web-spare", SPARE).with("ipip", &backends[2..3]);
    vec![web, spare, Service::new("web-v6", V6).with("ipip", &backends[..2])]
}

/// The table of the API, whose tokens are in a file beside it.
fn api(files: &TempDir) -> String {
    let path = files.path().join("tokens");
    let line = |(name, role, token): (&str, &str, &str)| {
        let mut hash = Command::new("sh");
        let hash = output(hash.arg("-c").arg(format!("printf %s {token} | sha256sum"))).unwrap();
        format!("{name} {role} {}\n", hash.split(' ').next().unwrap())
    };
    let lines = [("reader", "read-only", READER), ("operator", "operator", OPERATOR)].map(line);
    fs::write(&path, lines.concat()).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    format!("\n[balancer.api]\nlisten = \"{ADDRESS}\"\ntokens = \"{}\"\n", path.display())
}

/// A client that goes on until it is dropped.
struct Traffic {
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<std::io::Result<()>>>,
}

impl Traffic {
    fn start(lan: &Lan, request: impl Fn() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let go_on = move || {
            while !stopped.load(Ordering::Relaxed) {
                request();
            }
        };
        Self { stop, worker: Some(lan.client.netns.spawn_thread("traffic", go_on).unwrap()) }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            // It ends with what the test panics about, or well.
            let _ = worker.join();
        }
    }
}

/// Whatever becomes of these requests: they are there to be counted.
fn traffic(lan: &Lan) -> Vec<Traffic> {
    let connect = |address: SocketAddr, pause: Duration| {
        move || {
            let _ = TcpStream::connect_timeout(&address, Duration::from_millis(200)).map(ask);
            std::thread::sleep(pause);
        }
    };
    vec![
        Traffic::start(lan, connect(WEB, Duration::from_millis(4))),
        Traffic::start(lan, connect(WEB, Duration::from_millis(9))),
        Traffic::start(lan, connect(V6, Duration::from_millis(15))),
        Traffic::start(lan, connect(SPARE, Duration::from_millis(30))),
    ]
}

/// One request, and its answer.
fn ask(mut stream: TcpStream) {
    use std::io::{Read as _, Write as _};
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let _ = stream.read_to_end(&mut Vec::new());
}
