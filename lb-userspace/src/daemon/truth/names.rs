//! What others are told who look at packets: who has which number, and what the program is loaded for.

use std::sync::Arc;

use super::Truth;
use crate::{
    explain::Scene,
    interface::index_of,
    names::{Named, NamedBackend, Names},
};

impl Truth {
    /// What is needed to explain packets.
    pub(super) fn scene(&self) -> Scene {
        Scene {
            config: Arc::clone(&self.config),
            features: self.features,
            pin_path: self.config.balancer.pin_path.clone(),
            has_next: self.dataplane.next().is_some(),
            names: Arc::new(self.names()),
        }
    }

    /// Who has which number now.
    pub(super) fn names(&self) -> Names {
        let mut names = Names::default();
        for service in &self.config.services {
            let Some(applied) = self.applied.service(&service.key()) else { continue };
            let (entries, first_backend) = (applied.entries(), applied.entry.first_backend);
            let backends = self.with_wishes(service).filter_map(|(backend, _)| {
                let (id, _) = entries.get(&backend.address.into())?;
                let next_hop = self.next_hop_status(backend);
                let found = NamedBackend { name: backend.name.clone(), next_hop };
                Some((id.wrapping_sub(first_backend) as u16, found))
            });
            let (id, name) = (applied.id, service.name.clone());
            names.add(service.key(), Named { id, name, first_backend, backends: backends.collect() });
        }
        for next_hop in self.view.next_hops.values() {
            names.add_interface(next_hop.ifindex, next_hop.interface.clone());
        }
        for interface in &self.interfaces {
            if let Ok(index) = index_of(&interface.name) {
                names.add_interface(index, interface.name.clone());
            }
        }
        names
    }
}
