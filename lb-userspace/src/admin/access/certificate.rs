//! What a client's certificate calls him.

use rustls::pki_types::CertificateDer;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// The names in a certificate that TLS has found good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The subject's common name first, then its other names.
    names: Vec<String>,
}

impl Shown {
    /// Those in `certificate`.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, certificate)) = parse_x509_certificate(certificate) else {
            return Self::default();
        };
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let mut names: Vec<String> = common.map(str::to_owned).collect();
        if let Ok(Some(others)) = certificate.subject_alternative_name() {
            names.extend(others.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                    Some((*name).to_owned())
                }
                _ => None,
            }));
        }
        Self { names }
    }

    /// What to call him.
    pub(crate) fn name(&self) -> &str {
        self.names.first().map_or("without a name", String::as_str)
    }

    /// Whether it is one of his names.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }
}
