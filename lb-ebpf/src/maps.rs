//! The maps. Sizes here are placeholders: the daemon sets each from the configuration's limits when it loads the
//! object.
//!
//! The tables are plain arrays that the daemon maps into its memory (`BPF_F_MMAPABLE`, kernel 5.5): it changes them
//! without a system call, and the JIT inlines their lookup.

use core::ptr::{self, NonNull};

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
    helpers::generated::bpf_ktime_get_coarse_ns,
    macros::btf_map,
};
use lb_common::{
    address::Address,
    backend::Backend,
    budget::{Budget, Kind},
    connection::Connection,
    control::Control,
    counter::{Reason, Traffic},
    flow::Flow,
    fragment::{FragmentKey, Fragmented},
    hash::{HashKey, KeyWords, MAX_WORDS},
    policy::Policy,
    quic::{Server, ServerKey, USED_GRAIN_NS},
    service::{Bucket, Service, TableRef},
    slot::{LINE, Line, Slot},
};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// Services, dense.
#[btf_map(name = "services")]
pub static SERVICES: Array<Service, 1, MMAPABLE> = Array::new();

/// What services ask for beyond forwarding, by the service's number.
#[btf_map(name = "policies")]
pub static POLICIES: Array<Policy, 1, MMAPABLE> = Array::new();

/// Finds a service's number from its key.
#[btf_map(name = "service_index")]
pub static SERVICE_INDEX: Array<Bucket, 1, MMAPABLE> = Array::new();

/// Backends of all services.
#[btf_map(name = "backends")]
pub static BACKENDS: Array<Backend, 1, MMAPABLE> = Array::new();

/// Slots of all lookup tables, sixteen in a value.
#[btf_map(name = "arena")]
pub static ARENA: Array<Line, 1, MMAPABLE> = Array::new();

/// Backends of flows that went on, where the hash alone does not tell.
#[btf_map(name = "connections")]
pub static CONNECTIONS: LruHashMap<Flow, Connection, 1> = LruHashMap::new();

/// Those of flows of which one packet was seen.
#[btf_map(name = "openings")]
pub static OPENINGS: LruHashMap<Flow, Connection, 1> = LruHashMap::new();

/// Finds a service's backend from the server id in a connection id. Without entries it takes next to no memory.
#[btf_map(name = "server_ids")]
pub static SERVER_IDS: HashMap<ServerKey, Server, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Ports of packets whose first fragment was seen. Sized by the limits where a service wants fragments.
#[btf_map(name = "fragments")]
pub static FRAGMENTS: LruHashMap<FragmentKey, Fragmented, 1> = LruHashMap::new();

/// How often what has a rate may be done.
#[btf_map(name = "budgets")]
pub static BUDGETS: PerCpuArray<Budget, { Kind::COUNT }> = PerCpuArray::new();

/// Flows of moved slots that went on, each a `Tracked`, for the other balancers. The map's own type of values is of
/// size zero, which libbpf insists on for a ring buffer.
#[btf_map(name = "news")]
pub static NEWS: RingBuf<(), 4096> = RingBuf::new();

/// Forwarded packets per service.
#[btf_map(name = "service_counters")]
pub static SERVICE_COUNTERS: PerCpuArray<Traffic, 1> = PerCpuArray::new();

/// Forwarded packets per backend.
#[btf_map(name = "backend_counters")]
pub static BACKEND_COUNTERS: PerCpuArray<Traffic, 1> = PerCpuArray::new();

/// All packets, by what became of them.
#[btf_map(name = "reasons")]
pub static REASONS: PerCpuArray<Traffic, { Reason::COUNT }> = PerCpuArray::new();

/// What the maps say of themselves, for the daemon alone.
#[btf_map(name = "control")]
pub static CONTROL: Array<Control, 1> = Array::new();

/// VIPs whose tunnelled packets a backend takes in; the value is unused.
#[btf_map(name = "decap_vips")]
pub static DECAP_VIPS: HashMap<Address, u8, 256> = HashMap::new();

/// Number of buckets in [`SERVICE_INDEX`].
#[unsafe(no_mangle)]
pub static SERVICE_BUCKETS: Global<u32> = Global::new(1);

/// What the configuration makes use of: `FEATURE_*` of `lb_common::knobs`.
#[unsafe(no_mangle)]
pub static FEATURES: Global<u32> = Global::new(0);

/// Nanoseconds between two entries that a CPU may make in one of the tables of flows.
#[unsafe(no_mangle)]
pub static INSERT_INTERVAL_NS: Global<u64> = Global::new(0);

/// Nanoseconds between two answers that a CPU may give.
#[unsafe(no_mangle)]
pub static ANSWER_INTERVAL_NS: Global<u64> = Global::new(0);

/// Key of the flow hash.
#[unsafe(no_mangle)]
pub static FLOW_KEY: Global<HashKey> = Global::new(HashKey([0; MAX_WORDS + 1]));

/// Key of the service index.
#[unsafe(no_mangle)]
pub static INDEX_KEY: Global<HashKey> = Global::new(HashKey([0; MAX_WORDS + 1]));

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

/// What `table` remembers of a flow, which is taken by value: its address goes to a helper, so it has to lie in memory,
/// and a reference would put every packet's flow there, also where nothing is looked up.
#[inline(always)]
pub fn connection<const N: usize>(
    table: &LruHashMap<Flow, Connection, N>,
    flow: Flow,
) -> Option<&'static mut Connection> {
    let entry = NonNull::new(table.get_ptr_mut(flow)?)?;
    // SAFETY: values of a preallocated LRU hash are never freed. An entry that is evicted meanwhile may be filled for
    // another flow, so what is read may be another flow's; the fields are plain numbers and are checked against use.
    Some(unsafe { &mut *entry.as_ptr() })
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
