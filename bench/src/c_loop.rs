//! A plain Maglev loop in C (`c/maglev.c`).

/// How the loop finds the next slot of a permutation.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// `(offset + j * skip) mod M`, as the paper writes it.
    Modulo,
    /// By addition.
    Add,
}

type Populate = unsafe extern "C" fn(*mut i32, u32, *mut u32, *const u32, *const u32, u32);

// SAFETY: the types are those of the definitions in c/maglev.c.
unsafe extern "C" {
    fn maglev_modulo(entry: *mut i32, m: u32, next: *mut u32, offset: *const u32, skip: *const u32, n: u32);
    fn maglev_add(entry: *mut i32, m: u32, next: *mut u32, offset: *const u32, skip: *const u32, n: u32);
}

/// The loop with its memory, for equal backends.
pub(crate) struct CLoop {
    entries: Vec<i32>,
    next: Vec<u32>,
    offsets: Vec<u32>,
    skips: Vec<u32>,
}

impl CLoop {
    /// A loop for `length` slots, a prime, and at least one backend. `random` gives the permutations.
    pub(crate) fn new(backends: usize, length: u32, mut random: impl FnMut() -> u32) -> Self {
        assert!(backends > 0 && length > 1, "the C loop would not end");
        let offsets = (0..backends).map(|_| random() % length).collect();
        let skips = (0..backends).map(|_| random() % (length - 1) + 1).collect();
        Self { entries: vec![0; length as usize], next: vec![0; backends], offsets, skips }
    }

    /// Fills the table.
    pub(crate) fn run(&mut self, step: Step) -> &[i32] {
        let populate: Populate = match step {
            Step::Modulo => maglev_modulo,
            Step::Add => maglev_add,
        };
        let (length, backends) = (self.entries.len() as u32, self.next.len() as u32);
        let (entries, next) = (self.entries.as_mut_ptr(), self.next.as_mut_ptr());
        // SAFETY: `entries` holds `length` values and the other three hold `backends` each; offsets are below `length`
        // and skips from 1 to `length - 1`, so every index that the loop computes is below `length`.
        unsafe {
            populate(entries, length, next, self.offsets.as_ptr(), self.skips.as_ptr(), backends);
        }
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_loops_fill_the_same_table_without_a_hole() {
        let mut random = (1u32..).map(|n| n.wrapping_mul(0x9e37_79b1));
        let mut maglev = CLoop::new(7, 1_009, || random.next().unwrap());
        let modulo = maglev.run(Step::Modulo).to_vec();
        assert_eq!(modulo, maglev.run(Step::Add));
        assert!(modulo.iter().all(|entry| (0..7).contains(entry)));
    }
}
