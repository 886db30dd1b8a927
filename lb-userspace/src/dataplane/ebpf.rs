//! The kernel's data plane: the maps of a loaded object. The operations on them are in `apply.rs`.

mod apply;

use std::{array, fmt, mem, os::fd::AsFd as _, path::Path};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
    programs::Xdp,
};
use lb_common::{
    backend::Backend,
    budget::Kind,
    connection::Tracked,
    control::Control,
    guard::Refusal,
    hash::{HashKey, Seed},
    knobs::{FEATURE_COOKIES, FEATURE_NAT},
    passive::Signs,
    policy::Policy,
    quic::{Server, ServerKey},
    service::{BUCKET_ENTRIES, Service, bucket_count},
    slot::{LINE, Slot},
};

use super::{
    DataPlane, DataPlaneError, Tracking,
    capture::{BeginError, CaptureProgram},
    counted::Counted,
    counters::{Counters, SignCounters, clear, counters, refusals, signs},
    debug_log::DebugLog,
    flows::{Flows, flows},
    guards::{Astray, GuardMaps, PlacedRules},
    image,
    inherited::Inherited,
    load::{Knobs, LoadError, Maps, balancer, check_kernel, load_object, program, signature},
    mapped::Mapped,
    news::News,
    next::{self, NextError, NextProgram},
    pins, refused,
    server_ids::ServerIds,
    sessions::{self, Found, Sessions},
};
use crate::{
    plan::guards::Guards,
    reconcile::{Image, Op},
};

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

    /// What the maps of guards hold otherwise than `guards` ask for, but for rules.
    #[must_use]
    pub fn verify_guards(&self, guards: &Guards) -> Vec<Astray> {
        self.guards.verify(guards)
    }

    /// The rules that `guards` ask for, with those that packets meet.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError`] where the kernel refuses.
    pub fn placed_rules(&self, guards: &Guards) -> Result<Vec<PlacedRules>, DataPlaneError> {
        self.guards.placed_rules(guards)
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
