//! The maps of guards: rules and cookies of services, limits and loads of backends, what was refused.
//!
//! A service's rules are a trie of its own, filled before any packet reads it, and put in the place of the one before by one
//! store. Services with the same lists share one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
};

use aya::{
    Ebpf,
    maps::{ArrayOfMaps, LpmTrie, MapData, PerCpuArray, PerCpuValues, lpm_trie::Key},
};
use bytemuck::Zeroable as _;
use lb_common::{
    cookie::State,
    guard::{Limit, Load, PREFIX_DATA, Prefix, Rate, Refusal},
};

use super::{
    DataPlaneError,
    counters::clear,
    ebpf::{mapped, take},
    mapped::Mapped,
    refused,
};
use crate::{config::Limits, plan::guards::Guards, rules::Rules};

type Trie = LpmTrie<MapData, [u8; PREFIX_DATA], u32>;
type Refusals = PerCpuArray<MapData, [u64; Refusal::COUNT]>;

/// `BPF_F_NO_PREALLOC`, which the kernel insists on for a trie.
const NO_PREALLOC: u32 = 1;

/// Words of a [`Load`], and the one that counts flows.
const LOAD_WORDS: usize = size_of::<Load>() / 8;
const FLOWS_WORD: usize = std::mem::offset_of!(Load, flows) / 8;

/// The maps, and what has been written to them.
pub(super) struct GuardMaps {
    rules: ArrayOfMaps<MapData, Trie>,
    limits: Mapped,
    loads: Mapped,
    cookie_rates: Mapped,
    cookie_states: Mapped,
    refusals: Refusals,
    /// Tries that were made, with what they hold.
    tries: Vec<(Arc<Rules>, Trie)>,
    /// What takes the place of rules that nobody asks for any more.
    empty: Trie,
    /// Which rules each service has.
    placed: BTreeMap<u32, Arc<Rules>>,
    /// Which limit each backend has.
    limited: BTreeMap<u32, Limit>,
    /// Above which rate each service sends cookies.
    cookies: BTreeMap<u32, Rate>,
}

impl GuardMaps {
    /// Takes the maps of an object, which has room for as much as `sizes` say.
    pub(super) fn of(ebpf: &mut Ebpf, sizes: &Limits) -> Result<Self, DataPlaneError> {
        let (services, backends) = (sizes.services as usize, sizes.backends as usize);
        let limits = mapped(ebpf, "backend_limits", backends * size_of::<Limit>())?;
        let cookie_rates = mapped(ebpf, "cookie_rates", services * size_of::<Rate>())?;
        Ok(Self {
            limited: written(&limits),
            limits,
            loads: mapped(ebpf, "backend_loads", backends * size_of::<Load>())?,
            cookies: written(&cookie_rates),
            cookie_rates,
            cookie_states: mapped(ebpf, "cookie_states", services * size_of::<State>())?,
            rules: ArrayOfMaps::try_from(take(ebpf, "rules")?).map_err(refused("rules"))?,
            refusals: PerCpuArray::try_from(take(ebpf, "refusals")?).map_err(refused("refusals"))?,
            tries: Vec::new(),
            empty: Trie::create(1, NO_PREALLOC).map_err(refused("rules"))?,
            placed: BTreeMap::new(),
        })
    }

    /// Makes true what is asked for. What is asked for no longer stays: see [`Self::tidy`].
    pub(super) fn prepare(&mut self, guards: &Guards) -> Result<(), DataPlaneError> {
        self.tries.retain(|(rules, _)| guards.rules.values().any(|wanted| wanted == rules));
        for (&service, rules) in &guards.rules {
            if self.placed.get(&service) != Some(rules) {
                self.place(service, rules)?;
            }
        }
        for (&backend, limit) in &guards.limits {
            self.write_limit(backend, *limit);
        }
        for (&service, rate) in &guards.cookies {
            self.write_cookies(service, *rate);
        }
        Ok(())
    }

    /// Takes away what is asked for no longer, once no packet asks for it.
    pub(super) fn tidy(&mut self, guards: &Guards) -> Result<(), DataPlaneError> {
        let stale = |id: &u32| !guards.rules.contains_key(id);
        for service in self.placed.keys().copied().filter(stale).collect::<Vec<_>>() {
            self.rules.set(service, &self.empty, 0).map_err(refused("rules"))?;
            self.placed.remove(&service);
        }
        let stale = |id: &u32| !guards.limits.contains_key(id);
        for backend in self.limited.keys().copied().filter(stale).collect::<Vec<_>>() {
            self.write_limit(backend, Limit::zeroed());
        }
        let stale = |id: &u32| !guards.cookies.contains_key(id);
        for service in self.cookies.keys().copied().filter(stale).collect::<Vec<_>>() {
            self.write_cookies(service, Rate::zeroed());
        }
        Ok(())
    }

