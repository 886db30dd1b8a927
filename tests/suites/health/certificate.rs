//! Certificates of a server, signed by an authority of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes its own certificate into `directory`.
    pub(crate) fn write(&self, directory: &Path) -> PathBuf {
        let path = directory.join("ca.pem");
        fs::write(&path, self.0.pem()).unwrap();
        path
    }

    /// Writes `cert.pem` and `key.pem` of a server, which are good for that long yet.
    pub(crate) fn sign(&self, directory: &Path, name: &str, good_for: Lifetime) {
        let now = SystemTime::now();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = (now - Duration::from_hours(30 * 24)).into();
        params.not_after = match good_for {
            Lifetime::Days(days) => now + Duration::from_hours(days * 24),
            Lifetime::EndedDaysAgo(days) => now - Duration::from_hours(days * 24 + 1),
        }
        .into();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
        fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    }
}

/// How long a certificate is good.
#[derive(Clone, Copy)]
pub(crate) enum Lifetime {
    Days(u64),
    EndedDaysAgo(u64),
}
