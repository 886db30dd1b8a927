//! How packets read the maps and constants, and what they write there: the raw pointers of this module are all here.

use core::{
    borrow::Borrow,
    ptr::{self, NonNull},
};

use aya_ebpf::{
    Global,
    btf_maps::{LruHashMap, PerCpuArray},
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_ktime_get_coarse_ns, bpf_map_lookup_elem},
    },
};
use lb_common::{
    budget::{Kind, next_due},
    capture::Untold,
    connection::Connection,
    cookie::{ALWAYS, GRAIN_NS, HOLD_NS, Splice, State},
    counter::Traffic,
    flow::Flow,
    fragment::{FragmentKey, Fragmented},
    guard::{Prefix, Rate, Refusal, Rule, Source},
    hash::{HashKey, KeyWords},
    nat::Half,
    quic::{ServerKey, USED_GRAIN_NS},
    service::{Bucket, TableRef},
    slot::{LINE, Slot},
};

use super::{
    ARENA, BACKEND_LIMITS, BACKEND_LOADS, BACKEND_OPENED, BUDGETS, CAPTURE_UNTOLD, CAPTURE_WORK,
    COOKIE_RATES, COOKIE_STATES, COOKIE_WORK, ERROR_FLOW, FEATURES, FRAGMENTS, INDEX_IPV4_START, INDEX_KEY,
    NAT_OPENINGS, NAT_SESSIONS, NAT_SPLICES, NAT_WORK, REFUSALS, RULES, SERVER_IDS, SERVICE_OPENED,
    SERVICE_RATES, SOURCES,
};
use crate::{atomic::Word, capture::Captured, cookie, nat::Work};

/// What the configuration makes use of, loaded once for several questions. The verifier removes the branches where the
/// answer is no, but not the load.
#[derive(Clone, Copy)]
pub struct Features(u32);

impl Features {
    #[inline(always)]
    pub fn load() -> Self {
        Self(FEATURES.load())
    }

    /// Whether `feature` is in use.
    #[inline(always)]
    pub const fn include(self, feature: u32) -> bool {
        self.0 & feature != 0
    }
}

/// Whether `feature` is in use; the verifier removes the branch where it is not.
#[inline(always)]
pub fn uses(feature: u32) -> bool {
    Features::load().include(feature)
}

/// A key in `.rodata`, read word by word.
pub struct ConstantKey(pub &'static Global<HashKey>);

impl KeyWords for ConstantKey {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        let words = ptr::from_ref(self.0).cast::<u64>();
        // SAFETY: `Global` and `HashKey` are transparent over an array of more than `MAX_WORDS` words. The volatile
        // read keeps the compiler from taking the initial value, which the loader replaces.
        unsafe { ptr::read_volatile(words.add(index)) }
    }
}

/// [`INDEX_KEY`], with what it begins with for IPv4.
pub struct IndexKey;

impl KeyWords for IndexKey {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        ConstantKey(&INDEX_KEY).word(index)
    }

    #[inline(always)]
    fn ipv4_start(&self) -> u64 {
        INDEX_IPV4_START.load()
    }
}

/// The word that describes a table, read whole.
#[inline(always)]
pub fn table(reference: &TableRef) -> TableRef {
    let word = ptr::from_ref(reference).cast::<u64>();
    // SAFETY: `TableRef` is eight bytes, aligned to eight. Volatile, since the daemon replaces it at any time.
    TableRef::from_word(unsafe { ptr::read_volatile(word) })
}

/// One index entry, read whole.
#[inline(always)]
pub fn index_entry(bucket: &Bucket, entry: usize) -> u64 {
    // SAFETY: a reference is valid; volatile for the same reason.
    unsafe { ptr::read_volatile(&raw const bucket.entries[entry]) }
}

/// One slot, read whole.
#[inline(always)]
pub fn slot(index: u32) -> Option<Slot> {
    let line = ARENA.get(index / LINE as u32)?;
    // SAFETY: within the line, and a reference is valid; volatile for the same reason.
    Some(Slot(unsafe {
        ptr::read_volatile((&raw const line.slots).cast::<u32>().add(index as usize % LINE))
    }))
}

