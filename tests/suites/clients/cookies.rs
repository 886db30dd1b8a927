//! Connections that SYN cookies open while a flood goes on: Linux at either end believes in the numbers that it gets.

use std::{
    fmt::Write as _,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use lb_tests::{
    netns::Netns,
    packet::Packet,
    topology::{Depth, Host, Routed},
};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

use crate::{
    content::content,
    curl::{download, upload},
    mode::{Case, Mode},
    scene::Scene,
};

const SIZE: usize = 10 << 20;

/// SYNs in a second from which on a service answers with cookies. As many again pass in a burst.
const ABOVE: usize = 20;

/// SYNs of the flood that are answered before anything else happens, and again before it is looked at who has got some.
const MANY: u64 = 500;

#[test]
fn flood_of_syns_reaches_no_backend_and_real_clients_do() {
    let network = Routed::new(Depth::Near, 2).unwrap();
    let cases: Vec<_> = Case::of(&[Mode::Nat]).collect();
    let service = |case: &Case| {
        let mut service = case.service(80, &network.backends);
        write!(service.settings, "\nguard = {{ syn_cookies = {{ above = {ABOVE} }} }}").unwrap();
        service
    };
    let mut scene = Scene::start(&network, cases.iter().map(service).collect());
    let content = content(SIZE);
    scene.servers.iter().for_each(|server| fs::write(server.stored("file"), &content).unwrap());

    let flood = Flood::start(&network.client.netns, cases.iter().map(|case| case.at(80)).collect());
    let packets = |scene: &Scene<'_>, case: &Case| {
        scene.daemon.status().unwrap().service(&case.service_name(80)).unwrap().packets
    };
    scene.daemon.wait_for("many cookies", |status| status.reason("cookie") > MANY).unwrap();
    let before: Vec<_> = cases.iter().map(|case| packets(&scene, case)).collect();
    let sent = scene.daemon.status().unwrap().reason("cookie");
    scene.daemon.wait_for("more of them", |status| status.reason("cookie") > sent + MANY).unwrap();
    let after: Vec<_> = cases.iter().map(|case| packets(&scene, case)).collect();
    assert_eq!(before, after, "no packet of the flood is forwarded");

    let client = &network.client.netns;
    for case in &cases {
        let url = format!("http://{}/store", case.at(80));
        assert!(download(client, &format!("{url}/file")).unwrap() == content, "{case:?}: other bytes");
        let name = format!("{case:?}");
        upload(client, &content[..SIZE / 10], &format!("{url}/up")).unwrap();
        let stored = scene.servers.iter().filter_map(|server| fs::read(server.stored("up")).ok());
        assert!(stored.into_iter().any(|bytes| bytes == content[..SIZE / 10]), "{name}: other bytes");
        scene.servers.iter().for_each(|server| drop(fs::remove_file(server.stored("up"))));
    }
    let status = scene.daemon.status().unwrap();
    assert!(status.reason("acknowledged") >= 2 * cases.len() as u64, "each by a cookie: {status:?}");
    assert!(status.reason("cookie") > sent + MANY, "while the flood went on");
    let waiting = |host: &Host| {
        let half_open = host.netns.output(Command::new("ss").args(["-Htn", "state", "syn-recv"])).unwrap();
        half_open.lines().count()
    };
    let waiting: usize = network.backends.iter().map(waiting).sum();
    assert!(waiting <= 2 * ABOVE * cases.len(), "backends wait for {waiting} made-up clients");
    drop(flood);
}

/// SYNs from made-up sources, a few thousand a second, until it is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<io::Result<()>>>>,
}

impl Flood {
    fn start(netns: &Netns, targets: Vec<SocketAddr>) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = netns.spawn_thread("flood", move || flood(&targets, &stopped)).unwrap();
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Ok(Err(error) | Ok(Err(error)))) = ended {
            eprintln!("the flood failed: {error}");
        }
    }
}

fn flood(targets: &[SocketAddr], stop: &AtomicBool) -> io::Result<()> {
    // The packets bring their own IP headers (raw(7)).
    let raw = |family| socket(family, SocketType::RAW, Some(ipproto::RAW));
    let (v4, v6) = (raw(AddressFamily::INET)?, raw(AddressFamily::INET6)?);
    for n in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        for target in targets {
            let packet = syn(n, *target);
            let socket = if target.is_ipv4() { &v4 } else { &v6 };
            // A raw socket has no port.
            let to = SocketAddr::new(target.ip(), 0);
            // What the queue has no room for is no loss.
            let _ = sendto(socket, &packet.ip(), SendFlags::empty(), &to);
        }
        if n % 4 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(())
}

/// One of those, each from another source and port.
fn syn(n: u32, to: SocketAddr) -> Packet {
    let source: IpAddr = if to.is_ipv4() {
        Ipv4Addr::from_bits(u32::from_be_bytes([198, 18, 0, 1]) + n % 65_000).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0xf1, 0, 0, 0, (n >> 16) as u16, n as u16 | 1).into()
    };
    Packet {
        source,
        source_port: 1_024 + (n % 60_000) as u16,
        destination: to.ip(),
        destination_port: to.port(),
        sequence: n.wrapping_mul(0x9e37_79b9),
        tcp_options: vec![2, 4, 5, 180],
        payload: Vec::new(),
        ..Packet::default()
    }
}
