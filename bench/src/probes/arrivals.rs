//! When connections were opened, and to which address.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lb_tests::netns::Netns;
use rustix::net::{Shutdown, shutdown};

use super::syns::{Read, Syn, Syns};

/// A listener at every address of a namespace, and what sees who connects to it. Dropping it ends both.
pub(super) struct Listener {
    socket: TcpListener,
    accepting: Option<JoinHandle<io::Result<()>>>,
    ends: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    looking: Option<JoinHandle<io::Result<()>>>,
}

/// SYNs so far.
#[derive(Default)]
struct Seen {
    arrivals: Vec<(Duration, Ipv4Addr)>,
    /// The last one for each address.
    last: HashMap<Ipv4Addr, Syn>,
    /// Those that nobody has looked at.
    dropped: u32,
    fault: Option<io::Error>,
}

/// When a connection was opened to which address, from the first one on.
pub(super) struct Arrivals(Vec<(Duration, Ipv4Addr)>);

impl Listener {
    pub(super) fn start(netns: &Netns, port: u16) -> anyhow::Result<Self> {
        let syns = netns.run(|| Syns::open(port))?.context("cannot look at what comes")?;
        let socket = netns.run(|| TcpListener::bind(("0.0.0.0", port)))?;
        let socket = socket.with_context(|| format!("cannot listen at port {port}"))?;
        let own = socket.try_clone()?;
        // The end is an error: a listener that is shut down accepts nothing.
        let accept = move || while own.accept().is_ok() {};
        let (ends, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Seen>>::default());
        let (end, notes) = (Arc::clone(&ends), Arc::clone(&seen));
        let look = move || {
            while !end.load(Ordering::Relaxed) {
                match syns.next() {
                    Ok(None) => (),
                    Ok(Some(read)) => locked(&notes).add(&read),
                    Err(error) => return locked(&notes).fault = Some(error),
                }
            }
        };
        let looking = Some(netns.spawn_thread("syns", look)?);
        let accepting = Some(netns.spawn_thread("listener", accept)?);
        Ok(Self { socket, accepting, ends, seen, looking })
    }

    pub(super) fn count(&self) -> usize {
        locked(&self.seen).arrivals.len()
    }

    pub(super) fn clear(&self) {
        locked(&self.seen).arrivals.clear();
    }

    /// All since the last time that they were cleared. An error where some may be missing.
    pub(super) fn arrivals(&self) -> anyhow::Result<Arrivals> {
        let mut seen = locked(&self.seen);
        if let Some(fault) = seen.fault.take() {
            return Err(fault).context("cannot see what comes");
        }
        ensure!(seen.dropped == 0, "{} SYNs came too fast to be counted", seen.dropped);
        let mut arrivals = seen.arrivals.clone();
        // Each CPU hands over what it has got.
        arrivals.sort_unstable();
        Ok(Arrivals(arrivals))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let ended = shutdown(&self.socket, Shutdown::Both);
        // Without it the thread would wait for ever.
        let accepting = self.accepting.take().filter(|_| ended.is_ok());
        for thread in self.looking.take().into_iter().chain(accepting) {
            if thread.join().is_err() {
                eprintln!("a thread of the listener has panicked");
            }
        }
    }
}

impl Seen {
    /// Takes note of what was read, but of nothing twice that is sent again.
    fn add(&mut self, read: &Read) {
        self.dropped = read.dropped;
        if let Some(syn) = read.syn
            && self.last.insert(syn.destination, syn) != Some(syn)
        {
            self.arrivals.push((read.at, syn.destination));
        }
    }
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arrivals {
    /// How many there were in each whole second.
    pub(super) fn in_seconds(&self) -> Vec<f64> {
        let Some(&(begin, _)) = self.0.first() else { return vec![0.0] };
        let whole = self.0.last().map_or(0, |(end, _)| end.saturating_sub(begin).as_secs());
        let mut seconds = vec![0.0; usize::try_from(whole.max(1)).unwrap_or(1)];
        for (at, _) in &self.0 {
            let second = usize::try_from(at.saturating_sub(begin).as_secs()).ok();
            if let Some(second) = second.and_then(|second| seconds.get_mut(second)) {
                *second += 1.0;
            }
        }
        seconds
    }

    /// How long after its turn each came. An address has its turns `interval` apart, and one at least was in time.
    pub(super) fn lateness(&self, interval: Duration) -> Vec<Duration> {
        let mut by_address: HashMap<Ipv4Addr, Vec<Duration>> = HashMap::new();
        self.0.iter().for_each(|&(at, address)| by_address.entry(address).or_default().push(at));
        by_address.into_values().flat_map(|arrivals| late(&arrivals, interval)).collect()
    }
}

fn late(arrivals: &[Duration], interval: Duration) -> Vec<Duration> {
    let first = arrivals[0];
    // Behind the first one's turns, or before them.
    let offset = |(turn, at): (u32, &Duration)| {
        at.saturating_sub(first).as_secs_f64() - (interval * turn).as_secs_f64()
    };
    let offsets: Vec<f64> = (0..).zip(arrivals).map(offset).collect();
    let earliest = offsets.iter().copied().fold(0.0, f64::min);
    offsets.iter().map(|offset| Duration::from_secs_f64(offset - earliest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];

    fn arrivals(at_ms: &[(u64, usize)]) -> Arrivals {
        Arrivals(at_ms.iter().map(|&(at, n)| (Duration::from_millis(at), ADDRESS[n])).collect())
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

    #[test]
    fn a_syn_that_is_sent_again_is_no_other_arrival() {
        let mut seen = Seen::default();
        let first = Syn { origin: (Ipv4Addr::new(192, 0, 2, 1), 40_000, 1), destination: ADDRESS[0] };
        let elsewhere = Syn { destination: ADDRESS[1], ..first };
        let next = Syn { origin: (first.origin.0, first.origin.1, 2), ..first };
        for (second, syn) in (0..).zip([first, elsewhere, first, next]) {
            seen.add(&Read { syn: Some(syn), at: Duration::from_secs(second), dropped: 0 });
        }
        let counted: Vec<_> = seen.arrivals.iter().map(|(at, _)| at.as_secs()).collect();
        assert_eq!(counted, [0, 1, 3]);
    }
}
