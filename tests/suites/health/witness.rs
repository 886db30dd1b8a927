//! New flows of clients all the time, and when the last packet of one was sent to `b1`.

use std::{
    collections::HashMap,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aya::maps::{Array, Map, MapData, PerCpuArray};
use lb_common::{address::Address, service::Service};
use lb_tests::{process::wait_until, topology::Host};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::clinic::DEADLINE;

/// Between two rounds, each of a flow for every service.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a backend that gets every second flow has to be without packets until it counts as left alone.
const SILENCE: Duration = Duration::from_millis(100);

/// Sends and watches until it is dropped.
pub(crate) struct Witness {
    stop: Arc<AtomicBool>,
    /// The last packet of each service.
    last: Arc<Mutex<HashMap<SocketAddr, Instant>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Witness {
    /// Opens flows from `client` with `services`, and counts as the balancer with these pins does.
    pub(crate) fn start(client: &Host, pins: &Path, services: &[SocketAddr]) -> Self {
        let (stop, last) = (Arc::<AtomicBool>::default(), Arc::<Mutex<HashMap<_, _>>>::default());
        let (stopped, targets) = (Arc::clone(&stop), services.to_vec());
        let send = move || {
            while !stopped.load(Ordering::Relaxed) {
                for &target in &targets {
                    drop(open(target));
                }
                thread::sleep(PAUSE);
            }
        };
        let sender = client.netns.spawn_thread("clients", send).unwrap();
        let (stopped, noted, counters) =
            (Arc::clone(&stop), Arc::clone(&last), Counters::open(pins, services));
        let watch = move || {
            let mut before = HashMap::new();
            while !stopped.load(Ordering::Relaxed) {
                for (service, packets) in counters.packets() {
                    if before.insert(service, packets) != Some(packets) {
                        noted.lock().unwrap().insert(service, Instant::now());
                    }
                }
                thread::sleep(PAUSE);
            }
        };
        let sender = thread::spawn(move || sender.join().unwrap().unwrap());
        Self { stop, last, threads: vec![sender, thread::spawn(watch)] }
    }

    /// Waits until no packet of a service goes to `b1` any more, and tells when the last one went.
    pub(crate) fn last_packet(&self, service: SocketAddr) -> Instant {
        let last = || self.last.lock().unwrap()[&service];
        wait_until(DEADLINE, "no packet to go to b1", || last().elapsed() > SILENCE).unwrap();
        last()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Sends a SYN. Whoever closes the socket gives the connection up, so that it is sent no second time.
pub(crate) fn open(target: SocketAddr) -> Option<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None).ok()?;
    // It is under way, and nobody waits for it.
    let _ = connect(&socket, &target);
    Some(socket)
}

/// Where the balancer counts the packets of each service's first backend by name, which is `b1`.
struct Counters {
    backends: PerCpuArray<MapData, [u64; 2]>,
    indexes: Vec<(SocketAddr, u32)>,
}

impl Counters {
    fn open(pins: &Path, services: &[SocketAddr]) -> Self {
        let open = |map: &str| MapData::from_pin(pins.join(map)).unwrap();
        let lines: Array<_, [u8; size_of::<Service>()]> = Map::Array(open("services")).try_into().unwrap();
        let backends = Map::PerCpuArray(open("backend_counters")).try_into().unwrap();
        let lines: Vec<Service> = lines.iter().map(|line| bytemuck::cast(line.unwrap())).collect();
        let index = |service: &SocketAddr| {
            let is_key = |line: &&Service| {
                line.key.address == Address::from(service.ip())
                    && line.key.port == service.port().to_be_bytes()
            };
            (*service, lines.iter().find(is_key).unwrap().first_backend)
        };
        Self { backends, indexes: services.iter().map(index).collect() }
    }

    fn packets(&self) -> impl Iterator<Item = (SocketAddr, u64)> + '_ {
        self.indexes.iter().map(|(service, index)| {
            let per_cpu = self.backends.get(index, 0).unwrap();
            (*service, per_cpu.iter().map(|[packets, _]| packets).sum())
        })
    }
}
