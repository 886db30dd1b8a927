//! Congestion notification across tunnels (RFC 6040).

/// Not capable of saying so.
const NOT_ECT: u8 = 0;
/// Capable, and of the newer kind (RFC 8311).
const ECT_1: u8 = 1;
/// Capable.
const ECT_0: u8 = 2;
/// Congestion experienced.
const CE: u8 = 3;

/// The traffic class that a packet comes out of a tunnel with (RFC 6040 section 4.2, figure 4), from its own and that of
/// the outer header. `None`: it met congestion and cannot say so, so it has to be dropped.
#[must_use]
#[inline]
pub const fn decapsulated(inner: u8, outer: u8) -> Option<u8> {
    let dscp = inner & !3;
    match (inner & 3, outer & 3) {
        (NOT_ECT, CE) => None,
        (NOT_ECT | CE, _) => Some(inner),
        (_, CE) => Some(dscp | CE),
        (ECT_0, ECT_1) => Some(dscp | ECT_1),
        _ => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_comes_out_as_the_standard_says() {
        // By the inner packet: what comes out where the outer header has Not-ECT, ECT(1), ECT(0), CE.
        let table = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_1), Some(ECT_0), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE); 4]),
        ];
        for (inner, row) in table {
            for (outer, out) in (0..4).zip(row) {
                let dscp = 0xb8;
                assert_eq!(
                    decapsulated(dscp | inner, outer),
                    out.map(|ecn| dscp | ecn),
                    "{inner} in {outer}"
                );
            }
        }
    }
}
