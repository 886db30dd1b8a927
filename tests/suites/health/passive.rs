//! Backends whose probes pass, and whose clients hear nothing.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lb_tests::{
    balancer::{Prepared, binary},
    server::Nginx,
    topology::VIP4,
};

use crate::{
    clinic::{Clinic, Patient, lan},
    witness::open,
};

/// How long a client tries to connect: long enough to send its SYN again.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often one begins.
const PACE: Duration = Duration::from_millis(10);

#[test]
fn backend_whose_clients_try_again_is_taken_for_down_for_a_while() {
    let lan = lan(3);
    let binary = binary().unwrap();
    let prepare = |host| Prepared::up(host, &binary, &[VIP4], &["--no-decap"]).unwrap();
    let _prepared: Vec<_> = lan.backends.iter().map(prepare).collect();
    let _servers: Vec<_> = lan.backends.iter().map(|host| Nginx::start(host).unwrap()).collect();
    let keys = "passive = { connections = 20, window = \"5s\", hold = \"3s\" }";
    let patient = Patient { keys, ..Patient::tcp("web", "type = \"tcp\"\nport = 80") };
    let mut clinic = Clinic::open(&lan, &[patient]);

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let clients = lan.client.netns.spawn_thread("clients", move || connect(&stopped)).unwrap();

    let b1 = &lan.backends[0].netns;
    b1.ip(&format!("address del {VIP4}/32 dev lo")).unwrap();
    let down = clinic.wait("web", "down by what its clients do", |b1| b1.health == "down" && b1.share == 0.0);
    assert!(down.reason.starts_with("passive: "), "{}", down.reason);
    assert!(down.reason.ends_with(" connections within 5s were opened again"), "{}", down.reason);

    b1.ip(&format!("address add {VIP4}/32 dev lo")).unwrap();
    let up = clinic.wait("web", "judged by its probes again", |b1| b1.health == "up" && b1.share > 0.0);
    assert_eq!(up.reason, "probe passed");
    let status = clinic.daemon.status().unwrap();
    let others =
        ["b2", "b3"].map(|name| status.service("web").unwrap().backend(name).unwrap().health.clone());
    assert_eq!(others, ["up", "up"]);

    stop.store(true, Ordering::Relaxed);
    clients.join().unwrap().unwrap();
}

/// Begins connections, each of which is given up after a while, until it is stopped.
fn connect(stopped: &AtomicBool) {
    let target = SocketAddr::new(VIP4, 2000);
    let mut trying: VecDeque<(Instant, OwnedFd)> = VecDeque::new();
    while !stopped.load(Ordering::Relaxed) {
        trying.extend(open(target).map(|socket| (Instant::now(), socket)));
        while trying.front().is_some_and(|(since, _)| since.elapsed() > PATIENCE) {
            trying.pop_front();
        }
        thread::sleep(PACE);
    }
}