/// What `table` remembers of a flow, which is best taken by value: its address goes to a helper, so it has to lie in
/// memory, and a reference would put every packet's flow there, also where nothing is looked up.
#[inline(always)]
pub fn connection<const N: usize>(
    table: &LruHashMap<Flow, Connection, N>,
    flow: impl Borrow<Flow>,
) -> Option<&'static mut Connection> {
    let entry = NonNull::new(table.get_ptr_mut(flow)?)?;
    // SAFETY: values of a preallocated LRU hash are never freed. An entry that is evicted meanwhile may be filled for
    // another flow, so what is read may be another flow's; the fields are plain numbers and are checked against use.
    Some(unsafe { &mut *entry.as_ptr() })
}

/// This CPU's [`Work`].
#[inline(always)]
pub fn nat_work() -> Option<&'static mut Work> {
    let work = NonNull::new(NAT_WORK.get_ptr_mut(0)?)?;
    // SAFETY: this CPU's own value, and a program is not interrupted by another one on the same CPU and map. Whoever asks
    // has given it up before it calls a function that asks.
    Some(unsafe { &mut *work.as_ptr() })
}

/// The record that this CPU makes.
#[inline(always)]
pub fn captured() -> Option<&'static mut Captured> {
    let work = NonNull::new(CAPTURE_WORK.get_ptr_mut(0)?)?;
    // SAFETY: as for [`nat_work`].
    Some(unsafe { &mut *work.as_ptr() })
}

/// What this CPU could not tell of.
#[inline(always)]
pub fn untold() -> Option<&'static mut Untold> {
    let untold = NonNull::new(CAPTURE_UNTOLD.get_ptr_mut(0)?)?;
    // SAFETY: as for [`nat_work`].
    Some(unsafe { &mut *untold.as_ptr() })
}

/// The half of a translated flow whose packets arrive so, and whether it was seen to go on.
#[inline(always)]
pub fn session(flow: &Flow) -> Option<(&'static mut Half, bool)> {
    let (half, went_on) = match NAT_SESSIONS.get_ptr_mut(flow) {
        Some(half) => (half, true),
        None => (NAT_OPENINGS.get_ptr_mut(flow)?, false),
    };
    let half = NonNull::new(half)?;
    // SAFETY: a value that a program sees is not unmapped while it runs. One that is deleted meanwhile may be filled for
    // another flow, which then has a time that is its own as well, and this packet goes where that flow's go.
    Some((unsafe { &mut *half.as_ptr() }, went_on))
}

/// This CPU's [`cookie::Work`].
#[inline(always)]
pub fn cookie_work() -> Option<&'static mut cookie::Work> {
    let work = NonNull::new(COOKIE_WORK.get_ptr_mut(0)?)?;
    // SAFETY: as for `nat_work`.
    Some(unsafe { &mut *work.as_ptr() })
}

/// What is remembered of a connection that a cookie has opened.
#[inline(always)]
pub fn splice(client: &Flow) -> Option<&'static mut Splice> {
    let splice = NonNull::new(NAT_SPLICES.get_ptr_mut(client)?)?;
    // SAFETY: values of a preallocated LRU hash are never freed. One that is evicted meanwhile may be filled for another
    // connection, whose numbers this packet then gets: its receiver drops it.
    Some(unsafe { &mut *splice.as_ptr() })
}

/// What a backend's answer has told, read whole.
#[inline(always)]
pub fn told(splice: &Splice) -> u64 {
    // SAFETY: a reference is valid; volatile, since another CPU writes it.
    unsafe { ptr::read_volatile(&raw const splice.told) }
}

/// Notes what a backend's answer has told, whole.
#[inline(always)]
pub fn tell(splice: &mut Splice, told: u64) {
    // SAFETY: as above.
    unsafe { ptr::write_volatile(&raw mut splice.told, told) }
}

/// Whether a SYN for a service is to be answered with a cookie.
#[inline(always)]
pub fn wants_cookie(service: u32, now_ns: u64) -> bool {
    let (Some(&rate), Some(state)) = (COOKIE_RATES.get(service), COOKIE_STATES.get_ptr_mut(service)) else {
        return false;
    };
    if !rate.is_bounded() {
        return false;
    }
    // SAFETY: a lookup gives a valid pointer; volatile, since other CPUs change it.
    let until_ns = unsafe { ptr::read_volatile(&raw const (*state).until_ns) };
    // SAFETY: as above.
    let is_exceeded =
        rate == ALWAYS || take(unsafe { &raw mut (*state).due_ns }, rate, now_ns) == Some(false);
    if is_exceeded && until_ns < now_ns.wrapping_add(HOLD_NS - GRAIN_NS) {
        // SAFETY: as above.
        unsafe { ptr::write_volatile(&raw mut (*state).until_ns, now_ns.wrapping_add(HOLD_NS)) };
    }
    is_exceeded || now_ns < until_ns
}

