//! Loading the object: specialised by constants, its maps sized by the limits, new or those that are pinned.

use std::{io, path::Path};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, Map, MapData},
    programs::{ProgramError, ProgramType, Xdp},
    sys::{BpfHelper, is_helper_supported},
};
use lb_common::{
    budget::interval_ns,
    control::{Control, EARLIER, SCHEMA},
    counter::Reason,
    hash::{KeyWords as _, Seed},
    knobs::{
        FEATURE_CAPTURE, FEATURE_COOKIES, FEATURE_FRAGMENTS, FEATURE_FRAMES, FEATURE_LIMITS, FEATURE_LISTS,
        FEATURE_MSS, FEATURE_NAT, FEATURE_NEXT, FEATURE_PASSIVE, FEATURE_PEERS, FEATURE_RATES,
        FEATURE_STRICT,
    },
    service::bucket_count,
    slot::LINE,
};

use super::{DataPlaneError, OBJECT, capture, next::NextError, pins, sessions, shadow};
use crate::config::Limits;

/// Name of the balancing program in the object: another one where anything is guarded or an MSS bounded, where SYNs are
/// answered with cookies, where what passes goes on, where frames may consist of several pieces, or where packets are shown.
#[must_use]
pub const fn balancer(features: u32) -> &'static str {
    const GUARDS: u32 = FEATURE_LISTS | FEATURE_RATES | FEATURE_LIMITS | FEATURE_MSS;
    if features & (FEATURE_FRAMES | FEATURE_CAPTURE) == FEATURE_FRAMES | FEATURE_CAPTURE {
        "sluice_captured_frames"
    } else if features & FEATURE_CAPTURE != 0 {
        "sluice_captured"
    } else if features & FEATURE_FRAMES != 0 {
        "sluice_frames"
    } else if features & FEATURE_NEXT != 0 {
        "sluice_chained"
    } else if features & FEATURE_COOKIES != 0 {
        "sluice_cookies"
    } else if features & GUARDS != 0 {
        "sluice_guarded"
    } else if features & FEATURE_STRICT != 0 {
        "sluice_strict"
    } else {
        "sluice"
    }
}

/// Bytes of the ring by which flows are told of, where they are: room for some 16,000 of them.
const RING_BYTES: u32 = 1 << 20;

/// Why the programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object or its maps were refused.
    #[error("cannot load the eBPF object: {hint}")]
    Object {
        /// What to do about it.
        hint: &'static str,
        /// What was said.
        #[source]
        source: Box<EbpfError>,
    },
    /// The object lacks a program.
    #[error("the eBPF object has no program `{0}`; rebuild with `cargo xtask build-ebpf`")]
    NoProgram(&'static str),
    /// The verifier refused a program.
    #[error("the kernel refused program `{program}` ({reason}); the verifier's last words:\n{log}")]
    Verifier {
        /// Name of the program.
        program: &'static str,
        /// What the kernel said. No source, since it stands before the log.
        reason: io::Error,
        /// Last lines of the verifier's log.
        log: String,
    },
    /// A program could not be loaded, and not because of the verifier.
    #[error("cannot load program `{program}`")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// What was said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel makes no cookies.
    #[error(
        "this kernel makes no SYN cookies for XDP programs, which need Linux 5.19 with CONFIG_SYN_COOKIES; leave \
         `syn_cookies` out"
    )]
    NoCookies,
    /// A map is not as expected.
    #[error(transparent)]
    DataPlane(#[from] DataPlaneError),
    /// What passes cannot go on to another program.
    #[error(transparent)]
    Next(#[from] NextError),
}

/// What a program is specialised for when it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Knobs<'a> {
    /// Sizes of the maps.
    pub limits: &'a Limits,
    /// Where the hash keys come from.
    pub seed: &'a Seed,
    /// `FEATURE_*` of `lb_common::knobs`.
    pub features: u32,
}

