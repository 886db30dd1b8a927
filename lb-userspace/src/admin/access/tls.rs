//! The server's side of TLS.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use super::AccessError;
use crate::config::{Certificate, Clients};

/// How TLS is spoken: with `certificate`, asking `clients` for theirs, who need none where they may have a token.
pub(super) fn config(
    certificate: &Certificate,
    clients: Option<&Clients>,
    has_tokens: bool,
) -> Result<ServerConfig, AccessError> {
    let provider = Arc::new(ring::default_provider());
    let broken =
        |key, path: &Path, problem: String| AccessError::Broken { key, path: path.to_owned(), problem };
    let chain = certificates("certificate", &certificate.chain)?;
    let key = PrivateKeyDer::from_pem_slice(&read("key", &certificate.key)?)
        .map_err(|error| broken("key", &certificate.key, not_pem(&error, "key")))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| broken("certificate", &certificate.chain, error.to_string()))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(Clients { authority, .. }) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates("client_ca", authority)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if has_tokens { verifier.allow_unauthenticated() } else { verifier };
            let verifier =
                verifier.build().map_err(|error| broken("client_ca", authority, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| broken("certificate", &certificate.chain, error.to_string()))?;
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(config)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let broken = |problem| AccessError::Broken { key, path: path.to_owned(), problem };
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&read(key, path)?).collect();
    let found = found.map_err(|error| broken(not_pem(&error, "certificate")))?;
    if found.is_empty() {
        return Err(broken("there is no certificate in it; expected PEM".to_owned()));
    }
    Ok(found)
}

fn not_pem(error: &pem::Error, what: &str) -> String {
    format!("there is no {what} in it: {error}; expected PEM")
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, AccessError> {
    fs::read(path).map_err(|source| AccessError::Unreadable { key, path: path.to_owned(), source })
}
