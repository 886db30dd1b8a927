//! When connections arrived, and at which address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lb_tests::netns::Netns;
use rustix::net::{Shutdown, shutdown};

/// A listener at every address of a namespace. Dropping it ends it.
pub(super) struct Listener {
    socket: TcpListener,
    seen: Arc<Mutex<Vec<(Instant, IpAddr)>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// What has arrived.
pub(super) struct Arrivals(Vec<(Instant, IpAddr)>);

impl Listener {
    pub(super) fn start(netns: &Netns, port: u16) -> anyhow::Result<Self> {
        let socket = netns.run(|| TcpListener::bind(("0.0.0.0", port)))?;
        let socket = socket.with_context(|| format!("cannot listen at port {port}"))?;
        let (own, seen) = (socket.try_clone()?, Arc::<Mutex<Vec<_>>>::default());
        let notes = Arc::clone(&seen);
        let accept = move || {
            // The end is an error too: a listener that is shut down accepts nothing.
            while let Ok((stream, _)) = own.accept() {
                let at = Instant::now();
                if let Ok(address) = stream.local_addr() {
                    notes.lock().unwrap_or_else(PoisonError::into_inner).push((at, address.ip()));
                }
            }
        };
        let thread = netns.spawn_thread("listener", accept)?;
        Ok(Self { socket, seen, thread: Some(thread) })
    }

    pub(super) fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(super) fn clear(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn arrivals(&self) -> Arrivals {
        Arrivals(self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ended = shutdown(&self.socket, Shutdown::Both);
        // Without it the thread would wait for ever.
        if ended.is_ok() && self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the listener has panicked");
        }
    }
}

impl Arrivals {
    /// How many there were in each whole second.
    pub(super) fn in_seconds(&self) -> Vec<f64> {
        let Some(&(begin, _)) = self.0.first() else { return vec![0.0] };
        let whole = self.0.last().map_or(0, |(end, _)| (*end - begin).as_secs());
        let mut seconds = vec![0.0; usize::try_from(whole.max(1)).unwrap_or(1)];
        for (at, _) in &self.0 {
            let second = usize::try_from((*at - begin).as_secs()).ok();
            if let Some(second) = second.and_then(|second| seconds.get_mut(second)) {
                *second += 1.0;
            }
        }
        seconds
    }

    /// How long after its turn each came. An address has its turns `interval` apart, and one at least was in time.
    pub(super) fn lateness(&self, interval: Duration) -> Vec<Duration> {
        let mut by_address: HashMap<IpAddr, Vec<Instant>> = HashMap::new();
        self.0.iter().for_each(|&(at, address)| by_address.entry(address).or_default().push(at));
        by_address.into_values().flat_map(|arrivals| late(&arrivals, interval)).collect()
    }
}

fn late(arrivals: &[Instant], interval: Duration) -> Vec<Duration> {
    let first = arrivals[0];
    // Behind the first one's turns, or before them.
    let offset = |(turn, at): (u32, &Instant)| (*at - first).as_secs_f64() - (interval * turn).as_secs_f64();
    let offsets: Vec<f64> = (0..).zip(arrivals).map(offset).collect();
    let earliest = offsets.iter().copied().fold(0.0, f64::min);
    offsets.iter().map(|offset| Duration::from_secs_f64(offset - earliest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: [IpAddr; 2] =
        [IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2))];

    fn arrivals(at_ms: &[(u64, usize)]) -> Arrivals {
        let begin = Instant::now();
        Arrivals(at_ms.iter().map(|&(at, n)| (begin + Duration::from_millis(at), ADDRESS[n])).collect())
    }

    #[test]
    fn arrivals_are_counted_in_whole_seconds() {
        let arrivals = arrivals(&[(0, 0), (999, 1), (1000, 0), (2000, 0), (2100, 1), (2999, 0), (3400, 1)]);
        assert_eq!(arrivals.in_seconds(), [2.0, 1.0, 3.0]);
    }

    #[test]
    fn lateness_is_counted_from_the_turns_of_each_address() {
        let arrivals = arrivals(&[(7, 0), (100, 1), (2000, 0), (2100, 1), (4150, 0), (6100, 1)]);
        let mut late: Vec<_> =
            arrivals.lateness(Duration::from_secs(2)).iter().map(Duration::as_millis).collect();
        late.sort_unstable();
        // The last one's turn before has been left out.
        assert_eq!(late, [0, 0, 0, 7, 150, 2000]);
    }
}
