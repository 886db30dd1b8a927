//! A backend's echo server: plain kernel sockets in the backend's namespace, all on one thread.
//!
//! Probes come to ports of their own, which open and close without a word to the clients: that is how a probe fails
//! while its backend lives. Dropping the server is its death: the kernel ends every connection.

use std::{io, net::Ipv6Addr, sync::mpsc, thread::JoinHandle, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::{oneshot, watch},
    time,
};

use super::wire::{Answer, GO_ON, Identity, Request};
use crate::random::Random;
use crate::topology::Host;

/// Ports of a service: that of its clients and that of its probes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) service: u16,
    pub(super) probe: u16,
}

/// Whether a probe's port answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Answered,
    Refused,
}

/// A running server.
#[derive(Debug)]
pub(super) struct EchoServer {
    probes: Vec<(u16, watch::Sender<Probe>)>,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<Result<()>>>>,
}

impl EchoServer {
    /// Starts it on `host`, and waits until it listens. While it goes on by itself it sends something each `pause`.
    pub(super) fn start(host: &Host, identity: Identity, ports: &[Ports], pause: Duration) -> Result<Self> {
        let channels = ports.iter().map(|ports| (ports.probe, watch::channel(Probe::Answered)));
        let (probes, listeners) =
            channels.map(|(port, (sender, receiver))| ((port, sender), (port, receiver))).unzip();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let ports: Vec<_> = ports.iter().map(|ports| ports.service).collect();
        let task = move || serve(&Echo { identity, pause }, &ports, listeners, &ready, stopped);
        let thread = host.netns.spawn_thread(&format!("echo {}", host.name), task)?;
        let mut server = Self { probes, stop: Some(stop), thread: Some(thread) };
        if is_ready.recv().is_err() {
            server.end().with_context(|| format!("the echo server on {} does not listen", host.name))?;
            bail!("the echo server on {} ended early", host.name);
        }
        Ok(server)
    }

    /// Lets probes of this port succeed or fail.
    pub(super) fn set_probe(&self, port: u16, probe: Probe) {
        for (_, sender) in self.probes.iter().filter(|(number, _)| *number == port) {
            sender.send_replace(probe);
        }
    }

    /// Lets all probes succeed.
    pub(super) fn answer_probes(&self) {
        for (_, sender) in &self.probes {
            sender.send_replace(Probe::Answered);
        }
    }

    fn end(&mut self) -> Result<()> {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("an echo server failed: {error:#}");
        }
    }
}

/// What is the same for all of a server's connections.
#[derive(Clone, Copy, Debug)]
struct Echo {
    identity: Identity,
    pause: Duration,
}

fn serve(
    echo: &Echo,
    ports: &[u16],
    probes: Vec<(u16, watch::Receiver<Probe>)>,
    ready: &mpsc::Sender<()>,
    stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for &port in ports {
            tokio::spawn(accept(listen(port).await?, *echo));
        }
        for (port, probe) in probes {
            tokio::spawn(answer_probes(listen(port).await?, probe));
        }
        let _ = ready.send(());
        // Ends by an error, when the sender is dropped.
        let _ = stopped.await;
        Ok(())
    })
}

/// Listens at `port` of both families.
async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await.with_context(|| format!("cannot listen at {port}"))
}

async fn accept(listener: TcpListener, echo: Echo) {
    loop {
        // What fails is one connection that was gone before it was accepted.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // A client that goes away is the client's to tell.
                let _ = echo.converse(stream).await;
            });
        }
    }
}

async fn answer_probes(mut listener: TcpListener, mut probe: watch::Receiver<Probe>) {
    loop {
        tokio::select! {
            changed = probe.changed() => if changed.is_err() { return },
            _ = listener.accept() => continue,
        }
        if *probe.borrow_and_update() == Probe::Answered {
            continue;
        }
        let Ok(address) = listener.local_addr() else { return };
        drop(listener);
        if probe.wait_for(|probe| *probe == Probe::Answered).await.is_err() {
            return;
        }
        let Ok(again) = TcpListener::bind(address).await else { return };
        listener = again;
    }
}

impl Echo {
    async fn converse(self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut requests = 0;
        loop {
            let to = Request::read(&mut stream).await?;
            requests += 1;
            if to.sequence == GO_ON {
                return self.go_on(stream, to.connection, requests).await;
            }
            Answer { from: self.identity, to, requests }.write(&mut stream).await?;
        }
    }

    /// Answers unasked until the client is gone.
    async fn go_on(self, mut stream: TcpStream, connection: u64, requests: u64) -> io::Result<()> {
        let mut random = Random::new(connection);
        for sequence in 0.. {
            let to = Request { connection, sequence };
            Answer { from: self.identity, to, requests }.write(&mut stream).await?;
            time::sleep(random.around(self.pause)).await;
        }
        Ok(())
    }
}
