//! Finding the service of a packet.

use lb_common::{
    address::Address,
    counter::Reason,
    flow::Flow,
    hash::KeyWords as _,
    knobs::{FEATURE_ANY_PORT, FEATURE_FRAGMENTS, FEATURE_NAT, FEATURE_PASSIVE},
    policy::{OPTION_FRAGMENTS, OPTION_NAT},
    service::{BUCKET_ENTRIES, Candidates, Service, ServiceKey},
};

use crate::{
    maps::{IndexKey, SERVICE_BUCKETS, SERVICE_INDEX, SERVICES, index_entry, uses},
    parse::Facts,
    verdict::Verdict,
};

/// A service and its number.
#[derive(Clone, Copy)]
pub struct Found {
    /// Its number, which is also that of its counter.
    pub id: u32,
    /// Its entry.
    pub service: &'static Service,
}

/// The service that a packet is for.
#[inline(always)]
pub fn service(facts: &Facts) -> Result<Found, Verdict> {
    if let Some(found) = of_flow(&facts.flow) {
        return Ok(found);
    }
    let is_reply = uses(FEATURE_NAT) && is_of_pool(&facts.flow.destination);
    Err(if is_reply { Verdict::translate() } else { Verdict::pass(Reason::NotOurs) })
}

/// The service that a flow asks for: the one with its port, otherwise the one with every port.
#[inline(always)]
pub fn of_flow(flow: &Flow) -> Option<Found> {
    let key = flow.service_key();
    if let Some(found) = find(&key) {
        return Some(found);
    }
    if uses(FEATURE_ANY_PORT) { find(&ServiceKey { port: [0, 0], ..key }) } else { None }
}

/// Whether packets are translated to an address.
#[inline(always)]
fn is_of_pool(address: &Address) -> bool {
    find(&ServiceKey::vip(*address)).is_some_and(|entry| entry.service.options & OPTION_NAT != 0)
}

/// The verdict on a packet without readable ports, if its destination is a VIP: other protocols than services have are to
/// be looked at, anything else is dropped.
#[inline(always)]
pub fn without_ports(destination: &Address, reason: Reason) -> Verdict {
    let Some(vip) = find(&ServiceKey::vip(*destination)) else {
        let is_heeded = uses(FEATURE_PASSIVE) && matches!(reason, Reason::OtherProtocol);
        return if is_heeded { Verdict::icmp_for_others() } else { Verdict::pass(Reason::NotOurs) };
    };
    match reason {
        Reason::OtherProtocol => Verdict::icmp(vip.service.options),
        Reason::Fragment if uses(FEATURE_FRAGMENTS) && vip.service.options & OPTION_FRAGMENTS != 0 => {
            Verdict::fragment()
        }
        _ => Verdict::drop(reason),
    }
}

#[inline(always)]
fn find(key: &ServiceKey) -> Option<Found> {
    let candidates = Candidates::new(IndexKey.service(key), SERVICE_BUCKETS.load());
    find_in(candidates.buckets[0], candidates, key)
        .or_else(|| find_in(candidates.buckets[1], candidates, key))
}

#[inline(always)]
fn find_in(bucket: u32, candidates: Candidates, key: &ServiceKey) -> Option<Found> {
    let bucket = SERVICE_INDEX.get(bucket)?;
    for entry in 0..BUCKET_ENTRIES {
        if let Some(id) = candidates.service_in(index_entry(bucket, entry))
            && let Some(service) = SERVICES.get(id)
            && service.key.is(key)
        {
            return Some(Found { id, service });
        }
    }
    None
}