    fn place(&mut self, service: u32, rules: &Arc<Rules>) -> Result<(), DataPlaneError> {
        let made = self.tries.iter().position(|(held, _)| held == rules);
        let at = if let Some(at) = made {
            at
        } else {
            self.tries.push((Arc::clone(rules), trie(rules)?));
            self.tries.len() - 1
        };
        self.rules.set(service, &self.tries[at].1, 0).map_err(refused("rules"))?;
        self.placed.insert(service, Arc::clone(rules));
        Ok(())
    }

    fn write_limit(&mut self, backend: u32, limit: Limit) {
        if self.limited.get(&backend).copied().unwrap_or_default() == limit {
            return;
        }
        self.limits.write(backend, &limit, None);
        if limit == Limit::zeroed() {
            self.limited.remove(&backend);
        } else {
            self.limited.insert(backend, limit);
        }
    }

    fn write_cookies(&mut self, service: u32, rate: Rate) {
        if self.cookies.get(&service).copied().unwrap_or_default() == rate {
            return;
        }
        self.cookie_rates.write(service, &rate, None);
        if rate.is_bounded() {
            self.cookies.insert(service, rate);
        } else {
            self.cookies.remove(&service);
        }
    }

    /// What backends have that have got other numbers.
    pub(super) fn move_loads(&self, from: u32, to: u32, count: u32) {
        for offset in 0..count {
            self.loads.write(to + offset, &self.loads.value::<Load>(from + offset), None);
        }
    }

    /// Forgets what was refused of a service, and which cookies it has sent.
    pub(super) fn clear_service(&mut self, id: u32) {
        self.cookie_states.write(id, &State::zeroed(), None);
        clear(&mut self.refusals, "refusals", id);
    }

    /// Forgets what a backend has.
    pub(super) fn clear_backend(&self, id: u32) {
        self.loads.write(id, &Load::zeroed(), None);
    }

    /// What was refused of a service's packets, in the order of [`Refusal::ALL`].
    pub(super) fn refusals(&self, service: u32) -> [u64; Refusal::COUNT] {
        let Ok(values) = self.refusals.get(&service, 0) else { return Default::default() };
        let values: &PerCpuValues<_> = &values;
        values.iter().fold([0; Refusal::COUNT], |mut sums, packets: &[u64; Refusal::COUNT]| {
            sums.iter_mut().zip(packets).for_each(|(sum, packets)| *sum = sum.wrapping_add(*packets));
            sums
        })
    }

    /// Flows that a backend with a limit has, as far as is known.
    pub(super) fn flows(&self, backend: u32) -> u64 {
        u64::try_from(self.loads.value::<Load>(backend).flows).unwrap_or(0)
    }

    /// What the backends with limits are taken to have, for [`Self::correct`].
    pub(super) fn counts(&self) -> HashMap<u32, i64> {
        self.limited.keys().map(|&id| (id, self.loads.value::<Load>(id).flows)).collect()
    }

    /// Corrects what backends with limits are taken to have, where a walk has found how many flows there are. What the
    /// program has counted since `before` stays counted.
    pub(super) fn correct(&self, before: &HashMap<u32, i64>, found: &HashMap<u32, i64>) {
        for (&id, &taken) in before {
            let error = found.get(&id).copied().unwrap_or(0) - taken;
            let word = &self.loads.words()[id as usize * LOAD_WORDS + FLOWS_WORD];
            word.fetch_add(error.cast_unsigned(), Ordering::Relaxed);
        }
    }
}

/// What a map holds, where that is something.
fn written<T: bytemuck::Pod + PartialEq>(map: &Mapped) -> BTreeMap<u32, T> {
    (0..).zip(map.values::<T>()).filter(|(_, value)| *value != T::zeroed()).collect()
}

/// A trie of its own for these rules.
fn trie(rules: &Rules) -> Result<Trie, DataPlaneError> {
    let entries = rules.entries();
    let mut trie = Trie::create(entries.len() as u32, NO_PREALLOC).map_err(refused("rules"))?;
    for (prefix, rule) in entries {
        trie.insert(&key(prefix), *rule as u32, 0).map_err(refused("rules"))?;
    }
    Ok(trie)
}

fn key(prefix: &Prefix) -> Key<[u8; PREFIX_DATA]> {
    let bytes = bytemuck::bytes_of(prefix);
    Key::new(prefix.bits, bytes[size_of::<u32>()..].try_into().expect("what follows the length"))
}
