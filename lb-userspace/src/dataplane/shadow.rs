//! The program that balances, once more, for questions: what would become of this packet?
//!
//! The same program of the same object, loaded for the same features. The maps that it only reads are the pinned ones, so
//! that it sees what packets see. All that it writes to are maps of its own, into which is copied what the others hold of
//! the flow in question. So a question leaves no trace, and that needs no code in the packet path: the program has no way
//! to the maps in which packets are counted and remembered.

use std::{fmt, io, path::Path};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
    programs::{ProgramError, TestRun as _, TestRunOptions},
};
use lb_common::{
    backend::Backend,
    connection::Connection,
    cookie::State,
    counter::Reason,
    flow::Flow,
    guard::{Load, Source},
    hash::{HashKey, KeyWords as _},
    knobs::{FEATURE_COOKIES, FEATURE_LIMITS, FEATURE_NAT, FEATURE_QUIC, FEATURE_RATES},
    nat::{Half, Side},
    policy::Policy,
    quic::{Server, ServerKey},
    service::Service,
    slot::{LINE, Slot},
};

use super::{
    DataPlaneError,
    load::{Knobs, LoadError, Maps, balancer, load_object, program},
    mapped::Mapped,
    refused,
    sessions::{self, Pools, Splices},
};

/// Room in front of the packet and behind it, for headers that are pushed.
const ROOM: usize = 512;

/// Entries of the flow tables that a question needs: its own, and one for each port that a new session tries.
pub(super) const ENTRIES: u32 = 256;

/// The maps that have so many.
pub(super) const SMALL: [&str; 7] =
    ["connections", "openings", "nat_openings", "nat_sessions", sessions::SPLICES, "sources", "fragments"];

/// Addresses and ports that are tried for a new session.
const TRIES: u32 = 16;

/// The maps that the program only reads.
pub(super) const READ: [&str; 9] = [
    "services",
    "policies",
    "service_index",
    "backends",
    "arena",
    "rules",
    "nat_pools",
    "backend_limits",
    "cookie_rates",
];

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The program could not be loaded once more.
    #[error("cannot load the program for questions")]
    Load(#[from] LoadError),
    /// A map is not as expected.
    #[error(transparent)]
    Maps(#[from] DataPlaneError),
    /// The kernel does not run it.
    #[error("the kernel does not run the program on this packet, as if it came by interface {ifindex}")]
    Run {
        /// The interface.
        ifindex: u32,
        /// What it said.
        #[source]
        source: ProgramError,
    },
    /// The packet was counted under no reason.
    #[error("the program has counted the packet under no reason; is it of another version?")]
    Uncounted,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The XDP action.
    pub action: u32,
    /// Why.
    pub reason: Reason,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// The backend that it was counted for, by its number, where it was one of those that were watched.
    pub backend: Option<u32>,
    /// What is remembered of its flow afterwards.
    pub remembered: Remembered,
}

/// What is remembered of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// As one that went on.
    pub connection: Option<Connection>,
    /// As one of which one packet was seen.
    pub opening: Option<Connection>,
    /// Its half of a translated flow, and whether that went on.
    pub half: Option<(Half, bool)>,
}

/// What a question is about.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The frame as it arrives.
    pub frame: &'a [u8],
    /// The interface that it comes by.
    pub ifindex: u32,
    /// The flow whose state counts; none where the packet has none.
    pub flow: Option<Flow>,
    /// The service that it is for, with its entry.
    pub service: Option<(u32, Service)>,
}

type Table<K, V> = HashMap<MapData, K, V>;
type FlowTable = Table<[u8; size_of::<Flow>()], [u8; size_of::<Connection>()]>;
type HalfTable = Table<[u8; size_of::<Flow>()], [u8; size_of::<Half>()]>;
type SourceTable = Table<[u8; size_of::<Source>()], u64>;
type ServerTable = Table<[u8; size_of::<ServerKey>()], [u8; size_of::<Server>()]>;
type Counters = PerCpuArray<MapData, [u64; 2]>;
type Cookies = Array<MapData, [u8; size_of::<State>()]>;
type Loads = Array<MapData, [u8; size_of::<Load>()]>;

/// The maps that the program writes to, of either program.
struct Written {
    connections: FlowTable,
    openings: FlowTable,
    nat_openings: HalfTable,
    nat_sessions: HalfTable,
    splices: Splices,
    cookies: Cookies,
    sources: SourceTable,
    service_rates: Array<MapData, u64>,
    server_ids: ServerTable,
    loads: Loads,
    budgets: Counters,
}

