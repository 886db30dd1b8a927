//! Who may use the API over TCP: what the files that `[balancer.api]` names say, read once.

mod certificate;
mod tls;
mod tokens;

use std::{io, path::PathBuf, sync::Arc};

use rustls::ServerConfig;

use super::caller::Role;
use crate::config;
pub(super) use certificate::Shown;
use tokens::Tokens;

/// Why nobody could be let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file is not there, or not to be read.
    #[error("balancer.api.{key}: cannot read {}", path.display())]
    Unreadable {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was said.
        #[source]
        source: io::Error,
    },
    /// Others may read or write the file.
    #[error("balancer.api.{key}: others may {what} {}; `chmod {remedy}` it", path.display())]
    Mode {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What they may.
        what: &'static str,
        /// What takes that away.
        remedy: &'static str,
    },
    /// It does not hold what it should.
    #[error("balancer.api.{key}: {}: {problem}", path.display())]
    Broken {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// What clients over TCP are measured against.
#[derive(Debug)]
pub(super) struct Access {
    tokens: Option<Tokens>,
    tls: Option<Arc<ServerConfig>>,
    clients: Option<config::Clients>,
    /// Names of this host.
    pub(super) hosts: Vec<String>,
}

impl Access {
    /// Reads the files that `api` names.
    ///
    /// # Errors
    ///
    /// [`AccessError`], for the first of them that is not good.
    pub(super) fn load(api: &config::Api) -> Result<Self, AccessError> {
        let tokens = api.tokens.as_deref().map(Tokens::load).transpose()?;
        let tls = match &api.certificate {
            Some(certificate) => {
                Some(Arc::new(tls::config(certificate, api.clients.as_ref(), tokens.is_some())?))
            }
            None => None,
        };
        Ok(Self { tokens, tls, clients: api.clients.clone(), hosts: api.hosts.clone() })
    }

    /// Whether clients have to say who they are.
    pub(super) const fn asks(&self) -> bool {
        self.tokens.is_some() || self.clients.is_some()
    }

    /// How TLS is spoken; none: it is not.
    pub(super) const fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref()
    }

    /// Whose token it is, and what he may.
    pub(super) fn of_token(&self, token: &str) -> Option<(&str, Role)> {
        self.tokens.as_ref()?.find(token)
    }

    /// What somebody may whose certificate was found good.
    pub(super) fn of_certificate(&self, shown: &Shown) -> Role {
        let operators = self.clients.iter().flat_map(|clients| &clients.operators);
        if operators.into_iter().any(|name| shown.has(name)) { Role::Operator } else { Role::ReadOnly }
    }
}
