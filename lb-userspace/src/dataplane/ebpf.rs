//! The kernel's data plane: the maps of a loaded object, and the operations on them.

use std::{
    array,
    collections::{HashMap as StdHashMap, HashSet},
    fmt, mem,
    os::fd::AsFd as _,
    path::Path,
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
    programs::Xdp,
};
use bytemuck::Zeroable as _;
use lb_common::{
    backend::Backend,
    budget::Kind,
    connection::{Closing, Connection, Tracked},
    control::Control,
    counter::{Reason, Traffic},
    flow::Flow,
    guard::Refusal,
    hash::{HashKey, KeyWords as _, Seed},
    knobs::{FEATURE_COOKIES, FEATURE_NAT},
    passive::Signs,
    policy::Policy,
    quic::{Server, ServerKey},
    service::{BUCKET_ENTRIES, Service, TableRef, bucket_count},
    slot::{LINE, Slot},
};
use rustix::thread::{MembarrierCommand, membarrier};
use tracing::{debug, warn};

use super::{
    DataPlane, DataPlaneError, Tracking,
    capture::{BeginError, CaptureProgram},
    counted::Counted,
    counters::{Counters, SignCounters, clear, counters, refusals, signs, total},
    debug_log::DebugLog,
    flows::{Flows, delete_flows, flows},
    guards::{Astray, GuardMaps},
    image,
    inherited::Inherited,
    is_live,
    load::{Knobs, LoadError, Maps, balancer, check_kernel, load_object, program, signature},
    mapped::Mapped,
    news::News,
    next::{self, NextError, NextProgram},
    pins, refused,
    server_ids::ServerIds,
    sessions::{self, Found, Sessions},
};
use crate::{
    causes::with_causes,
    plan::guards::Guards,
    reconcile::{Image, LiveFlow, Op, ReadSlots},
};

/// How long a grace period is taken to last where the kernel cannot be asked to wait for one.
const GRACE_WITHOUT_MEMBARRIER: Duration = Duration::from_millis(200);

/// How long a flow of which one packet was seen counts as one that its backend has.
const HALF_OPEN: Duration = Duration::from_secs(10);

/// The loaded programs and the maps that they read.
pub struct EbpfDataPlane {
    ebpf: Ebpf,
    /// Name of the program that balances.
    balancer: &'static str,
    /// The program that gets what passes.
    next: Option<NextProgram>,
    flow_key: HashKey,
    services: Mapped,
    policies: Mapped,
    index: Mapped,
    backends: Mapped,
    arena: Mapped,
    connections: Flows,
    openings: Flows,
    server_ids: ServerIds,
    sessions: Sessions,
    /// Where the program tells of its decisions, if it does.
    debug_log: Option<DebugLog>,
    /// What the program is loaded for.
    features: u32,
    /// What runs in its place.
    capture: Option<CaptureProgram>,
    budgets: Counters,
    guards: GuardMaps,
    tracking: Tracking,
    news: News,
    /// Where the program counts how flows open; each that is loaded counts anew.
    signs: Option<SignCounters>,
    counted: Counted,
    reasons: Counters,
    control: Array<MapData, [u8; size_of::<Control>()]>,
    /// Entries that either table of flows has at most.
    limit: u32,
}

impl fmt::Debug for EbpfDataPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EbpfDataPlane").finish_non_exhaustive()
    }
}

impl EbpfDataPlane {
    /// Loads the object. With `pin_path`, its maps are taken from there as far as they are pinned, and pinned there
    /// otherwise.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names what was refused and what to do.
    pub fn load(knobs: Knobs<'_>, pin_path: Option<&Path>) -> Result<Self, LoadError> {
        let mut ebpf = load_object(knobs, pin_path.map_or(Maps::New, Maps::Pinned))?;
        let limits = knobs.limits;
        Ok(Self {
            services: mapped(&mut ebpf, "services", limits.services as usize * size_of::<Service>())?,
            policies: mapped(&mut ebpf, "policies", limits.services as usize * size_of::<Policy>())?,
            index: mapped(
                &mut ebpf,
                "service_index",
                bucket_count(limits.services) as usize * BUCKET_ENTRIES * 8,
            )?,
            backends: mapped(&mut ebpf, "backends", limits.backends as usize * size_of::<Backend>())?,
            arena: mapped(
                &mut ebpf,
                "arena",
                limits.slots.next_multiple_of(LINE as u32) as usize * size_of::<Slot>(),
            )?,
            connections: flows(&mut ebpf, "connections")?,
            openings: flows(&mut ebpf, "openings")?,
            server_ids: ServerIds::of(take(&mut ebpf, "server_ids")?)?,
            sessions: Sessions::of(&mut ebpf)?,
            debug_log: DebugLog::of(&mut ebpf),
            features: knobs.features,
            capture: None,
            budgets: counters(&mut ebpf, "budgets")?,
            guards: GuardMaps::of(&mut ebpf, limits)?,
            tracking: Tracking::default(),
            news: News::of(&mut ebpf),
            signs: signs(&mut ebpf),
            counted: Counted::of(&mut ebpf)?,
            reasons: counters(&mut ebpf, "reasons")?,
            balancer: balancer(knobs.features),
            next: None,
            control: Array::try_from(take(&mut ebpf, "control")?).map_err(refused("control"))?,
            flow_key: knobs.seed.flow_key(),
            limit: limits.connections.max(limits.openings),
            ebpf,
        })
    }