impl Written {
    fn of(mut take: impl FnMut(&'static str) -> Result<Map, DataPlaneError>) -> Result<Self, DataPlaneError> {
        let mut map = |name| take(name).map(|map| (map, name));
        macro_rules! open {
            ($name:literal) => {{
                let (map, name) = map($name)?;
                map.try_into().map_err(refused(name))?
            }};
        }
        Ok(Self {
            connections: open!("connections"),
            openings: open!("openings"),
            nat_openings: open!("nat_openings"),
            nat_sessions: open!("nat_sessions"),
            splices: open!("nat_splices"),
            cookies: open!("cookie_states"),
            sources: open!("sources"),
            service_rates: open!("service_rates"),
            server_ids: open!("server_ids"),
            loads: open!("backend_loads"),
            budgets: open!("budgets"),
        })
    }

    fn remembered(&self, flow: &Flow) -> Remembered {
        let key = bytemuck::cast(*flow);
        let entry = |table: &FlowTable| table.get(&key, 0).ok().map(bytemuck::cast);
        Remembered {
            connection: entry(&self.connections),
            opening: entry(&self.openings),
            half: self.half(flow),
        }
    }

    fn half(&self, flow: &Flow) -> Option<(Half, bool)> {
        let key = bytemuck::cast(*flow);
        let half = |table: &HalfTable| table.get(&key, 0).ok().map(bytemuck::cast);
        let went_on = half(&self.nat_sessions).map(|half| (half, true));
        went_on.or_else(|| Some((half(&self.nat_openings)?, false)))
    }
}

/// The program with its own maps.
pub struct Shadow {
    ebpf: Ebpf,
    features: u32,
    flow_key: HashKey,
    live: Written,
    own: Written,
    services: Mapped,
    backends: Mapped,
    arena: Mapped,
    policies: Mapped,
    pools: Pools,
    reasons: Counters,
    backend_counters: Counters,
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").finish_non_exhaustive()
    }
}

impl Shadow {
    /// Loads it beside the program that uses the maps which are pinned at `pin_path`.
    ///
    /// # Errors
    ///
    /// [`ShadowError`].
    pub fn load(knobs: Knobs<'_>, pin_path: &Path) -> Result<Self, ShadowError> {
        let pinned = |name: &'static str| MapData::from_pin(pin_path.join(name)).map_err(refused(name));
        let array = |name, value: usize| {
            let data = pinned(name)?;
            let entries = data.info().map_err(refused(name))?.max_entries() as usize;
            Mapped::open(data.fd(), entries * value).map_err(memory(name))
        };
        let live = Written::of(|name| pinned(name).map(|data| kind(name)(data)))?;
        let mut ebpf = load_object(knobs, Maps::OfQuestions(pin_path))?;
        let own = Written::of(|name| super::ebpf::take(&mut ebpf, name))?;
        let mut counters =
            |name| PerCpuArray::try_from(super::ebpf::take(&mut ebpf, name)?).map_err(refused(name));
        Ok(Self {
            reasons: counters("reasons")?,
            backend_counters: counters("backend_counters")?,
            services: array("services", size_of::<Service>())?,
            backends: array("backends", size_of::<Backend>())?,
            arena: array("arena", LINE * size_of::<Slot>())?,
            policies: array("policies", size_of::<Policy>())?,
            pools: Array::try_from(Map::Array(pinned(sessions::POOLS)?)).map_err(refused(sessions::POOLS))?,
            features: knobs.features,
            flow_key: knobs.seed.flow_key(),
            live,
            own,
            ebpf,
        })
    }

    /// What it was loaded for.
    #[must_use]
    pub const fn features(&self) -> u32 {
        self.features
    }

    /// The hash of a flow.
    #[must_use]
    pub fn hash(&self, flow: &Flow) -> u64 {
        self.flow_key.flow(flow)
    }

    /// The entry of a service, as it is now.
    #[must_use]
    pub fn service(&self, id: u32) -> Service {
        self.services.value(id)
    }

    /// The entry of a backend, as it is now.
    #[must_use]
    pub fn backend(&self, id: u32) -> Backend {
        self.backends.value(id)
    }

    /// A slot of the arena, as it is now.
    #[must_use]
    pub fn slot(&self, index: u32) -> Option<Slot> {
        let cell = self.arena.half_words().get(index as usize)?;
        Some(Slot(cell.load(std::sync::atomic::Ordering::Relaxed)))
    }

