//! Flows of moved slots that went on, as the program tells of them.
//!
//! They come through a ring buffer, of which each program that is loaded has one of its own. Nobody is woken by it: who
//! wants them looks now and then, and so gets many at once. What is not fetched in time is lost, and told by the next
//! sweep.

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use lb_common::connection::Tracked;

/// The reading end of a ring.
pub(super) struct News {
    ring: Option<RingBuf<MapData>>,
}

impl News {
    /// Takes the ring of an object.
    pub(super) fn of(ebpf: &mut Ebpf) -> Self {
        Self { ring: ebpf.take_map("news").and_then(|map| RingBuf::try_from(map).ok()) }
    }

    /// The flows that were told since the last time, at most `most`.
    pub(super) fn take(&mut self, most: usize) -> Vec<Tracked> {
        let mut flows = Vec::new();
        let Some(ring) = &mut self.ring else { return flows };
        while flows.len() < most
            && let Some(record) = ring.next()
        {
            flows.extend(bytemuck::try_pod_read_unaligned::<Tracked>(&record).ok());
        }
        flows
    }
}
