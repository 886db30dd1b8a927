//! Who has which number in the maps: what the program tells by numbers, told by names.

use std::collections::{BTreeMap, HashMap};

use lb_common::{flow::Flow, service::ServiceKey};

/// The services and backends of a data plane, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Names {
    services: BTreeMap<u32, Named>,
    by_key: HashMap<ServiceKey, u32>,
    /// Names of interfaces, by index, as far as packets leave or arrive by them.
    interfaces: HashMap<u32, String>,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Number of the backend with index 0.
    pub first_backend: u32,
    /// Its backends, by index.
    pub backends: BTreeMap<u16, NamedBackend>,
}

/// A backend.
#[derive(Clone, Debug)]
pub struct NamedBackend {
    /// Its name.
    pub name: String,
    /// The way to it, or why there is none.
    pub next_hop: String,
}

impl Names {
    /// Adds a service, by the key that packets ask for it by.
    pub fn add(&mut self, key: ServiceKey, named: Named) {
        self.by_key.insert(key, named.id);
        self.services.insert(named.id, named);
    }

    /// Adds an interface.
    pub fn add_interface(&mut self, index: u32, name: String) {
        self.interfaces.insert(index, name);
    }

    /// The service with a number.
    #[must_use]
    pub fn service(&self, id: u32) -> Option<&Named> {
        self.services.get(&id)
    }

    /// The service that a flow asks for: the one with its port, otherwise the one with every port.
    #[must_use]
    pub fn of_flow(&self, flow: &Flow) -> Option<&Named> {
        let key = flow.service_key();
        let id = self.by_key.get(&key).or_else(|| self.by_key.get(&ServiceKey { port: [0; 2], ..key }))?;
        self.service(*id)
    }

    /// The number of the service with a name.
    #[must_use]
    pub fn id_of(&self, service: &str) -> Option<u32> {
        self.services.values().find(|named| named.name == service).map(|named| named.id)
    }

    /// The name of a backend, by its service's number and its own.
    #[must_use]
    pub fn backend(&self, service: u32, id: u32) -> Option<&str> {
        let named = self.service(service)?;
        let index = u16::try_from(id.checked_sub(named.first_backend)?).ok()?;
        named.backends.get(&index).map(|backend| backend.name.as_str())
    }

    /// The name of an interface.
    #[must_use]
    pub fn interface(&self, index: u32) -> Option<String> {
        self.interfaces.get(&index).cloned()
    }
}
