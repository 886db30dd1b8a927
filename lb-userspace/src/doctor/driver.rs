//! Drivers, and whether they have native XDP.
//!
//! Up to Linux 6.2 nothing can be asked for that, so they are listed by name. One that is not listed is not known.

/// Drivers with native XDP, as `ethtool -i` or the bus names them.
const NATIVE: [&str; 38] = [
    "atlantic",
    "bnxt_en",
    "bonding",
    "dpaa2-eth",
    "ena",
    "fec",
    "fsl_dpaa2_eth",
    "fsl_enetc",
    "gve",
    "gvnic",
    "hv_netvsc",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "lan966x-switch",
    "mana",
    "mlx4_core",
    "mlx4_en",
    "mlx5_core",
    "mvneta",
    "mvpp2",
    "netsec",
    "nfp",
    "nicvf",
    "qede",
    "rvu_nicpf",
    "rvu_nicvf",
    "sfc",
    "stmmaceth",
    "thunder-nicvf",
    "ti-cpsw",
    "tun",
    "veth",
    "virtio_net",
    "vmxnet3",
];

/// Drivers without.
const GENERIC: [&str; 17] = [
    "8139cp",
    "8139too",
    "alx",
    "be2net",
    "bnx2",
    "bnx2x",
    "bridge",
    "cdc_ether",
    "cxgb4",
    "dummy",
    "e1000",
    "e1000e",
    "macvlan",
    "r8152",
    "r8169",
    "tg3",
    "vlan",
];

/// Whether a driver has native XDP; none where that is not known.
pub(super) fn has_native(driver: &str) -> Option<bool> {
    if NATIVE.contains(&driver) { Some(true) } else { GENERIC.contains(&driver).then_some(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_driver_is_listed_twice() {
        assert!(NATIVE.is_sorted() && GENERIC.is_sorted());
        assert!(!NATIVE.iter().any(|driver| GENERIC.contains(driver)));
        assert_eq!(
            [has_native("mlx5_core"), has_native("e1000e"), has_native("fancy")],
            [Some(true), Some(false), None]
        );
    }
}
