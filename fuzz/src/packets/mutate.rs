//! Changes to a frame that make it another one, mostly a wrong one.

use lb_tests::random::Random;

/// The longest frame that the kernel's test run takes in one piece is somewhat more.
pub const LONGEST: usize = 3_400;
/// The shortest one is an Ethernet header.
pub const SHORTEST: usize = 14;

/// Bytes that mean something somewhere: versions and lengths of headers, protocols, flags, ends of ranges.
const BYTES: [u8; 24] = [
    0, 1, 2, 4, 5, 6, 8, 17, 41, 43, 44, 47, 58, 60, 0x45, 0x46, 0x4f, 0x50, 0x60, 0x7f, 0x80, 0xc0, 0xfe,
    0xff,
];

/// Words that mean something somewhere: `EtherType`s, ports, lengths, fragments.
const WORDS: [u16; 16] =
    [0, 1, 20, 28, 40, 80, 0x0800, 0x0806, 0x1fff, 0x2000, 0x4000, 0x8100, 0x86dd, 0x88a8, 0x7fff, 0xffff];

/// Changes the frame once.
pub fn mutate(frame: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = position(frame, random);
    match random.below(9) {
        0 => frame[at] ^= 1 << random.below(8),
        1 => frame[at] = random.pick(&BYTES),
        2 => frame[at] = random.next() as u8,
        3 => put_word(frame, at, random.pick(&WORDS)),
        4 => frame[at] = frame[at].wrapping_add(random.pick(&[1, 0xff])),
        5 => frame.truncate(SHORTEST + random.below(frame.len() - SHORTEST + 1)),
        6 => frame.resize(frame.len() + random.below(64), random.next() as u8),
        7 => graft(frame, other, random),
        _ => remove(frame, at, random),
    }
    frame.truncate(LONGEST);
    frame.resize(frame.len().max(SHORTEST), 0);
}

/// Where to change a frame: mostly among the headers.
fn position(frame: &[u8], random: &mut Random) -> usize {
    let end = if random.below(8) == 0 { frame.len() } else { frame.len().min(96) };
    random.below(end)
}

fn put_word(frame: &mut [u8], at: usize, word: u16) {
    // Words lie at even offsets, seen from the Ethernet header's end.
    if let Some(place) = frame.get_mut(at & !1..(at & !1) + 2) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}

/// Puts a part of another frame in.
fn graft(frame: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let from = random.below(other.len());
    let length = random.below((other.len() - from).min(64) + 1);
    let at = position(frame, random);
    let replaced = if random.below(2) == 0 { 0 } else { length.min(frame.len() - at) };
    frame.splice(at..at + replaced, other[from..from + length].iter().copied());
}

fn remove(frame: &mut Vec<u8>, at: usize, random: &mut Random) {
    let end = (at + 1 + random.below(16)).min(frame.len());
    frame.drain(at..end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutated_frame_is_one_that_the_kernel_takes() {
        let mut random = Random::new(1);
        let mut frame = vec![0x45; 60];
        for _ in 0..10_000 {
            mutate(&mut frame, &[1, 2, 3, 4, 5, 6, 7], &mut random);
            assert!((SHORTEST..=LONGEST).contains(&frame.len()), "{}", frame.len());
        }
    }
}
