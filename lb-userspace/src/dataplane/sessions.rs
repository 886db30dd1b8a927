//! The maps of translated flows: which sessions are over, and what the others come to.

use std::{
    collections::{BTreeMap, HashMap as StdHashMap},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData},
};
use bytemuck::Zeroable as _;
use lb_common::{
    connection::{Closing, Connection},
    cookie::Splice,
    flow::Flow,
    nat::{Half, Pool, SPLICED, Side},
};
use tracing::warn;

use super::{DataPlaneError, LINGER, ebpf::take, flows::is_absent, refused};
use crate::{causes::with_causes, config::Limits};

/// Their names in the object.
pub(super) const OPENINGS: &str = "nat_openings";
const SESSIONS: &str = "nat_sessions";
/// The same with whether their sessions went on, in the order in which one passes from one to the other.
pub(super) const BOTH: [(&str, bool); 2] = [(OPENINGS, false), (SESSIONS, true)];
pub(super) const POOLS: &str = "nat_pools";
pub(super) const SPLICES: &str = "nat_splices";

/// How long a connection may take to be established, from its last packet on.
const HALF_OPEN: Duration = Duration::from_secs(30);

/// A map of halves.
pub(super) type Halves = HashMap<MapData, [u8; size_of::<Flow>()], [u8; size_of::<Half>()]>;

/// The map of connections that cookies have opened.
pub(super) type Splices = HashMap<MapData, [u8; size_of::<Flow>()], [u8; size_of::<Splice>()]>;

/// The map of pools.
pub(super) type Pools = Array<MapData, [u8; size_of::<Pool>()]>;

/// Entries of both maps, where a session takes one for each direction.
pub(super) const fn sizes(limits: &Limits) -> [(&'static str, u32); 2] {
    [(OPENINGS, 2 * limits.nat_openings), (SESSIONS, 2 * limits.nat_sessions)]
}

/// The maps.
pub(super) struct Sessions {
    openings: Halves,
    went_on: Halves,
    pools: Pools,
    splices: Splices,
    found: Found,
}

/// What a walk has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Sessions that went on.
    pub sessions: u32,
    /// Sessions that did not, or not yet.
    pub openings: u32,
    /// How many have each address of the pool.
    pub addresses: BTreeMap<IpAddr, u32>,
}

/// A half, and whether its session went on.
type Seen = StdHashMap<Flow, (Half, bool)>;

impl Sessions {
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self, DataPlaneError> {
        Ok(Self {
            openings: HashMap::try_from(take(ebpf, OPENINGS)?).map_err(refused(OPENINGS))?,
            went_on: HashMap::try_from(take(ebpf, SESSIONS)?).map_err(refused(SESSIONS))?,
            pools: Array::try_from(take(ebpf, POOLS)?).map_err(refused(POOLS))?,
            splices: HashMap::try_from(take(ebpf, SPLICES)?).map_err(refused(SPLICES))?,
            found: Found::default(),
        })
    }

    /// What the last walk has found.
    pub(super) const fn found(&self) -> &Found {
        &self.found
    }

    /// What new flows are translated to.
    pub(super) fn pools(&self) -> [Pool; 2] {
        pools(&self.pools)
    }

    /// Gives flows addresses and ports of other pools.
    pub(super) fn write_pools(&mut self, pools: &[Pool; 2]) {
        for (index, pool) in (0..).zip(pools) {
            if let Err(error) = self.pools.set(index, bytemuck::cast::<_, [u8; size_of::<Pool>()]>(*pool), 0)
            {
                warn!("new flows are translated to the addresses of before: {}", with_causes(&error));
            }
        }
    }

    /// Takes in sessions of other maps, but for those that are known.
    pub(super) fn take_over(&mut self, from: impl Iterator<Item = (Flow, Half, bool)>) {
        const NOEXIST: u64 = 1;
        for (flow, half, went_on) in from {
            let key: [u8; size_of::<Flow>()] = bytemuck::cast(flow);
            let value: [u8; size_of::<Half>()] = bytemuck::cast(half);
            let map = if went_on { &mut self.went_on } else { &mut self.openings };
            let _ = map.insert(key, value, NOEXIST);
        }
    }