    /// What the maps hold, but for the arena.
    #[must_use]
    pub fn image(&self) -> Image {
        self.image_with(self.server_ids.read_or_log())
    }

    /// The same, if all of it can be read.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError`] where the kernel refuses.
    pub fn held(&self) -> Result<Image, DataPlaneError> {
        Ok(self.image_with(self.server_ids.read()?))
    }

    fn image_with(&self, server_ids: Vec<(ServerKey, Server)>) -> Image {
        let pools = self.sessions.pools();
        Image {
            server_ids,
            pools,
            ..image(&self.services, Some(&self.policies), &self.index, &self.backends)
        }
    }

    /// Signs the maps, so that another daemon may go on with them.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError::Map`].
    pub fn sign(&mut self, seed: &Seed) -> Result<(), DataPlaneError> {
        self.control
            .set(0, bytemuck::cast::<_, [u8; size_of::<Control>()]>(signature(seed)), 0)
            .map_err(refused("control"))
    }

    /// Whether the maps are signed so.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError::Map`].
    pub fn is_signed(&self, seed: &Seed) -> Result<bool, DataPlaneError> {
        let signed: Control = bytemuck::cast(self.control.get(&0, 0).map_err(refused("control"))?);
        Ok(signed == signature(seed))
    }

    /// What the maps of guards hold otherwise than `guards` ask for.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError`] where the kernel refuses.
    pub fn verify_guards(&self, guards: &Guards) -> Result<Vec<Astray>, DataPlaneError> {
        self.guards.verify(guards)
    }

    /// Has [`Self::follow`] write anew what is astray.
    pub fn distrust_guards(&mut self, astray: &[Astray]) {
        self.guards.distrust(astray);
    }

    /// Remembers the flows and sessions of other maps, but for those that it knows better. What finds no room is left out.
    pub fn take_flows(&mut self, from: &Inherited) {
        const NOEXIST: u64 = 1;
        for (flow, connection) in from.flows() {
            let _ = self.connections.insert(flow, connection, NOEXIST);
        }
        if let Some(splices) = from.splices() {
            self.sessions.take_splices(splices);
        }
        self.sessions.take_over(from.sessions());
    }

    /// Replaces the program by one that is specialised for other features, on the same maps, and makes `next` the one that
    /// gets what passes; gives the one before.
    ///
    /// # Errors
    ///
    /// As for [`Self::load`]; the program that is loaded stays.
    pub fn specialise(
        &mut self,
        knobs: Knobs<'_>,
        next: Option<NextProgram>,
        pin_path: &Path,
    ) -> Result<Option<NextProgram>, LoadError> {
        check_kernel(knobs.features)?;
        let added = knobs.features & !self.features;
        if added & FEATURE_COOKIES != 0 {
            let _ = pins::unpin(&pin_path.join(sessions::SPLICES));
        }
        if added & FEATURE_NAT != 0 {
            // The maps of translated flows have no room yet, and nothing in them.
            for (map, _) in sessions::BOTH {
                let _ = pins::unpin(&pin_path.join(map));
            }
        }
        let mut ebpf = load_object(knobs, Maps::Pinned(pin_path))?;
        next::set(&mut ebpf, next.as_ref())?;
        self.ebpf = ebpf;
        self.debug_log = DebugLog::of(&mut self.ebpf);
        self.capture = None;
        self.features = knobs.features;
        self.sessions = Sessions::of(&mut self.ebpf)?;
        self.balancer = balancer(knobs.features);
        self.news = News::of(&mut self.ebpf);
        self.signs = signs(&mut self.ebpf);
        Ok(mem::replace(&mut self.next, next))
    }

