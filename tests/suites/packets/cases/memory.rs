//! Flows that are remembered, or cannot be.

use lb_common::counter::Reason::NotRemembered;
use lb_tests::packet::{Packet, UDP};

use crate::{
    case::Case,
    expected::l2,
    scenes::{ALWAYS, DRAINED, V4, ip},
};

fn syn(source_port: u16) -> Packet {
    Packet { source_port, ..Packet::default() }
}

fn ack(source_port: u16) -> Packet {
    Packet { syn: false, ack: true, ..syn(source_port) }
}

pub fn cases() -> Vec<Case> {
    let (old, udp) = (ack(11), Packet { protocol: UDP, ..syn(12) });
    let (seen, reopened) = (ack(13), syn(14));
    vec![
        DRAINED
            .drops("a SYN that cannot be remembered, its slot drained", syn(10), NotRemembered)
            .after(syn(8))
            .after(syn(9)),
        DRAINED.sends("an old flow needs no entry", &old, l2(&old, ip(V4))),
        ALWAYS.sends("a datagram of a flow that is remembered", &udp, l2(&udp, ip(V4))).after(&udp),
        ALWAYS.sends("the second packet of a connection", &seen, l2(&seen, ip(V4))).after(syn(13)),
        ALWAYS.sends("a connection that is opened again", &reopened, l2(&reopened, ip(V4))).after(&reopened),
    ]
}
