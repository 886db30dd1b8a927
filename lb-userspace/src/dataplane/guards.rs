//! The maps of guards: rules and cookies of services, limits and loads of backends, what was refused.
//!
//! A service's rules are a trie of its own, filled before any packet reads it, and put in the place of the one before by one
//! store. Services with the same lists share one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
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
    flows::is_absent,
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

/// A guard that a map has otherwise than it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Astray {
    /// Name of the map.
    pub map: &'static str,
    /// Whose it is.
    pub owner: Numbered,
    /// What is to be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Whoever has a number in the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbered {
    /// A service.
    Service(u32),
    /// A backend.
    Backend(u32),
}

/// The rules that a service is to have, and those that its packets meet. Nothing is written to a trie that is in its place, so
/// it can be read by whoever has time, whatever takes its place meanwhile.
pub struct PlacedRules {
    service: u32,
    rules: Arc<Rules>,
    trie: Option<Trie>,
}

impl fmt::Debug for PlacedRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlacedRules").field("service", &self.service).finish_non_exhaustive()
    }
}

impl PlacedRules {
    /// Whose they are.
    #[must_use]
    pub const fn owner(&self) -> Numbered {
        Numbered::Service(self.service)
    }

    /// How the two differ, if they do. Prefixes are read one by one: a million of them take seconds.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError::Map`].
    pub fn astray(&self) -> Result<Option<Astray>, DataPlaneError> {
        let held = self.held()?;
        let entries = self.rules.entries();
        let right = entries.iter().filter(|(prefix, rule)| held.get(&parts(prefix)) == Some(&(*rule as u32)));
        let (right, all) = (right.count(), entries.len());
        if right == all && held.len() == all {
            return Ok(None);
        }
        let found = format!("{} prefixes, of which {right} are right", held.len());
        let expected = format!("{all} prefixes");
        Ok(Some(Astray { map: "rules", owner: self.owner(), expected, found }))
    }

    fn held(&self) -> Result<HashMap<(u32, [u8; PREFIX_DATA]), u32>, DataPlaneError> {
        let entry = |(key, rule): (Key<[u8; PREFIX_DATA]>, u32)| ((key.prefix_len(), key.data()), rule);
        let entries = self.trie.iter().flat_map(Trie::iter).map(|found| found.map(entry));
        entries.collect::<Result<_, _>>().map_err(refused("rules"))
    }
}

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

impl GuardMaps {
    /// What the maps of limits and cookies hold otherwise than `guards` ask for.
    pub(super) fn verify(&self, guards: &Guards) -> Vec<Astray> {
        let mut astray = Vec::new();
        for (number, expected, found) in differing(&guards.limits, &written(&self.limits)) {
            let (expected, found) = (limit_word(expected), limit_word(found));
            astray.push(Astray { map: "backend_limits", owner: Numbered::Backend(number), expected, found });
        }
        for (number, expected, found) in differing(&guards.cookies, &written(&self.cookie_rates)) {
            let (expected, found) = (rate_word(expected), rate_word(found));
            astray.push(Astray { map: "cookie_rates", owner: Numbered::Service(number), expected, found });
        }
        astray
    }

    /// The rules that `guards` ask for, with the tries that are in their places.
    pub(super) fn placed_rules(&self, guards: &Guards) -> Result<Vec<PlacedRules>, DataPlaneError> {
        let placed = |(&service, rules): (&u32, &Arc<Rules>)| {
            Ok(PlacedRules { service, rules: Arc::clone(rules), trie: self.trie_of(service)? })
        };
        guards.rules.iter().map(placed).collect()
    }

    /// Takes what the maps hold for what was written, so that [`Self::prepare`] and [`Self::tidy`] write the rest. Rules get
    /// tries of their own again where one is astray.
    pub(super) fn distrust(&mut self, astray: &[Astray]) {
        (self.limited, self.cookies) = (written(&self.limits), written(&self.cookie_rates));
        if astray.iter().any(|one| one.map == "rules") {
            self.tries.clear();
            self.placed.clear();
        }
    }

    fn trie_of(&self, service: u32) -> Result<Option<Trie>, DataPlaneError> {
        match self.rules.get(&service, 0) {
            Err(error) if is_absent(&error) => Ok(None),
            trie => trie.map(Some).map_err(refused("rules")),
        }
    }
}

/// The numbers under which a map is to hold something else, with both; what is not there is zero.
fn differing<T: Copy + Default + PartialEq>(
    expected: &BTreeMap<u32, T>,
    held: &BTreeMap<u32, T>,
) -> Vec<(u32, T, T)> {
    let numbers: BTreeSet<u32> = held.keys().chain(expected.keys()).copied().collect();
    let of = |values: &BTreeMap<u32, T>, number| values.get(number).copied().unwrap_or_default();
    let both = numbers.iter().map(|number| (*number, of(expected, number), of(held, number)));
    both.filter(|(_, expected, found)| expected != found).collect()
}

fn rate_word(rate: Rate) -> String {
    let Rate { interval_ns, burst_ns } = rate;
    if rate.is_bounded() {
        format!("one in {interval_ns} ns, {burst_ns} ns ahead")
    } else {
        "none".to_owned()
    }
}

fn limit_word(limit: Limit) -> String {
    format!("at most {} flows (0: any), new ones: {}", limit.connections, rate_word(limit.new))
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
    let (bits, data) = parts(prefix);
    Key::new(bits, data)
}

/// The length of a prefix, and the rest of it.
fn parts(prefix: &Prefix) -> (u32, [u8; PREFIX_DATA]) {
    let bytes = bytemuck::bytes_of(prefix);
    (prefix.bits, bytes[size_of::<u32>()..].try_into().expect("what follows the length"))
}