    /// Makes `next` the program that gets what passes, and gives the one before.
    ///
    /// # Errors
    ///
    /// [`NextError`], and then the one before goes on to get it.
    pub fn replace_next(&mut self, next: Option<NextProgram>) -> Result<Option<NextProgram>, NextError> {
        next::set(&mut self.ebpf, next.as_ref())?;
        if let Some(capture) = &mut self.capture {
            next::set(&mut capture.ebpf, next.as_ref())?;
        }
        Ok(mem::replace(&mut self.next, next))
    }

    /// Makes a program that shows packets the one to be attached.
    ///
    /// # Errors
    ///
    /// [`BeginError`], and then nothing has changed.
    pub fn begin_capture(&mut self, mut capture: CaptureProgram) -> Result<(), BeginError> {
        if self.capture.is_some() {
            return Err(BeginError::Runs);
        }
        if capture.stands_for() != self.features {
            return Err(BeginError::Changed);
        }
        next::set(&mut capture.ebpf, self.next.as_ref())?;
        self.capture = Some(capture);
        Ok(())
    }

    /// The number of the program that shows packets, if one is to be attached.
    #[must_use]
    pub fn capture(&self) -> Option<u64> {
        self.capture.as_ref().map(CaptureProgram::id)
    }

    /// Makes the program of before the one to be attached again.
    pub fn end_capture(&mut self) {
        // What that one has counted before is no news, to whoever has seen the other one count from nothing.
        if self.capture.as_ref().is_some_and(|capture| capture.signs.is_some())
            && let Some(signs) = &mut self.signs
        {
            (0..signs.len()).for_each(|index| clear(signs, "signs", index));
        }
        self.capture = None;
    }

    /// The object whose program is, or is to be, attached.
    fn attached(&self) -> &Ebpf {
        self.capture.as_ref().map_or(&self.ebpf, |capture| &capture.ebpf)
    }

    /// The program that gets what passes.
    #[must_use]
    pub const fn next(&self) -> Option<&NextProgram> {
        self.next.as_ref()
    }

    /// Sees to it that the program that is about to be attached keeps the one that gets what passes.
    ///
    /// # Errors
    ///
    /// [`NextError::Pin`].
    pub fn hold_next(&self, pin_path: &Path) -> Result<(), NextError> {
        next::hold(self.attached(), pin_path)
    }

    /// Lets go of what programs need for that which have been replaced everywhere.
    ///
    /// # Errors
    ///
    /// [`NextError::Pin`].
    pub fn release_former_next(&self, pin_path: &Path) -> Result<(), NextError> {
        next::release_others(self.attached(), pin_path)
    }

    /// Flows of moved slots that went on since the last time, at most `most`, where the program tells of them
    /// (`FEATURE_PEERS`).
    pub fn news(&mut self, most: usize) -> Vec<Tracked> {
        let mut news = self.news.take(most);
        if let Some(capture) = &mut self.capture {
            news.extend(capture.news.take(most - news.len()));
        }
        news
    }

    /// The balancing program.
    ///
    /// # Errors
    ///
    /// [`LoadError`] where the object lacks it.
    pub fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        match &mut self.capture {
            Some(capture) => capture.program(),
            None => program(&mut self.ebpf, self.balancer),
        }
    }

    /// Carries out operations in order, with the guards of what they lead to: rules and limits before anything asks for
    /// them, and those that nothing asks for any more taken away after it.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError`] where the kernel takes no rules, mostly for want of memory; no operation is carried out then.
    pub fn follow(&mut self, ops: &[Op], guards: &Guards) -> Result<(), DataPlaneError> {
        self.guards.prepare(guards)?;
        self.apply(ops);
        self.guards.tidy(guards)
    }

    /// How connections have opened with a backend since the program was loaded (`FEATURE_PASSIVE`).
    #[must_use]
    pub fn signs(&self, id: u32) -> Signs {
        let signs = self.capture.as_ref().map_or(&self.signs, |capture| &capture.signs);
        let values = signs.as_ref().and_then(|signs| signs.get(&id, 0).ok());
        let counted = values.iter().flat_map(|values| values.iter());
        let sums = counted.fold([0; 4], |sums: [u64; 4], counted| array::from_fn(|n| sums[n] + counted[n]));
        bytemuck::cast(sums)
    }

    /// Flows that were opened with a service's backends.
    #[must_use]
    pub fn service_opened(&self, id: u32) -> u64 {
        self.counted.service_opened(id)
    }

    /// Flows that were opened with a backend.
    #[must_use]
    pub fn backend_opened(&self, id: u32) -> u64 {
        self.counted.backend_opened(id)
    }

    /// Entries that the budgets have refused, in the order of [`Kind::ALL`].
    #[must_use]
    pub fn refused_entries(&self) -> [u64; Kind::COUNT] {
        Kind::ALL.map(|kind| refusals(&self.budgets, kind))
    }

    /// What was refused of a service's packets, in the order of [`Refusal::ALL`].
    #[must_use]
    pub fn refusals(&self, service: u32) -> [u64; Refusal::COUNT] {
        self.guards.refusals(service)
    }

    /// What the last walk has found of translated flows.
    #[must_use]
    pub const fn translated(&self) -> &Found {
        self.sessions.found()
    }

    /// Flows that a backend with a limit has, as far as is known.
    #[must_use]
    pub fn backend_flows(&self, id: u32) -> u64 {
        self.guards.flows(id)
    }
}

pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, DataPlaneError> {
    ebpf.take_map(name).ok_or(DataPlaneError::NoMap(name))
}

pub(crate) fn mapped(ebpf: &mut Ebpf, name: &'static str, bytes: usize) -> Result<Mapped, DataPlaneError> {
    let Map::Array(data) = take(ebpf, name)? else { return Err(DataPlaneError::NoMap(name)) };
    Mapped::open(data.fd().as_fd(), bytes).map_err(|source| DataPlaneError::Memory { map: name, source })
}

/// Waits until every program that began before has ended. `MEMBARRIER_CMD_GLOBAL` waits for an RCU grace period, and
/// XDP programs run in RCU read-side sections (Documentation/RCU/whatisRCU.rst); it fails only where the kernel was
/// booted with `nohz_full`.
fn grace_period() {
    if membarrier(MembarrierCommand::Global).is_err() {
        thread::sleep(GRACE_WITHOUT_MEMBARRIER);
    }
}

impl EbpfDataPlane {
    fn step(&mut self, op: &Op) {
        match op {
            Op::WriteBackend { id, entry } => self.backends.write(*id, entry, None),
            Op::WriteSlots { base, slots } => self.write_slots(*base, slots),
            Op::WriteService { id, entry } => {
                self.services.write(*id, entry, Some(std::mem::offset_of!(Service, table) / 8));
            }
            Op::WritePolicy { id, policy } => self.policies.write(*id, policy, None),
            Op::WriteServerId { service, id, named } => self.server_ids.write(*service, *id, *named),
            Op::ClearServerId { service, id } => self.server_ids.clear(*service, *id),
            Op::WritePools(pools) => self.sessions.write_pools(pools),
            Op::WriteIndex(cell) => {
                let word = cell.bucket as usize * BUCKET_ENTRIES + cell.entry;
                self.index.words()[word].store(cell.word, Ordering::Release);
            }
            Op::Grace => grace_period(),
            Op::MoveCounters { from, to, count } => self.move_counters(*from, *to, *count),
            Op::Remember { flow, connection } => self.remember(flow, connection),
            Op::ClearService { id } => {
                self.services.write(*id, &Service::zeroed(), None);
                self.policies.write(*id, &Policy::zeroed(), None);
                self.counted.clear_service(*id);
                self.guards.clear_service(*id);
            }
            Op::ClearBackends { first, count } => self.clear_backends(*first, *count),
        }
    }

    fn write_slots(&self, base: u32, slots: &[Slot]) {
        let cells = &self.arena.half_words()[base as usize..][..slots.len()];
        for (cell, slot) in cells.iter().zip(slots) {
            cell.store(slot.0, Ordering::Relaxed);
        }
    }

    fn move_counters(&mut self, from: u32, to: u32, count: u32) {
        self.guards.move_loads(from, to, count);
        self.counted.carry(from, to, count);
    }

    fn clear_backends(&mut self, first: u32, count: u32) {
        for id in first..first + count {
            self.backends.write(id, &Backend::zeroed(), None);
            self.counted.clear_backend(id);
            self.guards.clear_backend(id);
        }
    }

    /// Remembers a flow, unless its entry says that it was seen later. One that cannot be remembered is told of again.
    fn remember(&mut self, flow: &Flow, connection: &Connection) {
        let key = bytemuck::cast(*flow);
        let held = self.connections.get(&key, 0).map(bytemuck::cast::<_, Connection>);
        if held.is_ok_and(|held| held.last_seen_ns >= connection.last_seen_ns) {
            return;
        }
        let entry: [u8; size_of::<Connection>()] = bytemuck::cast(*connection);
        if let Err(error) = self.connections.insert(key, entry, 0) {
            debug!("a flow that a peer has told of is not remembered: {}", with_causes(&error));
        }
    }

