//! The maps, and the constants that the daemon sets. Sizes here are placeholders: the daemon sets each from the configuration's
//! limits when it loads the object. What is in them is taken as `read.rs` has it.
//!
//! The tables are plain arrays that the daemon maps into its memory (`BPF_F_MMAPABLE`, kernel 5.5): it changes them
//! without a system call, and the JIT inlines their lookup.

mod read;

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
    macros::btf_map,
};
use lb_common::{
    address::Address,
    backend::Backend,
    budget::{Budget, Kind},
    capture::{Choice, Untold},
    connection::Connection,
    control::Control,
    cookie::{Splice, State},
    counter::{Reason, Traffic},
    flow::Flow,
    fragment::{FragmentKey, Fragmented},
    guard::{Limit, Load, PREFIX_DATA, Rate, Refusals, Source},
    hash::{HashKey, MAX_WORDS},
    nat::{Half, Pool},
    passive::Signs,
    policy::Policy,
    quic::{Server, ServerKey},
    service::{Bucket, Service},
    slot::Line,
};

pub use self::read::{
    ConstantKey, Features, IndexKey, admits, awaits_cookie, backend_admits, captured, connection,
    cookie_work, count, count_flows, count_opened, count_refusal, error_flow, first_fragment, index_entry,
    nat_work, note_error_flow, note_first_fragment, now_coarse_ns, now_ns, rule, server, service_admits,
    session, slot, source_admits, splice, table, tell, told, untold, uses, wants_cookie,
};
use crate::{capture::Captured, cookie, nat::Work};

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

/// Halves of translated flows that were seen to go on. Sized by the limits where addresses are translated.
#[btf_map(name = "nat_sessions")]
pub static NAT_SESSIONS: HashMap<Flow, Half, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Those of others. Sized likewise.
#[btf_map(name = "nat_openings")]
pub static NAT_OPENINGS: LruHashMap<Flow, Half, 1> = LruHashMap::new();

/// What translated flows are given addresses and ports of: of IPv4, of IPv6.
#[btf_map(name = "nat_pools")]
pub static NAT_POOLS: Array<Pool, 2> = Array::new();

/// What the functions that translate leave for each other.
#[btf_map(name = "nat_work")]
pub static NAT_WORK: PerCpuArray<Work, 1> = PerCpuArray::new();

/// The flow that an ICMP error is about, while this CPU looks for its backend.
#[btf_map(name = "error_flow")]
pub static ERROR_FLOW: PerCpuArray<Flow, 1> = PerCpuArray::new();

/// How often what has a rate may be done.
#[btf_map(name = "budgets")]
pub static BUDGETS: PerCpuArray<Budget, { Kind::COUNT }> = PerCpuArray::new();

/// Flows of moved slots that went on, each a `Tracked`, for the other balancers. The map's own type of values is of
/// size zero, which libbpf insists on for a ring buffer.
#[btf_map(name = "news")]
pub static NEWS: RingBuf<(), 4096> = RingBuf::new();

/// Packets that are shown to an operator, each a `Record` with what is kept of its bytes. Sized where somebody looks.
#[btf_map(name = "captures")]
pub static CAPTURES: RingBuf<(), 4096> = RingBuf::new();

/// Which packets those are.
#[btf_map(name = "capture_choice")]
pub static CAPTURE_CHOICE: Array<Choice, 1> = Array::new();

/// A record while it is made.
#[btf_map(name = "capture_work")]
pub static CAPTURE_WORK: PerCpuArray<Captured, 1> = PerCpuArray::new();

/// What could not be told of.
#[btf_map(name = "capture_untold")]
pub static CAPTURE_UNTOLD: PerCpuArray<Untold, 1> = PerCpuArray::new();

/// What the lists of a service say of sources, by the service's number: `Rule` of the longest prefix.
#[btf_map(name = "rules")]
pub static RULES: ArrayOfMaps<LpmTrie<[u8; PREFIX_DATA], u32, 1>, 1> = ArrayOfMaps::new();

/// When each source may open its next flow.
#[btf_map(name = "sources")]
pub static SOURCES: LruHashMap<Source, u64, 1> = LruHashMap::new();

