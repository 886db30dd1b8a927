//! The daemon's copy of the service index: which cell of which bucket names which service.
//!
//! A key is put into the emptier of its two buckets and never moves, so a reader never misses one that is there.

use lb_common::{
    hash::{HashKey, KeyWords as _},
    service::{BUCKET_ENTRIES, Bucket, Candidates, ServiceKey, bucket_count},
};

/// A cell of the index, and what it is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Number of the bucket.
    pub bucket: u32,
    /// Entry within the bucket.
    pub entry: usize,
    /// What the cell holds; 0: nothing.
    pub word: u64,
}

/// The service index.
#[derive(Clone, Debug)]
pub struct ServiceIndex {
    key: HashKey,
    buckets: Vec<Bucket>,
}

impl ServiceIndex {
    /// An empty index for `services` services.
    #[must_use]
    pub fn new(key: HashKey, services: u32) -> Self {
        Self { key, buckets: vec![Bucket::default(); bucket_count(services) as usize] }
    }

    /// Finds a cell for `service` under `key`. `None` where both of its buckets are full.
    pub fn insert(&mut self, key: &ServiceKey, service: u32) -> Option<Cell> {
        let candidates = self.candidates(key);
        let (bucket, entry) = candidates
            .buckets
            .into_iter()
            .filter_map(|bucket| self.free_entry(bucket))
            .min_by_key(|&(bucket, _)| self.fill(bucket))?;
        let cell = Cell { bucket, entry, word: candidates.entry(service) };
        self.write(cell);
        Some(cell)
    }

    /// Empties the cell of `service` under `key`. `None` where there is none.
    pub fn remove(&mut self, key: &ServiceKey, service: u32) -> Option<Cell> {
        let candidates = self.candidates(key);
        let word = candidates.entry(service);
        let (bucket, entry) = candidates.buckets.into_iter().find_map(|bucket| {
            let entries = self.buckets[bucket as usize].entries;
            entries.iter().position(|&found| found == word).map(|entry| (bucket, entry))
        })?;
        let cell = Cell { bucket, entry, word: 0 };
        self.write(cell);
        Some(cell)
    }

    /// An index with these buckets.
    pub fn of(key: HashKey, buckets: Vec<Bucket>) -> Self {
        Self { key, buckets }
    }

    /// Its buckets, to look at.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Its buckets.
    pub fn into_buckets(self) -> Vec<Bucket> {
        self.buckets
    }

    /// The cells that hold something.
    pub fn cells(&self) -> Vec<Cell> {
        let cells = (0..).zip(&self.buckets).flat_map(|(bucket, held)| {
            (0..BUCKET_ENTRIES).map(move |entry| Cell { bucket, entry, word: held.entries[entry] })
        });
        cells.filter(|cell| cell.word != 0).collect()
    }

    /// Whether a packet with `key` would find this cell.
    pub fn may_hold(&self, cell: &Cell, key: &ServiceKey) -> bool {
        let candidates = self.candidates(key);
        candidates.buckets.contains(&cell.bucket) && candidates.service_in(cell.word).is_some()
    }

    fn candidates(&self, key: &ServiceKey) -> Candidates {
        Candidates::new(self.key.service(key), self.buckets.len() as u32)
    }

    fn fill(&self, bucket: u32) -> usize {
        self.buckets[bucket as usize].entries.iter().filter(|&&entry| entry != 0).count()
    }

    fn free_entry(&self, bucket: u32) -> Option<(u32, usize)> {
        let entries = self.buckets[bucket as usize].entries;
        (0..BUCKET_ENTRIES).find(|&entry| entries[entry] == 0).map(|entry| (bucket, entry))
    }

    /// Changes a cell.
    pub fn write(&mut self, cell: Cell) {
        self.buckets[cell.bucket as usize].entries[cell.entry] = cell.word;
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{address::Address, hash::Seed};

    use super::*;

    fn key(n: u32) -> ServiceKey {
        ServiceKey::new(Address::from_v4(n.to_be_bytes()), 80, 6)
    }

    #[test]
    fn as_many_services_as_the_limit_says_find_a_cell() {
        let mut index = ServiceIndex::new(Seed([7; 16]).index_key(), 10_000);
        for service in 0..10_000 {
            assert!(index.insert(&key(0x0a00_0000 + service), service).is_some(), "service {service}");
        }
    }

    #[test]
    fn removed_service_frees_its_cell() {
        let mut index = ServiceIndex::new(Seed([7; 16]).index_key(), 4);
        let put = index.insert(&key(1), 3).unwrap();
        let removed = index.remove(&key(1), 3).unwrap();
        assert_eq!((removed.bucket, removed.entry, removed.word), (put.bucket, put.entry, 0));
        assert_eq!(index.remove(&key(1), 3), None);
    }
}
