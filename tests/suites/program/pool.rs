//! Loaded programs that are used again: the verifier takes its time for each, and most cases want the same one.
//!
//! Whoever gets one cannot tell that it was used: every map that its program knows is as the kernel makes it.

use std::{
    io, mem,
    ops::{Deref, DerefMut},
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use aya::{
    maps::{MapFd, MapInfo, MapType},
    util::nr_cpus,
};
use lb_common::hash::Seed;
use sluice::{
    config::{Config, Limits},
    dataplane::{DataPlane as _, ebpf::EbpfDataPlane, load::Knobs},
    plan::guards::Guards,
    reconcile::Op,
};

/// How many wait to be used again. Their maps take some 50 MB each.
const MOST: usize = 8;

/// Those that nobody uses, the one that was used last behind the others.
static IDLE: Mutex<Vec<(Kind, EbpfDataPlane)>> = Mutex::new(Vec::new());

/// What a program is specialised for, and its maps sized by.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    features: u32,
    limits: Limits,
    seed: Seed,
}

/// A data plane that goes back when its user has done with it.
pub struct Pooled {
    kind: Kind,
    dataplane: Option<EbpfDataPlane>,
}

impl Pooled {
    /// One whose program is loaded for `features`, with nothing in its maps.
    pub fn get(config: &Config, features: u32) -> Self {
        let kind = Kind { features, limits: config.limits, seed: config.fleet.seed };
        let idle = idle(&kind).map(|mut dataplane| {
            clear(&mut dataplane, &kind.limits);
            dataplane
        });
        Self { kind, dataplane: Some(idle.unwrap_or_else(|| kind.load())) }
    }
}

impl Deref for Pooled {
    type Target = EbpfDataPlane;

    fn deref(&self) -> &EbpfDataPlane {
        self.dataplane.as_ref().expect("it is there until the end")
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut EbpfDataPlane {
        self.dataplane.as_mut().expect("it is there until the end")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(dataplane) = self.dataplane.take() else { return };
        if thread::panicking() || dataplane.next().is_some() || dataplane.capture().is_some() {
            return;
        }
        let mut pool = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        pool.push((self.kind, dataplane));
        let oldest = (pool.len() > MOST).then(|| pool.remove(0));
        drop(pool);
        // While nobody waits for the pool.
        drop(oldest);
    }
}

impl Kind {
    fn load(&self) -> EbpfDataPlane {
        let knobs = Knobs { limits: &self.limits, seed: &self.seed, features: self.features };
        EbpfDataPlane::load(knobs, None).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn idle(kind: &Kind) -> Option<EbpfDataPlane> {
    let mut pool = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let at = pool.iter().rposition(|(idle, _)| idle == kind)?;
    Some(pool.remove(at).1)
}

/// Makes a data plane what it was when it was loaded: first what it knows itself, by its own means, with the maps that its
/// program does not have; then the maps that its program has, whatever is in them.
fn clear(dataplane: &mut EbpfDataPlane, limits: &Limits) {
    let named = dataplane.server_ids().expect("the map is read");
    let named = named.into_iter().map(|(key, _)| Op::ClearServerId { service: key.service, id: key.id });
    let services = (0..limits.services).map(|id| Op::ClearService { id });
    let backends = Op::ClearBackends { first: 0, count: limits.backends };
    let ops: Vec<_> = named.chain(services).chain([backends]).collect();
    dataplane.follow(&ops, &Guards::default()).expect("the kernel takes the guards");
    let program = dataplane.program().unwrap_or_else(|error| panic!("{error}"));
    let maps = program.info().and_then(|info| info.map_ids()).expect("the kernel tells");
    for id in maps.expect("a kernel that tells of maps") {
        let map = MapInfo::from_id(id).expect("the map is there");
        clear_map(&map).unwrap_or_else(|error| panic!("{:?}: {error}", map.name_as_str()));
    }
    dataplane.news(usize::MAX);
    dataplane.sweep(Duration::ZERO, &|_| None).expect("the maps are read");
}

fn clear_map(info: &MapInfo) -> io::Result<()> {
    /// The program cannot write it: its constants.
    const BPF_F_RDONLY_PROG: u32 = 1 << 7;
    let map = RawMap(info.fd().map_err(io::Error::other)?);
    let mut keys = (0..info.max_entries()).map(u32::to_ne_bytes);
    let size = info.value_size().next_multiple_of(8) as usize;
    match info.map_type().map_err(io::Error::other)? {
        MapType::Array if info.map_flags() & BPF_F_RDONLY_PROG != 0 => Ok(()),
        MapType::Array => {
            let zeros = vec![0; size];
            keys.try_for_each(|key| map.update(&key, &zeros))
        }
        MapType::PerCpuArray => {
            let zeros = vec![0; size * nr_cpus().map_err(|(_, error)| error)?];
            keys.try_for_each(|key| map.update(&key, &zeros))
        }
        MapType::ArrayOfMaps | MapType::ProgramArray => keys.try_for_each(|key| map.delete(&key)),
        MapType::Hash | MapType::LruHash => map.delete_all(info.key_size() as usize),
        // Its reader takes what is in it.
        MapType::RingBuf => Ok(()),
        other => Err(io::Error::other(format!("nobody has said how a {other:?} is cleared"))),
    }
}

/// A map whose types are not known here: keys and values are as many bytes as the kernel says.
struct RawMap(MapFd);

/// What the commands on elements are told (`union bpf_attr` of linux/bpf.h).
#[repr(C)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    /// Of the value, or of the next key.
    value: u64,
    flags: u64,
}

const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;

impl RawMap {
    fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.command(BPF_MAP_UPDATE_ELEM, key.as_ptr(), value.as_ptr())
    }

    /// Nothing happens where it is absent.
    fn delete(&self, key: &[u8]) -> io::Result<()> {
        present(self.command(BPF_MAP_DELETE_ELEM, key.as_ptr(), ptr::null())).map(drop)
    }

    fn delete_all(&self, key_size: usize) -> io::Result<()> {
        let (mut key, mut next) = (vec![0; key_size], vec![0; key_size]);
        let mut found = present(self.command(BPF_MAP_GET_NEXT_KEY, ptr::null(), key.as_mut_ptr()))?;
        while found {
            // First, since the kernel begins anew behind a key that is gone.
            found = present(self.command(BPF_MAP_GET_NEXT_KEY, key.as_ptr(), next.as_mut_ptr()))?;
            self.delete(&key)?;
            mem::swap(&mut key, &mut next);
        }
        Ok(())
    }

    fn command(&self, command: libc::c_int, key: *const u8, value: *const u8) -> io::Result<()> {
        let map = self.0.as_fd().as_raw_fd().cast_unsigned();
        let element = Element { map, pad: 0, key: key as u64, value: value as u64, flags: 0 };
        // SAFETY: the kernel reads the element, the key and the value, and writes only a next key; each is as long as the map's.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, &raw const element, size_of::<Element>()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Whether what was asked for was there.
fn present(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        result => result.map(|()| true),
    }
}
