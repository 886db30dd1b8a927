//! A TCP server on a thread of its own, in a namespace.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use anyhow::Context as _;
use lb_tests::netns::Netns;
use rustix::net::{Shutdown, shutdown};

/// Dropping it closes its port: from then on connections are refused.
pub(crate) struct Server {
    listener: TcpListener,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    /// Listens at `port` of every IPv4 address in `netns`, and gives each connection to `serve`.
    pub(crate) fn start(netns: &Netns, port: u16, serve: fn(TcpStream)) -> anyhow::Result<Self> {
        let listener = netns.run(|| TcpListener::bind(("0.0.0.0", port)))?;
        let listener = listener.with_context(|| format!("cannot listen at port {port}"))?;
        let own = listener.try_clone()?;
        let accept = move || {
            // The end is an error too: a listener that is shut down accepts nothing.
            while let Ok((stream, _)) = own.accept() {
                serve(stream);
            }
        };
        Ok(Self { listener, thread: Some(netns.spawn_thread("server", accept)?) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = shutdown(&self.listener, Shutdown::Both);
        // Without it the thread would wait for ever.
        if ended.is_ok() && self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("a server has panicked");
        }
    }
}

/// Serves nothing: a probe is content with a connection.
pub(crate) fn close(stream: TcpStream) {
    drop(stream);
}
