//! ICMP to a VIP.

use lb_common::counter::Reason::OtherProtocol;
use lb_tests::packet::{ICMP, Packet};

use crate::{case::Case, scenes::IPIP_V4};

const ICMP_V6: u8 = 58;

pub fn cases() -> Vec<Case> {
    let message = |kind| Packet {
        protocol: ICMP,
        payload: [&[kind, 0, 0, 0][..], &[0; 36]].concat(),
        ..Packet::default()
    };
    let message_v6 = |kind| Packet {
        protocol: ICMP_V6,
        payload: [&[kind, 0, 0, 0][..], &[0; 36]].concat(),
        ..Packet::v6()
    };
    vec![
        IPIP_V4.passes("redirect", message(5), OtherProtocol),
        IPIP_V4.passes("router advertisement", message(9), OtherProtocol),
        IPIP_V4.passes("timestamp request", message(13), OtherProtocol),
        IPIP_V4.passes("address mask request", message(17), OtherProtocol),
        IPIP_V4.passes("echo reply", message(0), OtherProtocol),
        IPIP_V4.passes("ICMPv6 router solicitation", message_v6(133), OtherProtocol),
        IPIP_V4.passes("ICMPv6 neighbour solicitation", message_v6(135), OtherProtocol),
        IPIP_V4.passes("ICMPv6 neighbour advertisement", message_v6(136), OtherProtocol),
        IPIP_V4.passes("ICMPv6 multicast listener query", message_v6(130), OtherProtocol),
        IPIP_V4.passes("ICMPv6 echo reply", message_v6(129), OtherProtocol),
    ]
}