/// Whether somebody may still have a cookie of a service.
#[inline(always)]
pub fn awaits_cookie(service: u32) -> bool {
    let Some(state) = COOKIE_STATES.get_ptr_mut(service) else { return false };
    // SAFETY: as above.
    let until_ns = unsafe { ptr::read_volatile(&raw const (*state).until_ns) };
    State { due_ns: 0, until_ns }.is_awaited(now_coarse_ns())
}

/// The index of the backend that has a server id, which is noted as used. The key is taken by value for the same reason.
#[inline(always)]
pub fn server(key: ServerKey) -> Option<u16> {
    let server = NonNull::new(SERVER_IDS.get_ptr_mut(key)?)?.as_ptr();
    let now_ns = now_coarse_ns();
    // SAFETY: values that programs see are freed after a grace period. All CPUs write the time, each as one word.
    unsafe {
        if now_ns.wrapping_sub((*server).used_ns) > USED_GRAIN_NS {
            ptr::write_volatile(&raw mut (*server).used_ns, now_ns);
        }
        Some((*server).backend)
    }
}

/// Notes the flow that an ICMP error is about.
#[inline(always)]
pub fn note_error_flow(flow: Flow) -> bool {
    let Some(noted) = ERROR_FLOW.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's own value, and a program is not interrupted by another one on the same CPU and map.
    unsafe { *noted = flow };
    true
}

/// The flow that was noted last.
#[inline(always)]
pub fn error_flow() -> Option<&'static Flow> {
    ERROR_FLOW.get(0)
}

/// What is remembered of a packet's first fragment.
#[inline(always)]
pub fn first_fragment(key: FragmentKey) -> Option<Fragmented> {
    let first = NonNull::new(FRAGMENTS.get_ptr_mut(key)?)?;
    // SAFETY: values of a preallocated LRU hash are never freed. What is read of one that is evicted meanwhile are the
    // ports of another packet.
    Some(unsafe { *first.as_ptr() })
}

/// Remembers a packet's first fragment. Where that fails, the others are as good as lost.
#[inline(always)]
pub fn note_first_fragment(key: FragmentKey, first: Fragmented) {
    let _ = FRAGMENTS.insert(key, first, 0);
}

/// The time as of the last tick, `CLOCK_MONOTONIC` nanoseconds; cheaper than to the nanosecond.
#[inline(always)]
pub fn now_coarse_ns() -> u64 {
    // SAFETY: reads the clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Whether this CPU may do another one of a kind, where one every `interval_ns` may be done.
#[inline(always)]
pub fn admits(kind: Kind, now_ns: u64, interval_ns: u64) -> bool {
    let Some(budget) = BUDGETS.get_ptr_mut(kind as u32) else { return false };
    // SAFETY: this CPU's own value, and a program is not interrupted by another one on the same CPU and map.
    unsafe { &mut *budget }.admits(now_ns, interval_ns)
}

/// What a service's lists say of a source: a [`Rule`]. Without any it may come.
#[inline(always)]
pub fn rule(service: u32, source: Prefix) -> u32 {
    let Some(trie) = RULES.get(service) else { return Rule::Pass as u32 };
    // SAFETY: the kernel gives a map, and `Prefix` is laid out as its key. Not by way of the trie's own key, which is
    // packed: the verifier refuses what is stored to the stack misaligned.
    let rule =
        unsafe { bpf_map_lookup_elem(ptr::from_ref(trie).cast_mut().cast(), ptr::from_ref(&source).cast()) };
    // SAFETY: a value of the trie, which is not freed before the program has ended.
    unsafe { rule.cast::<u32>().as_ref() }.copied().unwrap_or(Rule::Pass as u32)
}

/// Whether a source may open another flow. One that is not known yet begins anew on each CPU that meets it at once.
#[inline(always)]
pub fn source_admits(source: Source, rate: Rate, now_ns: u64) -> bool {
    if let Some(admits) = SOURCES.get_ptr_mut(source).and_then(|due_ns| take(due_ns, rate, now_ns)) {
        return admits;
    }
    // One that finds no room is not bounded.
    let _ = SOURCES.insert(source, now_ns.wrapping_add(rate.interval_ns), 0);
    true
}

/// Whether a service may be asked for another flow.
#[inline(always)]
pub fn service_admits(service: u32, rate: Rate, now_ns: u64) -> bool {
    SERVICE_RATES.get_ptr_mut(service).and_then(|due_ns| take(due_ns, rate, now_ns)).unwrap_or(true)
}

/// Whether a backend may be given another flow, by its number. A global function: see [`crate::guard`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn backend_admits(id: u32, now_ns: u64) -> bool {
    let (Some(limit), Some(load)) = (BACKEND_LIMITS.get(id), BACKEND_LOADS.get_ptr_mut(id)) else {
        return true;
    };
    // SAFETY: a lookup gives a valid pointer; volatile, since other CPUs change it.
    let flows = unsafe { ptr::read_volatile(&raw const (*load).flows) };
    if limit.connections != 0 && flows >= i64::from(limit.connections) {
        return false;
    }
    // SAFETY: as above.
    !limit.new.is_bounded() || take(unsafe { &raw mut (*load).due_ns }, limit.new, now_ns).unwrap_or(true)
}

