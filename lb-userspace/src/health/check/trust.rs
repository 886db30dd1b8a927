//! What TLS probes trust, read once: a host's authorities take milliseconds to parse, and thousands of probes need them.
//!
//! A file of authorities is read again when it has changed, so that a renewed one needs no reload.

use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem, pem::PemObject as _},
};

use crate::config::Trust;

/// The protocols that ALPN offers; none: it is not spoken.
pub(super) type Alpn = Option<&'static [u8]>;

/// The configurations that were made so far.
#[derive(Debug, Default)]
pub(super) struct Trusts {
    made: Mutex<HashMap<(Trust, Alpn), Made>>,
}

/// A configuration, and the age of the file that it is made of.
#[derive(Clone, Debug)]
struct Made {
    config: Arc<ClientConfig>,
    modified: Option<SystemTime>,
}

impl Trusts {
    /// The client's side of TLS for somebody who trusts so.
    ///
    /// # Errors
    /// What cannot be read, for people.
    pub(super) fn config(&self, trust: &Trust, alpn: Alpn) -> Result<Arc<ClientConfig>, String> {
        let modified = modified(trust)?;
        let key = (trust.clone(), alpn);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.get(&key).filter(|made| made.modified == modified) {
            return Ok(Arc::clone(&made.config));
        }
        let mut config = build(trust)?;
        config.alpn_protocols.extend(alpn.map(<[u8]>::to_vec));
        // A resumed session would not show the certificate.
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        made.insert(key, Made { config: Arc::clone(&config), modified });
        Ok(config)
    }
}

fn modified(trust: &Trust) -> Result<Option<SystemTime>, String> {
    let Trust::File(path) = trust else {
        return Ok(None);
    };
    fs::metadata(path).and_then(|data| data.modified()).map(Some).map_err(|error| unreadable(path, &error))
}

fn build(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot speak TLS: {error}"))?;
    let roots = match trust {
        Trust::System => roots(None)?,
        Trust::File(path) => roots(Some(path))?,
        Trust::Anybody => {
            let verifier = Arc::new(Anybody(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
        }
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The authorities in a file; those that this host trusts where none is named.
///
/// # Errors
/// What cannot be read, for people.
pub(crate) fn roots(path: Option<&Path>) -> Result<RootCertStore, String> {
    path.map_or_else(system, file)
}

fn system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        return Err(
            "this host trusts no certificate authority: install ca-certificates, or say `ca`".to_owned()
        );
    }
    Ok(roots)
}

fn file(path: &Path) -> Result<RootCertStore, String> {
    let text = fs::read(path).map_err(|error| unreadable(path, &error))?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| format!("{} is not PEM: {error}", path.display()))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(roots)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

/// Takes every certificate. Whoever shows one still has to hold its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
