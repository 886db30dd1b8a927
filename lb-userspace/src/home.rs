//! Backends behind address translation that are this host itself: what is for them passes to its own stack as it came, since there
//! is no way on which it could be translated.

use crate::config::{Backend, Forwarding, Service};

/// What is to be said of a backend of a service where its address is this host's own, if anything is.
#[must_use]
pub fn remedy(service: &Service, backend: &Backend) -> Option<String> {
    if backend.forwarding != Forwarding::Nat {
        return None;
    }
    let Service { address: vip, .. } = service;
    let port = match backend.port.filter(|port| *port != service.port) {
        Some(port) => format!(", and `port = {port}` is not heeded"),
        None => String::new(),
    };
    Some(format!(
        "{} is an address of this host, which translates nothing for itself: packets pass to its own server as clients have \
         sent them{port}. Have the server listen at {vip} and at the service's own port, and give this host that address \
         (`sluice backend up --no-decap --vip {vip}`), or take another host",
        backend.address
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn said(forwarding: &str, port: &str) -> Option<String> {
        let toml = format!(
            "[balancer]\ninterfaces = [\"eth0\"]\n[balancer.nat]\naddresses = [\"192.0.2.250\"]\n[fleet]\nseed = \
             \"00112233445566778899aabbccddeeff\"\n[[service]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\nprotocol = \
             \"tcp\"\nforwarding = \"{forwarding}\"\n[[service.backend]]\nname = \"b1\"\naddress = \"192.0.2.11\"\n{port}\n"
        );
        let (config, _) = Config::parse("sluice.toml", &toml).unwrap();
        let service = &config.services[0];
        remedy(service, &service.backends[0])
    }

    #[test]
    fn only_what_would_be_translated_is_spoken_of() {
        assert_eq!(said("l2", ""), None);
        assert_eq!(said("ipip", ""), None);
        let plain = said("nat", "").unwrap();
        assert!(
            plain.starts_with("192.0.2.11 is an address of this host") && !plain.contains("not heeded"),
            "{plain}"
        );
        assert!(plain.contains("listen at 203.0.113.10"), "{plain}");
    }

    #[test]
    fn port_that_is_not_heeded_is_named() {
        assert!(said("nat", "port = 8080").unwrap().contains("`port = 8080` is not heeded"));
        assert!(!said("nat", "port = 80").unwrap().contains("not heeded"));
    }
}
