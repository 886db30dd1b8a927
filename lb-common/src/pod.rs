//! Layout assertions: what the kernel, the XDP programs and the daemon must agree on, checked when either is
//! compiled. `bytemuck`'s derives already refuse implicit padding.

use core::mem::{align_of, offset_of, size_of};

use crate::{
    backend::Backend,
    budget::Budget,
    connection::{Connection, Tracked},
    control::Control,
    counter::Traffic,
    flow::Flow,
    fragment::{FragmentKey, Fragmented},
    guard::{Guard, Limit, Load, Prefix, Refusals, Source},
    nat::{Half, Pool, Way},
    policy::Policy,
    quic::{Quic, Server, ServerId, ServerKey},
    service::{Bucket, Service, ServiceKey, TableRef},
    slot::{Line, Slot},
};

const _: () = {
    assert!(size_of::<Service>() == 64);
    assert!(size_of::<ServiceKey>() == 24);
    assert!(size_of::<TableRef>() == 8 && align_of::<TableRef>() == 8);
    assert!(offset_of!(Service, table).is_multiple_of(8));
    assert!(offset_of!(Service, previous_table).is_multiple_of(8));
    assert!(size_of::<Policy>().is_multiple_of(8));
    assert!(size_of::<Guard>() == 40);
    assert!(size_of::<Limit>() == 24 && size_of::<Load>() == 16);
    assert!(size_of::<Prefix>() == 24 && align_of::<Prefix>() == 8);
    assert!(size_of::<Source>() == 24 && size_of::<Refusals>() == 48);
    assert!(size_of::<Quic>() == 8);
    assert!(size_of::<ServerId>() == 16 && size_of::<ServerKey>() == 24);
    assert!(size_of::<Server>() == 16);
    assert!(size_of::<Backend>() == 64);
    // The next hop's MAC address stays within one aligned word, so that it is replaced whole.
    assert!(offset_of!(Backend, next_hop_mac) / 8 == (offset_of!(Backend, next_hop_mac) + 5) / 8);
    // Together they are what a frame begins with, and are copied as that.
    assert!(offset_of!(Backend, next_hop_mac).is_multiple_of(8));
    assert!(offset_of!(Backend, source_mac) == offset_of!(Backend, next_hop_mac) + 6);
    assert!(size_of::<Half>() == 80 && size_of::<Way>() == 24 && size_of::<Pool>() == 264);
    assert!(size_of::<Bucket>() == 32);
    assert!(size_of::<Flow>() == 40);
    assert!(size_of::<FragmentKey>() == 40 && size_of::<Fragmented>() == 16);
    assert!(size_of::<Connection>() == 16);
    assert!(size_of::<Tracked>() == 56);
    assert!(size_of::<Budget>() == 16);
    assert!(size_of::<Control>() == 16);
    assert!(size_of::<Traffic>() == 16);
    assert!(size_of::<Slot>() == 4);
    assert!(size_of::<Line>() == 64);
};
