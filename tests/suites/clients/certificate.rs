//! A certificate that signs itself: who trusts it knows its holder.

use lb_tests::temporary;
use quinn::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use rcgen::CertifiedKey;
use tempfile::TempDir;

/// The certificate of a host name, with its key.
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    files: TempDir,
    path: String,
}

impl Certificate {
    pub(crate) fn new(host_name: &str) -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([host_name.to_owned()]).unwrap();
        let files = temporary::directory("certificate").unwrap();
        let path = files.path().join("certificate.pem");
        std::fs::write(&path, cert.pem()).unwrap();
        std::fs::write(files.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        let path = path.to_str().unwrap().to_owned();
        Self { der: cert.into(), key: signing_key.serialize_der().into(), files, path }
    }

    /// The PEM file.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// A server for nginx that has it, on port 443.
    pub(crate) fn nginx_server(&self) -> String {
        let key = self.files.path().join("key.pem");
        format!(
            "server {{ listen 443 ssl; listen [::]:443 ssl ipv6only=on; ssl_certificate {}; \
             ssl_certificate_key {}; return 200 \"My id is $id\\n\"; }}",
            self.path,
            key.display()
        )
    }

    /// What a QUIC server shows.
    pub(crate) fn quic_server(&self) -> quinn::ServerConfig {
        let key = PrivateKeyDer::Pkcs8(self.key.clone_key());
        quinn::ServerConfig::with_single_cert(vec![self.der.clone()], key).unwrap()
    }

    /// A QUIC client that trusts it alone.
    pub(crate) fn quic_client(&self) -> quinn::ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        quinn::ClientConfig::with_root_certificates(roots.into()).unwrap()
    }
}
