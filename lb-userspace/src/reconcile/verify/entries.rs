//! Entries of services and backends, with what belongs to them.

use std::collections::BTreeSet;

use bytemuck::Zeroable as _;
use lb_common::{backend::Backend as Entry, policy::Policy, quic::ServerId, service::Service};

use super::{
    Look, Subject,
    words::{self, Field},
};
use crate::reconcile::{AppliedService, Named, Op, ReadSlots, server_ids};

impl<S: ReadSlots> Look<'_, S> {
    /// What a service's entry leads to: backends, policy, server ids.
    pub(super) fn service(&mut self, service: &AppliedService) {
        self.looked_at.services += 1;
        self.looked_at.backends += service.members().count() as u32;
        let ids = service.entry.first_backend..service.entry.first_backend + service.entry.capacity;
        for (index, id) in ids.enumerate() {
            let member = service.members.get(index).copied().flatten();
            self.backend(service, id, member.map(|member| member.entry));
        }
        let held = self.held.policies.get(service.id as usize).copied().unwrap_or_else(Policy::zeroed);
        if held != service.policy {
            let subject = Subject::of_service("policies", service);
            self.fields(subject, "", &words::POLICY, (&service.policy, &held));
            self.writes.push(Op::WritePolicy { id: service.id, policy: service.policy });
        }
        self.server_ids(service);
    }

    /// One of a service's entries of backends, which may be a free one.
    fn backend(&mut self, service: &AppliedService, id: u32, expected: Option<Entry>) {
        let held = self.held.backends[id as usize];
        let Some(entry) = expected else {
            if held != Entry::zeroed() {
                let subject = Subject::of_service("backends", service);
                self.tell(subject, format!("free entry {id}"), words::nothing(), words::backend(&held));
                self.clearances.push(Op::ClearBackends { first: id, count: 1 });
            }
            return;
        };
        if held == entry {
            return;
        }
        let subject = Subject { backend: Some(entry.address), ..Subject::of_service("backends", service) };
        if held == Entry::zeroed() {
            self.tell(subject, "entry", words::backend(&entry), words::nothing());
        } else {
            self.fields(subject, "", &words::BACKEND, (&entry, &held));
        }
        self.writes.push(Op::WriteBackend { id, entry });
    }

    fn server_ids(&mut self, service: &AppliedService) {
        let held = server_ids::of_service(service.id, &self.held.server_ids);
        let all: BTreeSet<ServerId> = service.server_ids.keys().chain(held.keys()).copied().collect();
        for id in all {
            let (expected, found) = (service.server_ids.get(&id), held.get(&id));
            if expected.map(|named| named.backend) == found.map(|named| named.backend) {
                continue;
            }
            let who = |named: &Named| self.who(service, named.backend);
            let words = [expected, found].map(|named| named.map_or_else(words::nothing, who));
            let [word, there] = words;
            self.tell(Subject::of_service("server_ids", service), words::server_id(&id), word, there);
            self.writes.push(match expected {
                Some(&named) => Op::WriteServerId { service: service.id, id, named },
                None => Op::ClearServerId { service: service.id, id },
            });
        }
    }

    /// The entry itself, which leads to all of that.
    pub(super) fn entry(&mut self, service: &AppliedService) {
        let held = self.held.services[service.id as usize];
        if held == service.entry {
            return;
        }
        let subject = Subject::of_service("services", service);
        if held == Service::zeroed() {
            self.tell(subject, "entry", words::key(&service.entry.key), words::nothing());
        } else {
            self.fields(subject, "", &words::SERVICE, (&service.entry, &held));
        }
        self.writes.push(Op::WriteService { id: service.id, entry: service.entry });
    }

    /// The entries that mark addresses.
    pub(super) fn vips(&mut self) {
        for (&address, &vip) in &self.expected.applied.vips {
            let (write, entry) = (vip.write(address), vip.entry(address));
            let held = self.held.services[vip.id as usize];
            if held != entry {
                let of = format!("mark of {}: ", words::address(address));
                self.fields(Subject::of("services"), &of, &words::SERVICE, (&entry, &held));
                self.writes.push(write);
            }
        }
    }

    /// What nothing is to name.
    pub(super) fn strays(&mut self) {
        let applied = self.expected.applied;
        for (id, held) in (0..).zip(&self.held.services) {
            if *held != Service::zeroed() && applied.ids.is_free(id) {
                self.tell(
                    Subject::of("services"),
                    format!("free entry {id}"),
                    words::nothing(),
                    words::key(&held.key),
                );
                self.clearances.push(Op::ClearService { id });
            }
        }
        for (id, held) in (0..).zip(&self.held.backends) {
            if *held != Entry::zeroed() && applied.backends.is_free(id) {
                let found = words::backend(held);
                self.tell(Subject::of("backends"), format!("free entry {id}"), words::nothing(), found);
                self.clearances.push(Op::ClearBackends { first: id, count: 1 });
            }
        }
        let services: BTreeSet<u32> = applied.services.values().map(|service| service.id).collect();
        for (key, server) in &self.held.server_ids {
            if !services.contains(&key.service) {
                let found = format!("number {} of service number {}", server.backend, key.service);
                self.tell(Subject::of("server_ids"), words::server_id(&key.id), words::nothing(), found);
                self.clearances.push(Op::ClearServerId { service: key.service, id: key.id });
            }
        }
    }

    /// Tells of every field that differs.
    fn fields<T>(&mut self, subject: Subject<'_>, of: &str, fields: &[Field<T>], (expected, held): (&T, &T)) {
        let before = self.differences.len();
        for (name, word) in fields {
            let (expected, found) = (word(expected), word(held));
            if expected != found {
                self.tell(subject, format!("{of}{name}"), expected, found);
            }
        }
        if self.differences.len() == before {
            self.tell(subject, format!("{of}padding"), "zero".to_owned(), "something else".to_owned());
        }
    }
}