    /// What the balancer remembers of a flow.
    #[must_use]
    pub fn remembered(&self, flow: &Flow) -> Remembered {
        self.live.remembered(flow)
    }

    /// Runs the program on a packet, with what is remembered now.
    ///
    /// # Errors
    ///
    /// [`ShadowError`].
    pub fn run(&mut self, question: &Question<'_>) -> Result<Ran, ShadowError> {
        self.copy(question)?;
        let ran = self.run_once(question)?;
        let Some(new) = self.new_half(question) else { return Ok(ran) };
        // A new session takes the first address and port of some that are free: that of a balancer without sessions is not
        // the answer.
        self.copy(question)?;
        self.copy_candidates(&new, question)?;
        self.run_once(question)
    }

    /// The backend's half of a session that the program has made.
    fn new_half(&self, question: &Question<'_>) -> Option<Flow> {
        let flow = question.flow.filter(|_| self.features & FEATURE_NAT != 0)?;
        if self.live.half(&flow).is_some() {
            return None;
        }
        let (half, _) = self.own.half(&flow)?;
        (half.side == Side::Client as u8).then_some(half.other)
    }

    /// Copies what the balancer remembers, counts and allows, as far as it bears on a packet.
    fn copy(&mut self, question: &Question<'_>) -> Result<(), DataPlaneError> {
        self.clear()?;
        for index in 0..self.own.budgets.len() {
            let values = self.live.budgets.get(&index, 0).map_err(refused("budgets"))?;
            self.own.budgets.set(index, values, 0).map_err(refused("budgets"))?;
        }
        if self.features & FEATURE_QUIC != 0 {
            for entry in &self.live.server_ids {
                let (key, value) = entry.map_err(refused("server_ids"))?;
                self.own.server_ids.insert(key, value, 0).map_err(refused("server_ids"))?;
            }
        }
        if let Some(flow) = question.flow {
            self.copy_flow(&flow)?;
            if let Some((half, _)) = self.live.half(&flow) {
                self.copy_flow(&half.other)?;
            }
        }
        if let Some((id, service)) = question.service {
            self.copy_guards(id, &service, question.flow.as_ref())?;
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), DataPlaneError> {
        let Written {
            connections, openings, nat_openings, nat_sessions, splices, sources, server_ids, ..
        } = &mut self.own;
        empty(splices)?;
        for table in [connections, openings] {
            empty(table)?;
        }
        for table in [nat_openings, nat_sessions] {
            empty(table)?;
        }
        empty(sources)?;
        empty(server_ids)
    }

    fn copy_flow(&mut self, flow: &Flow) -> Result<(), DataPlaneError> {
        let Remembered { connection, opening, half } = self.live.remembered(flow);
        let key: [u8; size_of::<Flow>()] = bytemuck::cast(*flow);
        let entry = |connection: Connection| -> [u8; size_of::<Connection>()] { bytemuck::cast(connection) };
        if let Some(connection) = connection {
            self.own.connections.insert(key, entry(connection), 0).map_err(refused("connections"))?;
        }
        if let Some(opening) = opening {
            self.own.openings.insert(key, entry(opening), 0).map_err(refused("openings"))?;
        }
        if let Some((half, went_on)) = half {
            let value: [u8; size_of::<Half>()] = bytemuck::cast(half);
            let table = if went_on { &mut self.own.nat_sessions } else { &mut self.own.nat_openings };
            table.insert(key, value, 0).map_err(refused("nat_sessions"))?;
        }
        if let Ok(splice) = self.live.splices.get(&key, 0) {
            self.own.splices.insert(key, splice, 0).map_err(refused(sessions::SPLICES))?;
        }
        Ok(())
    }

    /// What is taken of the addresses and ports that a new session would try.
    fn copy_candidates(&mut self, new: &Flow, question: &Question<'_>) -> Result<(), DataPlaneError> {
        let Some(flow) = question.flow else { return Ok(()) };
        let pool = sessions::pools(&self.pools)[usize::from(!new.source.is_v4())];
        let hash = self.hash(&flow);
        for attempt in 0..TRIES {
            let (destination, destination_port) = pool.candidate(hash, attempt);
            self.copy_flow(&Flow { destination, destination_port, ..*new })?;
        }
        Ok(())
    }

    fn copy_guards(&mut self, id: u32, service: &Service, flow: Option<&Flow>) -> Result<(), DataPlaneError> {
        if self.features & FEATURE_RATES != 0 {
            let due = self.live.service_rates.get(&id, 0).map_err(refused("service_rates"))?;
            self.own.service_rates.set(id, due, 0).map_err(refused("service_rates"))?;
            if let Some(flow) = flow {
                let bits = self.policies.value::<Policy>(id).guard.source_bits;
                let source = Source { address: flow.source.prefix(u32::from(bits)), service: id, _pad: 0 };
                let key: [u8; size_of::<Source>()] = bytemuck::cast(source);
                if let Ok(due) = self.live.sources.get(&key, 0) {
                    self.own.sources.insert(key, due, 0).map_err(refused("sources"))?;
                }
            }
        }
        if self.features & FEATURE_COOKIES != 0 {
            let state = self.live.cookies.get(&id, 0).map_err(refused("cookie_states"))?;
            self.own.cookies.set(id, state, 0).map_err(refused("cookie_states"))?;
        }
        if self.features & FEATURE_LIMITS != 0 {
            for backend in service.first_backend..service.first_backend + service.capacity {
                let load = self.live.loads.get(&backend, 0).map_err(refused("backend_loads"))?;
                self.own.loads.set(backend, load, 0).map_err(refused("backend_loads"))?;
            }
        }
        Ok(())
    }

    fn run_once(&mut self, question: &Question<'_>) -> Result<Ran, ShadowError> {
        let backends = question
            .service
            .map_or(0..0, |(_, service)| service.first_backend..service.first_backend + service.capacity);
        let before = (self.reason_counts()?, self.backend_counts(backends.clone())?);
        let (action, frame) = self.test_run(question)?;
        let reasons = self.reason_counts()?;
        let grown = |(_, (before, after)): &(Reason, (&u64, &u64))| before != after;
        let mut counted = Reason::ALL.into_iter().zip(before.0.iter().zip(&reasons));
        let (reason, _) = counted.find(grown).ok_or(ShadowError::Uncounted)?;
        let forwarded = self.backend_counts(backends.clone())?;
        let mut numbered = backends.zip(before.1.iter().zip(&forwarded));
        let backend = numbered.find(|(_, (before, after))| before != after).map(|(id, _)| id);
        let remembered = question.flow.map(|flow| self.own.remembered(&flow)).unwrap_or_default();
        Ok(Ran { action, reason, frame, backend, remembered })
    }

    fn reason_counts(&self) -> Result<Vec<u64>, DataPlaneError> {
        Reason::ALL.iter().map(|reason| packets(&self.reasons, *reason as u32, "reasons")).collect()
    }

    fn backend_counts(&self, ids: std::ops::Range<u32>) -> Result<Vec<u64>, DataPlaneError> {
        ids.map(|id| packets(&self.backend_counters, id, "backend_counters")).collect()
    }

    fn test_run(&mut self, question: &Question<'_>) -> Result<(u32, Vec<u8>), ShadowError> {
        let program = program(&mut self.ebpf, balancer(self.features))?;
        let mut out = vec![0; question.frame.len() + ROOM];
        // `struct xdp_md`: where the frame begins and ends, no metadata, and the interface with its first queue.
        let context =
            [0, question.frame.len() as u32, 0, question.ifindex, 0, 0].map(u32::to_ne_bytes).concat();
        let options = TestRunOptions {
            data_in: Some(question.frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let ran = program
            .test_run(options)
            .map_err(|source| ShadowError::Run { ifindex: question.ifindex, source })?;
        out.truncate(ran.data_size_out as usize);
        Ok((ran.return_value, out))
    }
}

/// A map's own kind.
fn kind(name: &str) -> fn(MapData) -> Map {
    match name {
        "connections" | "openings" | "nat_openings" | "nat_splices" | "sources" => Map::LruHashMap,
        "nat_sessions" | "server_ids" => Map::HashMap,
        "budgets" => Map::PerCpuArray,
        _ => Map::Array,
    }
}

fn memory(map: &'static str) -> impl FnOnce(io::Error) -> DataPlaneError {
    move |source| DataPlaneError::Memory { map, source }
}

fn packets(counters: &Counters, index: u32, name: &'static str) -> Result<u64, DataPlaneError> {
    let values = counters.get(&index, 0).map_err(refused(name))?;
    Ok(values.iter().map(|[packets, _]| packets).sum())
}

/// Deletes all entries of a table that nobody else uses.
fn empty<K: aya::Pod, V: aya::Pod>(table: &mut Table<K, V>) -> Result<(), DataPlaneError> {
    let keys: Vec<K> = table.keys().collect::<Result<_, _>>().map_err(refused("flows"))?;
    for key in keys {
        table.remove(&key).map_err(refused("flows"))?;
    }
    Ok(())
}