/// When each service may be asked for the next flow.
#[btf_map(name = "service_rates")]
pub static SERVICE_RATES: Array<u64, 1> = Array::new();

/// What backends may be given.
#[btf_map(name = "backend_limits")]
pub static BACKEND_LIMITS: Array<Limit, 1, MMAPABLE> = Array::new();

/// What those with a limit have.
#[btf_map(name = "backend_loads")]
pub static BACKEND_LOADS: Array<Load, 1, MMAPABLE> = Array::new();

/// How flows open with backends. Sized by the limits where a service asks for it.
#[btf_map(name = "signs")]
pub static SIGNS: PerCpuArray<Signs, 1> = PerCpuArray::new();

/// How often each service may be asked for connections before SYNs are answered with cookies.
#[btf_map(name = "cookie_rates")]
pub static COOKIE_RATES: Array<Rate, 1, MMAPABLE> = Array::new();

/// How often it is.
#[btf_map(name = "cookie_states")]
pub static COOKIE_STATES: Array<State, 1, MMAPABLE> = Array::new();

/// Connections that cookies have opened, by the 5-tuple of their clients' packets. Sized by the limits where cookies are
/// sent.
#[btf_map(name = "nat_splices")]
pub static NAT_SPLICES: LruHashMap<Flow, Splice, 1> = LruHashMap::new();

/// What the functions that deal with cookies leave for each other.
#[btf_map(name = "cookie_work")]
pub static COOKIE_WORK: PerCpuArray<cookie::Work, 1> = PerCpuArray::new();

/// Packets that were refused, per service.
#[btf_map(name = "refusals")]
pub static REFUSALS: PerCpuArray<Refusals, 1> = PerCpuArray::new();

/// Forwarded packets per service.
#[btf_map(name = "service_counters")]
pub static SERVICE_COUNTERS: PerCpuArray<Traffic, 1> = PerCpuArray::new();

/// Forwarded packets per backend.
#[btf_map(name = "backend_counters")]
pub static BACKEND_COUNTERS: PerCpuArray<Traffic, 1> = PerCpuArray::new();

/// Flows that were opened, per service.
#[btf_map(name = "service_opened")]
pub static SERVICE_OPENED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Flows that were opened, per backend.
#[btf_map(name = "backend_opened")]
pub static BACKEND_OPENED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// All packets, by what became of them.
#[btf_map(name = "reasons")]
pub static REASONS: PerCpuArray<Traffic, { Reason::COUNT }> = PerCpuArray::new();

/// What the maps say of themselves, for the daemon alone.
#[btf_map(name = "control")]
pub static CONTROL: Array<Control, 1> = Array::new();

/// The program that gets what passes; empty: none.
#[btf_map(name = "next_program")]
pub static NEXT_PROGRAM: ProgramArray<1> = ProgramArray::new();

/// VIPs whose tunnelled packets a backend takes in; the value is unused.
#[btf_map(name = "decap_vips")]
pub static DECAP_VIPS: HashMap<Address, u8, 256> = HashMap::new();

/// The backends that are probed by the path of traffic, by the number in a probe's mark.
#[btf_map(name = "ways")]
pub static WAYS: Array<Backend, 1, MMAPABLE> = Array::new();

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

/// UDP port that a backend takes tunnelled packets in by, host byte order; 0: none.
#[unsafe(no_mangle)]
pub static GUE_PORT: Global<u32> = Global::new(0);

/// Bits above the number in the mark of every probe.
#[unsafe(no_mangle)]
pub static PROBE_MARK: Global<u32> = Global::new(0);

/// Key of the flow hash.
#[unsafe(no_mangle)]
pub static FLOW_KEY: Global<HashKey> = Global::new(HashKey([0; MAX_WORDS + 1]));

/// Key of the service index.
#[unsafe(no_mangle)]
pub static INDEX_KEY: Global<HashKey> = Global::new(HashKey([0; MAX_WORDS + 1]));

/// Its [`KeyWords::ipv4_start`].
#[unsafe(no_mangle)]
pub static INDEX_IPV4_START: Global<u64> = Global::new(0);