    /// Corrects what backends with limits are taken to have. A flow counts until its client says that it ends; one of
    /// which a single packet was seen, not for longer than a connection takes to be established: whoever makes up
    /// sources shall not fill a backend.
    fn correct_loads(
        &self,
        before: &StdHashMap<u32, i64>,
        openings: &StdHashMap<Flow, Connection>,
        connections: &StdHashMap<Flow, Connection>,
        now: Duration,
    ) {
        let is_fresh =
            |entry: &Connection| now.saturating_sub(Duration::from_nanos(entry.last_seen_ns)) <= HALF_OPEN;
        let counted = openings.values().filter(|entry| is_fresh(entry)).chain(connections.values());
        let mut found = StdHashMap::new();
        for entry in counted.filter(|entry| entry.closing == Closing::Open as u8) {
            let service = self.services.value::<Service>(entry.service);
            *found.entry(service.first_backend + u32::from(entry.backend)).or_insert(0) += 1;
        }
        self.guards.correct(before, &found);
    }

    /// Deletes the flows of services that are gone, in one walk for all of them.
    fn forget_services(&mut self, ids: &HashSet<u32>) {
        for (map, name) in [(&mut self.connections, "connections"), (&mut self.openings, "openings")] {
            if let Err(error) = delete_flows(map, name, self.limit, |entry| ids.contains(&entry.service)) {
                warn!("flows of removed services stay until they are the oldest: {}", with_causes(&error));
            }
        }
    }
}

impl ReadSlots for EbpfDataPlane {
    fn slots(&self, table: TableRef) -> Vec<Slot> {
        self.arena.slots(table)
    }
}

impl DataPlane for EbpfDataPlane {
    fn apply(&mut self, ops: &[Op]) {
        let mut gone = HashSet::new();
        for op in ops {
            if let Op::ClearService { id } = op
                && self.services.value::<Service>(*id).key.protocol != 0
            {
                gone.insert(*id);
            }
            self.step(op);
        }
        if !gone.is_empty() {
            self.forget_services(&gone);
        }
    }

    fn sweep(
        &mut self,
        now: Duration,
        idle: &dyn Fn(u32) -> Option<Duration>,
    ) -> Result<Vec<LiveFlow>, DataPlaneError> {
        let doomed = |entry: &Connection| !is_live(entry, now, idle);
        let before = self.guards.counts();
        // In the order in which entries pass from one to the other, so that none is missed on its way.
        let mut live = delete_flows(&mut self.openings, "openings", self.limit, doomed)?;
        let openings = live.len() as u32;
        let connections = delete_flows(&mut self.connections, "connections", self.limit, doomed)?;
        let refused = self.refused_entries();
        self.tracking = Tracking { connections: connections.len() as u32, openings, refused };
        self.correct_loads(&before, &live, &connections, now);
        live.extend(connections);
        live.extend(self.sessions.sweep(now, idle)?);
        let key = self.flow_key;
        let bits = |service| self.services.value::<Service>(service).source_bits;
        let hashed = live.into_iter().map(|(flow, entry)| LiveFlow {
            flow,
            service: entry.service,
            hash: (key.flow(&flow.chooser(bits(entry.service))) >> 32) as u32,
            backend: entry.backend,
            last_seen: Duration::from_nanos(entry.last_seen_ns),
        });
        Ok(hashed.collect())
    }

    fn server_ids(&self) -> Result<Vec<(ServerKey, Server)>, DataPlaneError> {
        self.server_ids.read()
    }

    fn tracking(&self) -> Tracking {
        self.tracking
    }

    fn remembered(&self) -> Result<Vec<(Flow, Connection)>, DataPlaneError> {
        let entries = self.connections.iter().take(2 * self.limit as usize + 1);
        let flows: Result<StdHashMap<Flow, Connection>, _> = entries
            .map(|entry| entry.map(|(flow, held)| (bytemuck::cast(flow), bytemuck::cast(held))))
            .collect();
        Ok(flows.map_err(refused("connections"))?.into_iter().collect())
    }

    fn service_traffic(&self, id: u32) -> Traffic {
        self.counted.service_traffic(id)
    }

    fn backend_traffic(&self, id: u32) -> Traffic {
        self.counted.backend_traffic(id)
    }

    fn reasons(&self) -> [Traffic; Reason::COUNT] {
        Reason::ALL.map(|reason| total(&self.reasons, reason as u32))
    }
}
