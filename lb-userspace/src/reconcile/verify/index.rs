//! The service index, by which packets find entries.

use lb_common::service::BUCKET_ENTRIES;

use super::{Look, Subject, words};
use crate::reconcile::{Cell, Op, ReadSlots};

impl<'a, S: ReadSlots> Look<'a, S> {
    /// Cells that are to be empty are emptied before anything else is written, and the others filled after it.
    pub(super) fn index(&mut self) {
        let expected = self.expected.applied.index.buckets();
        for (bucket, (expected, held)) in (0..).zip(expected.iter().zip(&self.held.index)) {
            if expected == held {
                continue;
            }
            for entry in 0..BUCKET_ENTRIES {
                let (word, found) = (expected.entries[entry], held.entries[entry]);
                if word != found {
                    self.cell(Cell { bucket, entry, word }, found);
                }
            }
        }
    }

    fn cell(&mut self, cell: Cell, found: u64) {
        let service = self.service_of(cell.word).or_else(|| self.service_of(found));
        let subject = Subject { service, ..Subject::of("service_index") };
        let field = format!("bucket {}, entry {}", cell.bucket, cell.entry);
        let (expected, mut there) = (self.named_by(cell.word), self.named_by(found));
        if expected == there {
            there.push_str(" by another fingerprint");
        }
        self.tell(subject, field, expected, there);
        if found != 0 {
            self.withdrawals.push(Op::WriteIndex(Cell { word: 0, ..cell }));
        }
        if cell.word != 0 {
            self.writes.push(Op::WriteIndex(cell));
        }
    }

    /// The name of the service that a cell names.
    fn service_of(&self, word: u64) -> Option<&'a str> {
        let id = (word as u32).checked_sub(1)?;
        let services = &self.expected.applied.services;
        services.values().find(|service| service.id == id).map(|service| service.name.as_str())
    }

    /// What a cell names, in words.
    fn named_by(&self, word: u64) -> String {
        let applied = self.expected.applied;
        let Some(id) = (word as u32).checked_sub(1) else { return words::nothing() };
        if let Some(name) = self.service_of(word) {
            return format!("service {name}");
        }
        match applied.vips.iter().find(|(_, vip)| vip.id == id) {
            Some((&address, _)) => format!("the mark of {}", words::address(address)),
            None => format!("number {id}, which is no service"),
        }
    }
}
