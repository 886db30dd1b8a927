//! What flows are translated to: the addresses and ports that new ones get, and the addresses that old ones have.

use std::{collections::BTreeSet, net::IpAddr};

use bytemuck::Zeroable as _;
use lb_common::{address::Address, nat::Pool};

use crate::config::Nat;

/// What the data plane is told of address translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// What new flows get: of IPv4, of IPv6.
    pub pools: [Pool; 2],
    /// The addresses that packets are translated for: those of the pools, and those that flows still have.
    pub addresses: BTreeSet<Address>,
}

impl Default for Translation {
    fn default() -> Self {
        Self { pools: [Pool::zeroed(); 2], addresses: BTreeSet::new() }
    }
}

impl Translation {
    /// That of a configuration, where flows have addresses `in_use`.
    pub(super) fn of(nat: Option<&Nat>, in_use: &BTreeSet<IpAddr>) -> Self {
        let own = nat.iter().flat_map(|nat| &nat.addresses);
        Self {
            pools: [true, false].map(|is_v4| nat.map_or_else(Pool::zeroed, |nat| pool(nat, is_v4))),
            addresses: own.chain(in_use).map(|&address| address.into()).collect(),
        }
    }
}

fn pool(nat: &Nat, is_v4: bool) -> Pool {
    let mut pool = Pool { first_port: *nat.ports.start(), last_port: *nat.ports.end(), ..Pool::zeroed() };
    let addresses = nat.addresses.iter().filter(|address| address.is_ipv4() == is_v4);
    for (place, &address) in pool.addresses.iter_mut().zip(addresses) {
        *place = address.into();
        pool.count += 1;
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_have_the_addresses_of_their_family_and_old_ones_stay_known() {
        let addresses: Vec<IpAddr> =
            ["198.51.100.9", "2001:db8::9", "198.51.100.8"].map(|a| a.parse().unwrap()).into();
        let nat = Nat { addresses: addresses.clone(), ports: 2000..=2999 };
        let old: IpAddr = "198.51.100.7".parse().unwrap();
        let translation = Translation::of(Some(&nat), &BTreeSet::from([old, addresses[0]]));
        let [v4, v6] = translation.pools;
        assert_eq!((v4.count, v6.count), (2, 1));
        assert_eq!(v4.addresses[..2], [addresses[0].into(), addresses[2].into()]);
        assert_eq!((v6.addresses[0], v6.first_port, v6.last_port), (addresses[1].into(), 2000, 2999));
        let all: BTreeSet<Address> = addresses.into_iter().chain([old]).map(Address::from).collect();
        assert_eq!(translation.addresses, all);
    }

    #[test]
    fn without_a_pool_nothing_is_translated_but_old_flows() {
        let old: IpAddr = "198.51.100.7".parse().unwrap();
        let translation = Translation::of(None, &BTreeSet::from([old]));
        assert_eq!(translation.pools, [Pool::zeroed(); 2]);
        assert_eq!(translation.addresses, BTreeSet::from([old.into()]));
        assert_eq!(Translation::of(None, &BTreeSet::new()), Translation::default());
    }
}
