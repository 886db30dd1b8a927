//! Certificates of one authority.

use std::fs;

use lb_tests::temporary;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// Who signs certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
    path: String,
}

/// A certificate and its key, in files.
pub(crate) struct Certificate {
    chain: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = temporary::directory("authority").unwrap();
        let path = files.path().join("ca.pem");
        fs::write(&path, issuer.pem()).unwrap();
        Self { issuer, path: path.to_str().unwrap().to_owned(), files }
    }

    /// The file with its own certificate.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// A certificate for `name`, of a host or a client.
    pub(crate) fn issue(&self, name: &str) -> Certificate {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let save = |ending: &str, text: String| {
            let path = self.files.path().join(format!("{name}.{ending}"));
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Certificate { chain: save("crt", certificate.pem()), key: save("key", key.serialize_pem()) }
    }
}

impl Certificate {
    pub(crate) fn chain(&self) -> &str {
        &self.chain
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// What curl shows it by.
    pub(crate) fn curl(&self) -> [&str; 4] {
        ["--cert", &self.chain, "--key", &self.key]
    }
}
