//! Counters of the program, of which every CPU has its own.

use aya::{
    Ebpf,
    maps::{MapData, MapError, PerCpuArray, PerCpuValues},
};
use lb_common::{budget::Kind, counter::Traffic};
use tracing::warn;

use super::{DataPlaneError, ebpf::take, refused};
use crate::causes::with_causes;

pub(super) type Counters = PerCpuArray<MapData, [u64; 2]>;
pub(super) type SignCounters = PerCpuArray<MapData, [u64; 4]>;

pub(super) fn counters(ebpf: &mut Ebpf, name: &'static str) -> Result<Counters, DataPlaneError> {
    PerCpuArray::try_from(take(ebpf, name)?).map_err(refused(name))
}

pub(super) fn signs(ebpf: &mut Ebpf) -> Option<SignCounters> {
    PerCpuArray::try_from(take(ebpf, "signs").ok()?).ok()
}

/// The sum over all CPUs; nothing where the counter cannot be read.
pub(super) fn total(counters: &Counters, index: u32) -> Traffic {
    let Ok(values) = counters.get(&index, 0) else { return Traffic::default() };
    values.iter().map(|&[packets, bytes]| Traffic { packets, bytes }).sum()
}

/// What a budget has refused on all CPUs. Its other word is a time.
pub(super) fn refusals(budgets: &Counters, kind: Kind) -> u64 {
    budgets.get(&(kind as u32), 0).map_or(0, |values| values.iter().map(|&[_, refused]| refused).sum())
}

/// Sets a counter to zero. One that cannot be set only counts on: no reason to stop half-way in a change.
pub(super) fn clear<const N: usize>(
    counters: &mut PerCpuArray<MapData, [u64; N]>,
    map: &'static str,
    index: u32,
) where
    [u64; N]: aya::Pod,
{
    let zeroed = counters.get(&index, 0).and_then(|values| {
        let zeros = PerCpuValues::try_from(vec![[0; N]; values.len()]).map_err(MapError::IoError)?;
        counters.set(index, zeros, 0)
    });
    if let Err(error) = zeroed {
        warn!(map, index, "a counter begins where another ended: {}", with_causes(&error));
    }
}