    /// Takes in what other maps know of connections that cookies have opened. Before their sessions, which mean nothing without.
    pub(super) fn take_splices(&mut self, from: &Splices) {
        for (flow, splice) in from.iter().filter_map(Result::ok) {
            let _ = self.splices.insert(flow, splice, 0);
        }
    }

    /// Deletes the sessions that are over, and gives the flows of the others. An error means that not all were seen.
    pub(super) fn sweep(
        &mut self,
        now: Duration,
        idle: &dyn Fn(u32) -> Option<Duration>,
    ) -> Result<Vec<(Flow, Connection)>, DataPlaneError> {
        let mut seen = self.walk(false)?;
        seen.extend(self.walk(true)?);
        self.found = Found::default();
        let mut live = Vec::new();
        for (flow, &(half, went_on)) in &seen {
            let other = seen.get(&half.other).map(|(other, _)| *other).or_else(|| self.get(&half.other));
            let other = other.filter(|other| other.other == *flow);
            if half.side == Side::Backend as u8 {
                self.end_if_alone(flow, &half, other.as_ref(), now, idle)?;
            } else if let Some(other) =
                other.filter(|other| is_live(flow, (&half, other), went_on, now, idle))
            {
                *if went_on { &mut self.found.sessions } else { &mut self.found.openings } += 1;
                *self.found.addresses.entry(half.other.destination.into()).or_default() += 1;
                live.push((*flow, connection(&half, &other)));
            } else {
                self.end(flow, &half)?;
                if let Some(other) = other {
                    self.end(&half.other, &other)?;
                }
            }
        }
        Ok(live)
    }

    /// Ends a backend's half that no client's half names: those of made-up clients leave by themselves.
    fn end_if_alone(
        &mut self,
        flow: &Flow,
        half: &Half,
        other: Option<&Half>,
        now: Duration,
        idle: &dyn Fn(u32) -> Option<Duration>,
    ) -> Result<(), DataPlaneError> {
        let timeout = idle(half.service).unwrap_or(Duration::ZERO);
        if other.is_none() && half.last_seen_ns != 0 && silent(half.last_seen_ns, now) > timeout {
            self.end(flow, half)?;
        }
        Ok(())
    }

    fn walk(&self, went_on: bool) -> Result<Seen, DataPlaneError> {
        let (map, name) = if went_on { (&self.went_on, SESSIONS) } else { (&self.openings, OPENINGS) };
        let entries = map.iter().map(|entry| {
            let (flow, half) = entry.map_err(refused(name))?;
            Ok((bytemuck::cast(flow), (bytemuck::cast(half), went_on)))
        });
        entries.collect()
    }

    fn get(&self, flow: &Flow) -> Option<Half> {
        let key = bytemuck::cast(*flow);
        let found = self.went_on.get(&key, 0).or_else(|_| self.openings.get(&key, 0));
        found.ok().map(bytemuck::cast)
    }

    /// Deletes a half, unless a packet has come since.
    fn end(&mut self, flow: &Flow, half: &Half) -> Result<(), DataPlaneError> {
        if self.get(flow).is_some_and(|found| found.last_seen_ns != half.last_seen_ns) {
            return Ok(());
        }
        let key = bytemuck::cast(*flow);
        for (map, name) in [(&mut self.openings, OPENINGS), (&mut self.went_on, SESSIONS)] {
            match map.remove(&key) {
                Err(error) if !is_absent(&error) => return Err(refused(name)(error)),
                _ => {}
            }
        }
        if half.ended & SPLICED != 0 && half.side == Side::Client as u8 {
            let _ = self.splices.remove(&key);
        }
        Ok(())
    }
}

/// The pinned map of connections that cookies have opened, if there is one.
pub(super) fn pinned_splices(pin_path: &Path) -> Option<Splices> {
    let data = MapData::from_pin(pin_path.join(SPLICES)).ok()?;
    HashMap::try_from(Map::LruHashMap(data)).ok()
}

