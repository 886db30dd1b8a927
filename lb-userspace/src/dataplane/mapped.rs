//! The memory of a mmapable BPF array, shared with the kernel: written without a system call, word by word, each word
//! whole to every reader.
//!
//! The one module of the daemon with `unsafe` code.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use bytemuck::Pod;
use lb_common::{service::TableRef, slot::Slot};
use memmap2::{MmapOptions, MmapRaw};

/// Bytes in the words that are stored at once.
const WORD: usize = size_of::<u64>();

/// The values of a BPF array.
#[derive(Debug)]
pub struct Mapped {
    memory: MmapRaw,
}

impl Mapped {
    /// Shares the first `bytes` of the map behind `fd`, which has to be an array with `BPF_F_MMAPABLE` and at least
    /// that large.
    ///
    /// # Errors
    ///
    /// What `mmap` says.
    pub fn open(fd: impl AsFd, bytes: usize) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        let memory = MmapOptions::new().len(bytes).map_raw(fd.as_fd().as_raw_fd())?;
        Ok(Self { memory })
    }

    /// Replaces the value at `index` of an array of `T`. The word at `last` within the value, if any, is stored after
    /// all others: who sees it new sees the rest new.
    ///
    /// # Panics
    ///
    /// Where the array has no value at `index`, or `T` is not a whole number of words.
    pub fn write<T: Pod>(&self, index: u32, value: &T, last: Option<usize>) {
        let words = self.words();
        let length = size_of::<T>() / WORD;
        assert_eq!(length * WORD, size_of::<T>(), "a value is a whole number of words");
        let cells = &words[index as usize * length..][..length];
        let word = |at: usize| {
            let bytes = &bytemuck::bytes_of(value)[at * WORD..][..WORD];
            u64::from_ne_bytes(bytes.try_into().expect("a word has eight bytes"))
        };
        for at in (0..length).filter(|&at| Some(at) != last) {
            cells[at].store(word(at), Ordering::Relaxed);
        }
        if let Some(at) = last {
            cells[at].store(word(at), Ordering::Release);
        }
    }

    /// The value at `index` of an array of `T`, read word by word.
    ///
    /// # Panics
    ///
    /// Where the array has no value at `index`, or `T` is not a whole number of words.
    #[must_use]
    pub fn value<T: Pod>(&self, index: u32) -> T {
        let length = size_of::<T>() / WORD;
        read(&self.words()[index as usize * length..][..length])
    }

    /// All values of an array of `T`, each read word by word.
    ///
    /// # Panics
    ///
    /// Where `T` is not a whole number of words.
    #[must_use]
    pub fn values<T: Pod>(&self) -> Vec<T> {
        self.words().chunks_exact(size_of::<T>() / WORD).map(read).collect()
    }

    /// The slots of `table`, where the array is the arena.
    ///
    /// # Panics
    ///
    /// Where the table lies beyond the array.
    #[must_use]
    pub fn slots(&self, table: TableRef) -> Vec<Slot> {
        let cells = &self.half_words()[table.base as usize..][..table.length as usize];
        cells.iter().map(|cell| Slot(cell.load(Ordering::Relaxed))).collect()
    }

    /// The array as 64-bit words.
    #[must_use]
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
    pub fn words(&self) -> &[AtomicU64] {
        let length = self.memory.len() / WORD;
        // SAFETY: the mapping is page-aligned, `length` words long, and lives as long as `self`. The kernel and this
        // process share it and both touch it only by loads and stores of whole words.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<AtomicU64>(), length) }
    }

    /// The array as 32-bit words.
    #[must_use]
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
    pub fn half_words(&self) -> &[AtomicU32] {
        let length = self.memory.len() / size_of::<AtomicU32>();
        // SAFETY: as in `words`. An array is used through one of the two only.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<AtomicU32>(), length) }
    }
}

/// A value out of the words that it consists of.
fn read<T: Pod>(cells: &[AtomicU64]) -> T {
    let words: Vec<u64> = cells.iter().map(|cell| cell.load(Ordering::Acquire)).collect();
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&words))
}