/// Why pinned maps cannot be gone on with; what is wanted gets maps of its own, and the program is swapped to them.
#[derive(Debug, thiserror::Error)]
pub enum ReuseError {
    /// Not there.
    #[error("map `{0}` is not pinned")]
    Missing(&'static str),
    /// Of a version that is not known, of another seed, or not finished.
    #[error("they are of a version of sluice that this one does not know, or keyed by another seed")]
    Signature,
    /// Of a layout before this one.
    #[error("they are of an earlier version of sluice")]
    Earlier,
    /// Of another size.
    #[error("map `{map}` has {found} entries, and the configuration asks for {wanted}")]
    Size {
        /// Name of the map.
        map: &'static str,
        /// Its size.
        found: u32,
        /// The size by the limits.
        wanted: u32,
    },
}

impl ReuseError {
    /// Whether what the maps hold means the same in this layout, and can be moved over to others.
    #[must_use]
    pub const fn is_understood(&self) -> bool {
        matches!(self, Self::Earlier | Self::Size { .. })
    }
}

/// Whether the maps pinned at `pin_path` are what `knobs` ask for.
///
/// # Errors
///
/// [`ReuseError`] says why not.
pub fn check_reuse(knobs: Knobs<'_>, pin_path: &Path) -> Result<(), ReuseError> {
    let open = |map| MapData::from_pin(pin_path.join(map)).map_err(|_| ReuseError::Missing(map));
    let control: Array<_, [u8; size_of::<Control>()]> =
        Map::Array(open("control")?).try_into().map_err(|_| ReuseError::Signature)?;
    let signed = control.get(&0, 0).map_err(|_| ReuseError::Signature)?;
    let signed: Control = bytemuck::cast(signed);
    match signature(knobs.seed) {
        ours if ours == signed => {}
        ours if (Control { schema: ours.schema, ..signed }) == ours && EARLIER.contains(&signed.schema) => {
            return Err(ReuseError::Earlier);
        }
        _ => return Err(ReuseError::Signature),
    }
    let wanted_of = sizes(knobs);
    for map in pins::MAPS {
        let opened = match open(map) {
            Err(_) if pins::ADDED.contains(&map) => return Err(ReuseError::Earlier),
            opened => opened?,
        };
        let found = opened.info().map_err(|_| ReuseError::Missing(map))?.max_entries();
        match wanted_of.iter().find(|(name, _)| *name == map) {
            Some(&(_, wanted)) if wanted != found => return Err(ReuseError::Size { map, found, wanted }),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn signature(seed: &Seed) -> Control {
    Control { schema: SCHEMA, _pad: 0, seed_fingerprint: seed.fingerprint() }
}

/// Entries of the maps whose size is a matter of configuration. Those of translated flows are of any size where there are
/// none.
fn sizes(knobs: Knobs<'_>) -> Vec<(&'static str, u32)> {
    let limits = knobs.limits;
    let mut sizes = vec![
        ("services", limits.services),
        ("policies", limits.services),
        ("service_index", bucket_count(limits.services)),
        ("backends", limits.backends),
        ("arena", limits.slots.div_ceil(LINE as u32)),
        ("connections", limits.connections),
        ("openings", limits.openings),
        ("rules", limits.services),
        ("sources", limits.sources),
        ("service_rates", limits.services),
        ("backend_limits", limits.backends),
        ("backend_loads", limits.backends),
        ("refusals", limits.services),
        ("server_ids", limits.backends),
        ("cookie_rates", limits.services),
        ("cookie_states", limits.services),
        ("service_counters", limits.services),
        ("backend_counters", limits.backends),
        ("service_opened", limits.services),
        ("backend_opened", limits.backends),
        // Not a matter of configuration, but of what this sluice knows.
        ("reasons", Reason::COUNT as u32),
    ];
    if knobs.features & FEATURE_NAT != 0 {
        sizes.extend(sessions::sizes(limits));
    }
    if knobs.features & FEATURE_COOKIES != 0 {
        sizes.push((sessions::SPLICES, limits.nat_sessions));
    }
    sizes
}

/// Loads a program of an object, once.
///
/// # Errors
///
/// [`LoadError`] where it is missing or the verifier refuses it.
pub fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, LoadError> {
    let program = ebpf.program_mut(name).ok_or(LoadError::NoProgram(name))?;
    let program: &mut Xdp = program.try_into().map_err(|_| LoadError::NoProgram(name))?;
    match program.load() {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
        Err(error) => Err(program_refused(name, error)),
    }
}

/// Not aya's error, which holds the verifier's whole log.
fn program_refused(program: &'static str, error: ProgramError) -> LoadError {
    let ProgramError::LoadError { io_error: reason, verifier_log } = error else {
        return LoadError::Program { program, source: Box::new(error) };
    };
    let log = last_lines(&verifier_log.to_string());
    if log.is_empty() {
        return LoadError::Program { program, source: Box::new(reason) };
    }
    LoadError::Verifier { program, reason, log }
}

/// Whether the kernel has what the program calls for its features.
///
/// # Errors
///
/// [`LoadError::NoCookies`].
pub(super) fn check_kernel(features: u32) -> Result<(), LoadError> {
    const NEEDED: BpfHelper = BpfHelper::BPF_FUNC_tcp_raw_check_syncookie_ipv6;
    if features & FEATURE_COOKIES == 0 {
        return Ok(());
    }
    match is_helper_supported(ProgramType::Xdp, NEEDED) {
        Ok(false) => Err(LoadError::NoCookies),
        // Whoever cannot be asked will be told by the verifier.
        Ok(true) | Err(_) => Ok(()),
    }
}

/// Whether cookies have opened connections that pinned maps still know.
#[must_use]
pub fn has_splices(pin_path: &Path) -> bool {
    sessions::pinned_splices(pin_path).is_some_and(|splices| splices.keys().next().is_some())
}

/// Which maps an object is loaded with.
#[derive(Clone, Copy)]
pub(super) enum Maps<'a> {
    /// Its own.
    New,
    /// Those that are pinned in a directory, or its own, which are pinned there.
    Pinned(&'a Path),
    /// Of those that are pinned in a directory the ones that programs only read; for the others its own ([`shadow`]).
    OfQuestions(&'a Path),
}

pub(super) fn load_object(knobs: Knobs<'_>, maps: Maps<'_>) -> Result<Ebpf, LoadError> {
    check_kernel(knobs.features)?;
    let limits = knobs.limits;
    let buckets = bucket_count(limits.services);
    let (flow_key, index_key) = (knobs.seed.flow_key().0, knobs.seed.index_key());
    let (index_key, index_ipv4_start) = (index_key.0, index_key.ipv4_start());
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
    let insert_interval_ns = interval_ns(limits.inserts, cpus);
    let answer_interval_ns = interval_ns(limits.answers, cpus);
    let frames = u32::from(knobs.features & FEATURE_FRAMES != 0);
    let mut loader = EbpfLoader::new();
    for (map, entries) in sizes(knobs) {
        loader.map_max_entries(map, entries);
    }
    if knobs.features & FEATURE_FRAGMENTS != 0 {
        loader.map_max_entries("fragments", limits.fragments);
    }
    if knobs.features & FEATURE_PASSIVE != 0 {
        loader.map_max_entries("signs", limits.backends);
    }
    if knobs.features & FEATURE_CAPTURE != 0 {
        loader.map_max_entries("captures", capture::RING_BYTES);
    }
    if knobs.features & FEATURE_PEERS != 0 {
        loader.map_max_entries("news", RING_BYTES);
    }
    loader
        .override_global("SERVICE_BUCKETS", &buckets, true)
        .override_global("FEATURES", &knobs.features, true)
        .override_global("FRAMES", &frames, true)
        .override_global("INSERT_INTERVAL_NS", &insert_interval_ns, true)
        .override_global("ANSWER_INTERVAL_NS", &answer_interval_ns, true)
        .override_global("FLOW_KEY", &flow_key, true)
        .override_global("INDEX_KEY", &index_key, true)
        .override_global("INDEX_IPV4_START", &index_ipv4_start, true);
    match maps {
        Maps::New => {}
        Maps::Pinned(pin_path) => {
            for map in pins::MAPS {
                loader.map_pin_path(map, pin_path.join(map));
            }
        }
        Maps::OfQuestions(pin_path) => {
            for map in shadow::READ {
                loader.map_pin_path(map, pin_path.join(map));
            }
            for map in shadow::SMALL {
                loader.map_max_entries(map, shadow::ENTRIES);
            }
        }
    }
    let mut ebpf = loader
        .load(OBJECT)
        .map_err(|source| LoadError::Object { hint: hint(&source), source: Box::new(source) })?;
    // Now, since a program names its maps by file descriptors, and those of mapped arrays are closed soon.
    program(&mut ebpf, balancer(knobs.features))?;
    Ok(ebpf)
}

/// What an operator can do about an object that is refused.
fn hint(error: &EbpfError) -> &'static str {
    let text = format!("{error:?}");
    if text.contains("PermissionDenied") || text.contains("Operation not permitted") {
        "permission denied; run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    } else if text.contains("OutOfMemory") || text.contains("Cannot allocate memory") {
        "out of memory for the maps; lower limits.slots, limits.backends or limits.connections"
    } else {
        "Sluice needs Linux 5.15 or later with CONFIG_BPF_SYSCALL and BTF"
    }
}

/// The end of the verifier's log, which says what it stumbled over.
fn last_lines(log: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<&str> = log.trim_end().lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