/// Adds to the flows that a backend has.
#[inline(always)]
pub fn count_flows(id: u32, flows: i64) {
    let Some(load) = BACKEND_LOADS.get_ptr_mut(id) else { return };
    // SAFETY: a lookup gives a valid pointer, its fields are aligned, and everybody adds to this one.
    unsafe { Word::new((&raw mut (*load).flows).cast()) }.add(flows as u64);
}

/// How often a rate is tried to be taken from while other CPUs take from it. Each attempt that fails is a flow that
/// another CPU has admitted, so whoever gives up is as good as too late.
const ATTEMPTS: u32 = 4;

/// Takes one from the rate whose state is at `due_ns`; none where that is no address.
#[inline(always)]
fn take(due_ns: *mut u64, rate: Rate, now_ns: u64) -> Option<bool> {
    let due_ns = NonNull::new(due_ns)?;
    // SAFETY: a word of a map's value, aligned, and changed by everybody in this way. One that is evicted meanwhile may be
    // another source's, which loses one flow of its burst by that.
    let state = unsafe { Word::new(due_ns.as_ptr()) };
    let mut seen = state.load();
    for _ in 0..ATTEMPTS {
        let Some(next) = next_due(seen, now_ns, rate.interval_ns, rate.burst_ns) else { return Some(false) };
        match state.replace(seen, next) {
            Ok(()) => return Some(true),
            Err(other) => seen = other,
        }
    }
    Some(false)
}

/// Counts a packet that is turned away.
#[inline(always)]
pub fn count_refusal(service: u32, refusal: Refusal) {
    let Some(refusals) = REFUSALS.get_ptr_mut(service) else { return };
    // SAFETY: this CPU's own value, and a program is not interrupted by another one on the same CPU and map.
    unsafe { (*refusals).packets[refusal as usize] += 1 };
}

/// The time, `CLOCK_MONOTONIC` nanoseconds.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: reads the clock.
    unsafe { bpf_ktime_get_ns() }
}

/// Adds one packet of `bytes` to this CPU's counter. Counting never decides: a counter that is not there is left out.
#[inline(always)]
pub fn count<const N: usize>(counters: &PerCpuArray<Traffic, N>, index: u32, bytes: u64) {
    let Some(counter) = counters.get_ptr_mut(index) else { return };
    // SAFETY: this CPU's own value, and a program is not interrupted by another one on the same CPU and map.
    unsafe {
        (*counter).packets += 1;
        (*counter).bytes += bytes;
    }
}

/// Counts a flow that is opened with a backend of a service. A global function: see [`crate::guard`]. What packets that open
/// nothing carry for it is the question alone. Gives 0, since a global function has to give something.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn count_opened(service: u32, id: u32) -> u32 {
    for (counters, index) in [(&SERVICE_OPENED, service), (&BACKEND_OPENED, id)] {
        let Some(counter) = counters.get_ptr_mut(index) else { continue };
        // SAFETY: this CPU's own value, and a program is not interrupted by another one on the same CPU and map.
        unsafe { *counter += 1 };
    }
    0
}
