//! What the tables and what is remembered say of a flow, computed in user space from the same maps by the same functions.
//!
//! It is asked for two things: to show the slot, and to check the program. Where more than tables decide (connection ids,
//! limits of backends, a flow that is being reset), nothing is expected.

use lb_common::{
    backend::OldFlows,
    policy::{OPTION_LIMITS, OPTION_QUIC},
    service::{Service, TableRef, Track},
    slot::{self, Slot},
};

use super::frame::FlowOf;
use crate::dataplane::shadow::{Remembered, Shadow};

/// What they say.
pub(super) struct Told {
    /// The flow's hash.
    pub(super) hash: u64,
    /// The slot's index in the table.
    pub(super) slot_index: u32,
    /// What the slot names.
    pub(super) slot: Slot,
    /// Where old flows of it are, by whichever table says so; [`slot::NONE`] where nothing does.
    pub(super) previous: u16,
    /// Whether the slot alone decides.
    pub(super) is_settled: bool,
    /// The backend's index that follows from all that; none where something else decides.
    pub(super) backend: Option<u16>,
}

/// What they say of a packet for a service, of whose flow so much is remembered.
pub(super) fn told(shadow: &Shadow, id: u32, packet: &FlowOf, remembered: &Remembered) -> Option<Told> {
    let service = shadow.service(id);
    if service.table.length == 0
        || service.key.port != [0; 2] && service.key.port != packet.flow.destination_port
    {
        return None;
    }
    let hash = shadow.hash(&packet.flow);
    let position = |table: TableRef, bits: u8| {
        let chosen = if bits == 0 { hash } else { shadow.hash(&packet.flow.chooser(bits)) };
        table.slot_of((chosen >> 32) as u32)
    };
    let at = position(service.table, service.source_bits);
    let slot = shadow.slot(at)?;
    let before = service.previous_table;
    let previous = if before.length == 0 {
        slot.previous()
    } else {
        let slot = shadow.slot(position(before, service.previous_source_bits))?;
        if slot.is_settled() { slot.current() } else { slot.previous() }
    };
    let is_settled = slot.is_settled() && before.length == 0;
    let told = Told { hash, slot_index: at - service.table.base, slot, previous, is_settled, backend: None };
    Some(Told { backend: expected(shadow, &service, &told, packet, remembered, id), ..told })
}

fn expected(
    shadow: &Shadow,
    service: &Service,
    told: &Told,
    packet: &FlowOf,
    remembered: &Remembered,
    id: u32,
) -> Option<u16> {
    if service.options & (OPTION_QUIC | OPTION_LIMITS) != 0 || !packet.is_whole {
        return None;
    }
    let of_tables = of_tables(shadow, service, told, packet, remembered, id);
    let session = remembered.half.filter(|(half, _)| half.service == id && !packet.opens);
    match session {
        // It holds for as long as its backend keeps its flows.
        Some((half, _)) if old_flows(shadow, service, half.backend) == Some(OldFlows::Keep as u8) => {
            Some(half.backend)
        }
        _ => of_tables,
    }
}

/// As `remember.rs` of the programs decides.
fn of_tables(
    shadow: &Shadow,
    service: &Service,
    told: &Told,
    packet: &FlowOf,
    remembered: &Remembered,
    id: u32,
) -> Option<u16> {
    let current = told.slot.current();
    let is_alone =
        service.track == Track::Never as u8 || service.track == Track::Moved as u8 && told.is_settled;
    if is_alone {
        return Some(current);
    }
    let entry = remembered.connection.or(remembered.opening).filter(|entry| entry.service == id);
    let stays = |index: u16| -> Option<bool> {
        if packet.opens {
            return Some(takes_new(shadow, service, index));
        }
        match old_flows(shadow, service, index)? {
            reset if reset == OldFlows::Reset as u8 => None,
            old_flows => Some(old_flows != OldFlows::Move as u8),
        }
    };
    if let Some(entry) = entry {
        return Some(if stays(entry.backend)? { entry.backend } else { current });
    }
    let is_older = !packet.opens && (service.track == Track::Moved as u8 || packet.goes_on);
    if is_older && told.previous != slot::NONE && stays(told.previous)? {
        return Some(told.previous);
    }
    Some(current)
}

fn takes_new(shadow: &Shadow, service: &Service, index: u16) -> bool {
    shadow.backend(service.first_backend + u32::from(index)).takes_new != 0
}

fn old_flows(shadow: &Shadow, service: &Service, index: u16) -> Option<u8> {
    (index != slot::NONE).then(|| shadow.backend(service.first_backend + u32::from(index)).old_flows)
}
