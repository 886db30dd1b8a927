//! Backends whose probes pass, and whose clients hear nothing, or a refusal.

use std::{
    collections::VecDeque,
    fs,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lb_tests::{
    balancer::{Prepared, binary},
    server::Nginx,
    topology::{Host, Lan, VIP4, VIP6},
};

use crate::{
    clinic::{Clinic, Patient, lan},
    witness::open,
};

/// How long a client tries to connect: long enough to send its SYN again.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often one begins.
const PACE: Duration = Duration::from_millis(10);

/// Where the probes of everybody here go.
const PROBE: &str = "type = \"tcp\"\nport = 80";
const KEYS: &str = "passive = { connections = 20, window = \"5s\", hold = \"3s\" }";

#[test]
fn backend_whose_clients_try_again_is_taken_for_down_for_a_while() {
    let lan = lan(3);
    let binary = binary().unwrap();
    let prepare = |host| Prepared::up(host, &binary, &[VIP4], &["--no-decap"]).unwrap();
    let _prepared: Vec<_> = lan.backends.iter().map(prepare).collect();
    let _servers = servers(&lan);
    let mut clinic = Clinic::open(&lan, &[Patient { keys: KEYS, ..Patient::tcp("web", PROBE) }]);
    let _clients = Clients::start(&lan.client, &[VIP4]);

    let b1 = &lan.backends[0].netns;
    b1.ip(&format!("address del {VIP4}/32 dev lo")).unwrap();
    assert_taken_down(&mut clinic, "web", "opened again");
    b1.ip(&format!("address add {VIP4}/32 dev lo")).unwrap();
    assert_given_back(&mut clinic, "web");
}

#[test]
fn backend_that_refuses_translated_connections_is_taken_for_down_for_a_while() {
    let lan = lan(3);
    let _servers = servers(&lan);
    let mut doors: Vec<_> = lan.backends.iter().map(Door::open).collect();
    let patient =
        Patient { keys: KEYS, forwarding: "nat", backend_keys: "port = 9000", ..Patient::tcp("web", PROBE) };
    let mut clinic = Clinic::open(&lan, &[patient]);
    let _clients = Clients::start(&lan.client, &[VIP4]);

    doors.remove(0).close();
    assert_taken_down(&mut clinic, "web", "refused");
    doors.insert(0, Door::open(&lan.backends[0]));
    assert_given_back(&mut clinic, "web");
}

#[test]
fn backend_that_takes_no_tunnel_in_is_taken_for_down_for_a_while() {
    let lan = lan(3);
    let binary = binary().unwrap();
    let vips = [VIP4, VIP6];
    let prepared: Vec<_> =
        lan.backends.iter().map(|host| Prepared::up(host, &binary, &vips, &[]).unwrap()).collect();
    let _servers = servers(&lan);
    let b1 = &lan.backends[0].netns;
    // Otherwise a host says so once a second, and clients that try again are counted before it does.
    for limit in ["ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"] {
        b1.set_sysctl(limit, "0").unwrap();
    }
    let patient = |name, vip| Patient { keys: KEYS, vip, forwarding: "ipip", ..Patient::tcp(name, PROBE) };
    let mut clinic = Clinic::open(&lan, &[patient("v4", VIP4), patient("v6", VIP6)]);
    let _clients = Clients::start(&lan.client, &vips);

    // What holds the decapsulator is its pin.
    fs::remove_file(prepared[0].pins.path().join("link")).unwrap();
    for service in ["v4", "v6"] {
        assert_taken_down(&mut clinic, service, "unreachable");
    }
    prepared[0].again(&vips, &[]).unwrap();
    for service in ["v4", "v6"] {
        assert_given_back(&mut clinic, service);
    }
}

fn servers(lan: &Lan) -> Vec<Nginx> {
    lan.backends.iter().map(|host| Nginx::start(host).unwrap()).collect()
}

/// Waits until `b1` is down since its connections have met this.
#[track_caller]
fn assert_taken_down(clinic: &mut Clinic<'_>, service: &str, fate: &str) {
    let down =
        clinic.wait(service, "down by what its clients meet", |b1| b1.health == "down" && b1.share == 0.0);
    let reason = down.reason;
    assert!(reason.starts_with("passive: "), "{reason}");
    assert!(reason.contains(" connections within 5s ") && reason.contains(fate), "{reason}");
    println!("{service}: {reason}");
}

/// Waits until the probes of `b1` speak for it again; those of the others have all the time.
#[track_caller]
fn assert_given_back(clinic: &mut Clinic<'_>, service: &str) {
    let up = clinic.wait(service, "judged by its probes again", |b1| b1.health == "up" && b1.share > 0.0);
    assert_eq!(up.reason, "probe passed");
    let status = clinic.daemon.status().unwrap();
    let others =
        ["b2", "b3"].map(|name| status.service(service).unwrap().backend(name).unwrap().health.clone());
    assert_eq!(others, ["up", "up"]);
}

/// Clients of services at ports 2000 and following, until they are dropped.
struct Clients {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Clients {
    fn start(host: &Host, vips: &[IpAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let targets: Vec<_> =
            vips.iter().zip(2000..).map(|(&vip, port)| SocketAddr::new(vip, port)).collect();
        let stopped = Arc::clone(&stop);
        let thread = host.netns.spawn_thread("clients", move || connect(&targets, &stopped)).unwrap();
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Begins connections, each of which is given up after a while, until it is stopped.
fn connect(targets: &[SocketAddr], stopped: &AtomicBool) {
    let mut trying: VecDeque<(Instant, OwnedFd)> = VecDeque::new();
    while !stopped.load(Ordering::Relaxed) {
        trying.extend(targets.iter().filter_map(|&target| Some((Instant::now(), open(target)?))));
        while trying.front().is_some_and(|(since, _)| since.elapsed() > PATIENCE) {
            trying.pop_front();
        }
        thread::sleep(PACE);
    }
}

/// A server that takes connections at port 9000 and says nothing.
struct Door {
    shut: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Door {
    fn open(host: &Host) -> Self {
        let shut = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&shut);
        let listener = host.netns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9000))).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let serve = move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PACE),
                    _ => {}
                }
            }
        };
        Self { shut, thread: host.netns.spawn_thread("door", serve).unwrap() }
    }

    fn close(self) {
        self.shut.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
    }
}
