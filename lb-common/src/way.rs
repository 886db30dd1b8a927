//! The ways of probes to backends: which one a packet takes is told by the mark of its socket, and from there on by the
//! frame that carries it.
//!
//! ```text
//!        31            20 19                                    0
//!       +----------------+---------------------------------------+
//! mark  |  probe_mark    |  number of the way                    |
//!       +----------------+---------------------------------------+
//! ```

/// Bits of a mark that number the way; the others are the same in all.
pub const NUMBER_BITS: u32 = 20;

/// The lower bits of a mark.
pub const NUMBER_MASK: u32 = (1 << NUMBER_BITS) - 1;

/// How the addresses that stand for ways begin: locally administered, of one station.
const PREFIX: [u8; 2] = [0x02, 0x5a];

/// The MAC address that stands for the way of a mark.
#[must_use]
#[inline]
pub const fn station(mark: u32) -> [u8; 6] {
    let [a, b, c, d] = (mark & NUMBER_MASK).to_be_bytes();
    [PREFIX[0], PREFIX[1], a, b, c, d]
}

/// The number of the way that a MAC address stands for.
#[must_use]
#[inline]
pub const fn number(station: [u8; 6]) -> Option<u32> {
    let [first, second, a, b, c, d] = station;
    if first != PREFIX[0] || second != PREFIX[1] {
        return None;
    }
    Some(u32::from_be_bytes([a, b, c, d]) & NUMBER_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn station_stands_for_the_lower_bits_of_a_mark() {
        for way in [0, 1, 0x1234, NUMBER_MASK] {
            assert_eq!(number(station(0xabc0_0000 | way)), Some(way));
        }
        assert_eq!(number([0xff; 6]), None);
        assert_eq!(number([0x02, 0, 0, 0, 0, 1]), None);
    }
}
