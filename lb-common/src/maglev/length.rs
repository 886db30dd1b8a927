//! Lengths of lookup tables. All are primes: then a walk with any skip visits every slot.

/// The length where nothing else is said.
pub const DEFAULT_LENGTH: u32 = 65_537;

/// The longest table: the largest prime below 2²⁴, 64 MiB of slots.
pub const MAX_LENGTH: u32 = 16_777_213;

/// Slots per member that bound the imbalance to one per cent (section 5.3 of the Maglev paper).
pub const SLOTS_PER_MEMBER: u32 = 100;

/// A length for so many members: the default, or as much more as the imbalance asks for.
#[must_use]
pub fn length_for(members: usize) -> u32 {
    let wanted = u32::try_from(members).unwrap_or(u32::MAX).saturating_mul(SLOTS_PER_MEMBER);
    next_prime(wanted.clamp(DEFAULT_LENGTH, MAX_LENGTH)).unwrap_or(MAX_LENGTH)
}

/// Whether `n` is a prime number. Takes time in proportion to its square root.
#[must_use]
pub fn is_prime(n: u32) -> bool {
    match n {
        0 | 1 => false,
        2 => true,
        _ => !n.is_multiple_of(2) && (3..=n.isqrt()).step_by(2).all(|divisor| !n.is_multiple_of(divisor)),
    }
}

/// The least prime that is not below `n`; `None` above 4,294,967,291.
#[must_use]
pub fn next_prime(n: u32) -> Option<u32> {
    (n..=u32::MAX).find(|&n| is_prime(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_below_fifty_are_the_known_ones() {
        let primes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47];
        assert!((0..50).filter(|&n| is_prime(n)).eq(primes));
    }

    #[test]
    fn squares_of_primes_are_not_prime() {
        assert!(!is_prime(251 * 251));
        assert!(!is_prime(65_521 * 65_521));
    }

    #[test]
    fn every_length_constant_is_prime() {
        assert!(is_prime(DEFAULT_LENGTH) && is_prime(MAX_LENGTH) && is_prime(655_373));
        assert_eq!(next_prime(MAX_LENGTH + 1), Some(16_777_259));
    }

    #[test]
    fn next_prime_ends_with_the_largest() {
        assert_eq!(next_prime(0), Some(2));
        assert_eq!(next_prime(65_536), Some(65_537));
        assert_eq!(next_prime(65_537), Some(65_537));
        assert_eq!(next_prime(4_294_967_291), Some(4_294_967_291));
        assert_eq!(next_prime(4_294_967_292), None);
    }

    #[test]
    fn length_for_many_members_is_a_hundred_times_as_long() {
        assert_eq!(length_for(0), DEFAULT_LENGTH);
        assert_eq!(length_for(655), DEFAULT_LENGTH);
        assert_eq!(length_for(1_000), 100_003);
        assert!(length_for(crate::slot::MAX_BACKENDS) >= 6_553_500);
        assert_eq!(length_for(usize::MAX), MAX_LENGTH);
    }
}