/// What a map of pools holds; nothing where it cannot be read.
pub(super) fn pools(map: &Pools) -> [Pool; 2] {
    [0, 1].map(|index| map.get(&index, 0).map_or_else(|_| Pool::zeroed(), bytemuck::cast))
}

fn silent(last_seen_ns: u64, now: Duration) -> Duration {
    now.saturating_sub(Duration::from_nanos(last_seen_ns))
}

/// Whether a session may go on: its state says for how long it may be silent.
fn is_live(
    flow: &Flow,
    (half, other): (&Half, &Half),
    went_on: bool,
    now: Duration,
    idle: &dyn Fn(u32) -> Option<Duration>,
) -> bool {
    const TCP: u32 = 6;
    let timeout = idle(half.service).unwrap_or(Duration::ZERO);
    let timeout = if flow.protocol == TCP && !went_on {
        timeout.min(HALF_OPEN)
    } else if half.is_over(other) {
        timeout.min(LINGER)
    } else {
        timeout
    };
    silent(half.last_seen_ns.max(other.last_seen_ns), now) <= timeout
}

/// What the table of connections would have of a session.
fn connection(half: &Half, other: &Half) -> Connection {
    Connection {
        last_seen_ns: half.last_seen_ns.max(other.last_seen_ns),
        service: half.service,
        backend: half.backend,
        closing: if half.is_over(other) { Closing::Fin } else { Closing::Open } as u8,
        again: 0,
    }
}

#[cfg(test)]
mod tests {
    use lb_common::nat::{ENDED_FIN, ENDED_RESET};

    use super::*;

    #[test]
    fn session_lives_for_as_long_as_its_state_says() {
        const HOUR: Duration = Duration::from_hours(1);
        let now = Duration::from_secs(10_000);
        // (protocol, went on, the client's end, the backend's, seconds since the last packet, lives)
        let cases = [
            (6, true, 0, 0, 3_600, true),
            (6, true, 0, 0, 3_601, false),
            (6, true, ENDED_FIN, 0, 3_600, true),
            (6, true, ENDED_FIN, ENDED_FIN, 60, true),
            (6, true, ENDED_FIN, ENDED_FIN, 61, false),
            (6, true, 0, ENDED_RESET, 61, false),
            (6, false, 0, 0, 30, true),
            (6, false, 0, 0, 31, false),
            (17, false, 0, 0, 3_600, true),
            (17, true, 0, 0, 3_601, false),
        ];
        for (protocol, went_on, client, backend, seconds, lives) in cases {
            let flow = Flow { protocol, ..Flow::zeroed() };
            let seen = now.saturating_sub(Duration::from_secs(seconds)).as_nanos() as u64;
            let half = Half { ended: client, last_seen_ns: seen, ..Half::zeroed() };
            let other = Half { ended: backend, last_seen_ns: seen - 1, ..Half::zeroed() };
            let found = is_live(&flow, (&half, &other), went_on, now, &|_| Some(HOUR));
            assert_eq!(found, lives, "{protocol} {went_on} {client} {backend} {seconds}");
            let without_service = is_live(&flow, (&half, &other), went_on, now, &|_| None);
            assert!(!without_service, "{protocol} {went_on} {client} {backend} {seconds}");
        }
    }

    #[test]
    fn packet_of_either_side_keeps_a_session() {
        let now = Duration::from_secs(100);
        let seen = Half { last_seen_ns: 99_000_000_000, ..Half::zeroed() };
        let (flow, idle) = (Flow { protocol: 6, ..Flow::zeroed() }, |_| Some(Duration::from_secs(10)));
        assert!(is_live(&flow, (&Half::zeroed(), &seen), true, now, &idle));
        assert!(is_live(&flow, (&seen, &Half::zeroed()), true, now, &idle));
        assert!(!is_live(&flow, (&Half::zeroed(), &Half::zeroed()), true, now, &idle));
    }
}
