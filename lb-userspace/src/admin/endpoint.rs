//! Where a daemon is asked: on its socket, or over TCP.
//!
//! What it takes to be let in is read from its files for each request, so whoever asks again and again shows a renewed token
//! or certificate without being started anew.

use std::{
    fmt, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use hyper::{Uri, http::uri::Scheme};
use rustls::{
    ClientConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::health::check::roots;

/// How long it may take until the daemon's host answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which daemon, and what it is shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Endpoint {
    /// The daemon's admin socket
    #[arg(long, value_name = "PATH", default_value = "/run/sluice/sluice.sock")]
    socket: PathBuf,
    /// The daemon's API over TCP (`balancer.api`) in place of its socket, such as `https://lb1.example.net:9901`
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    api: Option<Api>,
    /// File with the token that is shown there
    #[arg(long, value_name = "FILE", requires = "api")]
    token_file: Option<PathBuf>,
    /// File with the authorities that the daemon's certificate is to be of (PEM); those of this host where none is named
    #[arg(long, value_name = "FILE", requires = "api")]
    cacert: Option<PathBuf>,
    /// File with the certificate that is shown there (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["api", "key"])]
    cert: Option<PathBuf>,
    /// File with the key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// What bytes go by.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Endpoint {
    /// That of the daemon on this host that listens on `socket`.
    #[must_use]
    pub fn on_socket(socket: PathBuf) -> Self {
        Self { socket, ..Self::default() }
    }

    /// A connection to the daemon.
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>> {
        let Some(api) = &self.api else {
            let stream = UnixStream::connect(&self.socket).await.with_context(|| {
                let socket = self.socket.display();
                format!("no sluice answers on {socket}; is it running, and is this its balancer.socket?")
            })?;
            return Ok(Box::new(stream));
        };
        let nobody = || format!("no sluice answers at {api}; does its balancer.api listen there?");
        let stream = timeout(PATIENCE, TcpStream::connect((api.host.as_str(), api.port)));
        let stream = stream.await.with_context(nobody)?.with_context(nobody)?;
        if !api.is_secure {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(api.host.clone()).with_context(|| format!("{api} names no host"))?;
        let tls = TlsConnector::from(Arc::new(self.tls()?)).connect(name, stream);
        let refused =
            || format!("cannot agree with {api} on TLS; --cacert names who has signed its certificate");
        Ok(Box::new(timeout(PATIENCE, tls).await.with_context(refused)?.with_context(refused)?))
    }

    /// What a request has to call the daemon's host.
    pub(super) fn host(&self) -> String {
        self.api.as_ref().map_or_else(|| "sluice".to_owned(), Api::authority)
    }

    /// The token that it has to show.
    pub(super) fn token(&self) -> Result<Option<String>> {
        let Some(path) = &self.token_file else { return Ok(None) };
        if let Some(api) = self.api.as_ref().filter(|api| !api.is_private()) {
            bail!("a token that is sent to {api} can be read by everybody on the way; use https");
        }
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("{} holds no token; expected one line of printable characters", path.display());
        }
        Ok(Some(token.to_owned()))
    }

    fn tls(&self) -> Result<ClientConfig> {
        let roots =
            roots(self.cacert.as_deref()).map_err(|why| anyhow!("cannot tell whom to trust: {why}"))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let (Some(chain), Some(key)) = (&self.cert, &self.key) else {
            return Ok(builder.with_no_client_auth());
        };
        let read = |path: &Path| format!("cannot read {}", path.display());
        let certificates = CertificateDer::pem_file_iter(chain).and_then(Iterator::collect);
        let key = PrivateKeyDer::from_pem_file(key).with_context(|| read(key))?;
        builder
            .with_client_auth_cert(certificates.with_context(|| read(chain))?, key)
            .with_context(|| format!("cannot show {}", chain.display()))
    }
}

/// The URL of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Api {
    is_secure: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Api {
    fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Whether nobody on the way reads what is sent.
    fn is_private(&self) -> bool {
        let is_here = self.host.parse::<IpAddr>().map_or(self.host == "localhost", |ip| ip.is_loopback());
        self.is_secure || is_here
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_secure { "https" } else { "http" }, self.authority())
    }
}

impl FromStr for Api {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected http:// or https://, a host and a port, such as https://lb1.example.net:9901";
        let uri: Uri = text.parse().map_err(|error| format!("{error}; {EXPECTED}"))?;
        let is_secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(EXPECTED.to_owned()),
        };
        let (Some(host), Some(port)) = (uri.host().filter(|host| !host.is_empty()), uri.port_u16()) else {
            return Err(EXPECTED.to_owned());
        };
        if uri.path() != "/" || uri.query().is_some() || text.contains('@') {
            return Err(format!("there is more than that in it; {EXPECTED}"));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { is_secure, host, port })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn url_is_scheme_host_and_port() {
        let api = |text: &str| text.parse::<Api>().map(|api| (api.to_string(), api.is_private()));
        for (text, is_private) in [
            ("https://lb1.example.net:9901", true),
            ("http://lb1.example.net:9901", false),
            ("http://127.0.0.1:9901", true),
            ("http://[::1]:9901", true),
            ("http://[2001:db8::1]:9901", false),
            ("http://localhost:9901", true),
        ] {
            assert_eq!(api(text), Ok((text.to_owned(), is_private)));
        }
        assert_eq!(api("https://lb1:9901/"), Ok(("https://lb1:9901".to_owned(), true)));
        for bad in [
            "lb1:9901",
            "https://lb1",
            "ftp://lb1:21",
            "https://lb1:9901/v1",
            "https://a@lb1:9901",
            "https://:1",
        ] {
            assert!(api(bad).unwrap_err().contains("such as https://"), "{bad}");
        }
    }

    #[test]
    fn token_is_one_word_and_goes_to_nobody_who_listens_in() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let asks = |url: &str, path: &Path| Endpoint {
            api: Some(url.parse().unwrap()),
            token_file: Some(path.to_owned()),
            ..Endpoint::default()
        };
        let empty = asks("http://127.0.0.1:1", file.path()).token().unwrap_err();
        assert!(empty.to_string().contains("holds no token"), "{empty}");
        writeln!(file, "sesame").unwrap();
        assert_eq!(asks("http://127.0.0.1:1", file.path()).token().unwrap().as_deref(), Some("sesame"));
        let open = asks("http://192.0.2.1:1", file.path()).token().unwrap_err();
        assert!(open.to_string().contains("use https"), "{open}");
    }
}
