//! Where requests come in: the Unix socket, and TCP where `[balancer.api]` says so.

use std::{fs::File, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::DefaultBodyLimit, middleware::from_fn_with_state};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    sync::{Semaphore, mpsc, watch},
    task, time,
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::{
    access::{Access, AccessError, Shown},
    ask::Daemon,
    audit::{self, Audit, AuditError},
    caller::Peer,
    connection, gate, routes,
};
use crate::{config::Balancer, daemon::Event};

/// Connections over TCP at a time. Others wait.
const MOST_CONNECTIONS: usize = 64;

/// Connections that may wait to be let in.
const BACKLOG: i32 = 128;

/// How long a handshake may take, and how long a client may take nothing of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nobody is let in after that has failed, as when there are no files left to open.
const BREATH: Duration = Duration::from_millis(100);

/// Why the API cannot be served as the configuration has it.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nobody could be let in.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Nothing could be written down.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The port is not to be had.
    #[error(
        "cannot listen on {address}; set balancer.api.listen to an address of this host and a port that is free"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What was said.
        #[source]
        source: io::Error,
    },
}

/// Serves the API.
#[derive(Debug)]
pub struct Server {
    router: Router,
    audit: Audit,
    tcp: Option<Tcp>,
    /// Kept, so that connections on the Unix socket go on.
    ends: watch::Sender<()>,
}

/// All that a configuration needs, which nothing follows yet.
#[derive(Debug)]
pub struct Prepared {
    tcp: Option<(Arc<Access>, SocketAddr, Option<TcpListener>)>,
    audit: Option<File>,
}

/// What listens over TCP. It ends when dropped, and its connections with the request that is under way.
#[derive(Debug)]
struct Tcp {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    access: watch::Sender<Arc<Access>>,
    task: task::JoinHandle<()>,
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// One that nobody can reach yet.
    #[must_use]
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        let audit = Audit::default();
        let router = routes::router()
            // The gate bounds bodies.
            .layer(DefaultBodyLimit::disable())
            .layer(from_fn_with_state(audit.clone(), gate::pass))
            .with_state(Daemon::new(events));
        Self { router, audit, tcp: None, ends: watch::channel(()).0 }
    }

    /// Reads the files that a configuration names and takes its port, so that nothing can fail afterwards.
    ///
    /// # Errors
    ///
    /// [`ServeError`]; what is served goes on as it is.
    pub fn prepare(&self, balancer: &Balancer) -> Result<Prepared, ServeError> {
        let audit = balancer.audit_path.as_deref().map(audit::open).transpose()?;
        let Some(api) = &balancer.api else {
            return Ok(Prepared { tcp: None, audit });
        };
        let access = Arc::new(Access::load(api)?);
        let address = api.listen;
        let listener = match &self.tcp {
            Some(tcp) if tcp.address == address => None,
            Some(tcp) if tcp.address.port() == address.port() => Some(listen_beside(address, &tcp.listener)),
            _ => Some(listen(address)),
        };
        let listener = listener.transpose().map_err(|source| ServeError::Listen { address, source })?;
        Ok(Prepared { tcp: Some((access, address, listener)), audit })
    }

    /// Serves what was prepared, in the place of what was served before.
    pub fn adopt(&mut self, Prepared { tcp, audit }: Prepared) {
        self.audit.follow(audit);
        match (tcp, &mut self.tcp) {
            (None, own) => *own = None,
            (Some((access, _, None)), Some(own)) => {
                own.access.send_replace(access);
            }
            (Some((access, address, Some(listener))), own) => {
                info!(%address, tls = access.tls().is_some(), "the admin API listens");
                let (access, follows) = watch::channel(access);
                let listener = Arc::new(listener);
                let task = task::spawn(accept(Arc::clone(&listener), follows, self.router.clone()));
                *own = Some(Tcp { address, listener, access, task });
            }
            // Only where something listens there is nothing to listen with.
            (Some((_, _, None)), None) => {}
        }
    }

    /// Answers on the Unix socket, until the daemon ends.
    pub fn serve(&self, listener: UnixListener) {
        let (router, ends) = (self.router.clone(), self.ends.subscribe());
        task::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let Ok(who) = stream.peer_cred() else { continue };
                        let peer = Peer::Unix { uid: who.uid(), pid: who.pid() };
                        task::spawn(connection::serve(stream, peer, router.clone(), ends.clone()));
                    }
                    Err(error) => rest(&error).await,
                }
            }
        });
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address, false)
}

/// Listens on the port of `former`, whose address may be a part of this one, as 127.0.0.1 is of 0.0.0.0. Both share the
/// port only until that is done: later on nobody else is to get it.
fn listen_beside(address: SocketAddr, former: &TcpListener) -> io::Result<TcpListener> {
    let former = SockRef::from(former);
    former.set_reuse_port(true)?;
    let listener = bind(address, true);
    former.set_reuse_port(false)?;
    let listener = listener?;
    SockRef::from(&listener).set_reuse_port(false)?;
    Ok(listener)
}

fn bind(address: SocketAddr, shares_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares_port)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

async fn rest(error: &io::Error) {
    warn!("the admin API cannot let somebody in: {error}");
    time::sleep(BREATH).await;
}

async fn accept(listener: Arc<TcpListener>, access: watch::Receiver<Arc<Access>>, router: Router) {
    let seats = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        // Never closed.
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let (access, router) = (access.clone(), router.clone());
                task::spawn(async move {
                    if let Err(error) = serve(stream, from, access, router).await {
                        debug!(%from, "a connection of the admin API has failed: {error}");
                    }
                    drop(seat);
                });
            }
            Err(error) => rest(&error).await,
        }
    }
}

/// Serves one connection, which ends when the access becomes another.
async fn serve(
    stream: TcpStream,
    from: SocketAddr,
    mut follows: watch::Receiver<Arc<Access>>,
    router: Router,
) -> io::Result<()> {
    // One that takes nothing of an answer any more.
    SockRef::from(&stream).set_tcp_user_timeout(Some(PATIENCE))?;
    let access = Arc::clone(&follows.borrow_and_update());
    let (end, ends) = watch::channel(());
    let peer = |shown| Peer::Tcp { from, shown, access: Arc::clone(&access) };
    let serving = async {
        match access.tls() {
            None => connection::serve(stream, peer(None), router, ends).await,
            Some(tls) => {
                let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
                let stream = time::timeout(PATIENCE, handshake).await??;
                let certificates = stream.get_ref().1.peer_certificates();
                let shown = certificates.and_then(|chain| chain.first()).map(Shown::read);
                connection::serve(stream, peer(shown), router, ends).await;
            }
        }
        Ok(())
    };
    tokio::pin!(serving);
    tokio::select! {
        served = serving.as_mut() => return served,
        // Also where nobody listens any more.
        _ = follows.changed() => {}
    }
    end.send_replace(());
    serving.await
}
