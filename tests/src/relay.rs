//! A way into a namespace: a port of this host whose connections go to a port inside.

use std::{
    io::{self, copy},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context as _, Result};

use crate::netns::Netns;

/// Relays connections with a loopback address of this host to `port` of the loopback address in `netns`, until the
/// process ends. The same port is taken where it is free, and any other where it is not.
///
/// # Errors
///
/// There is no port to be had.
pub fn start(netns: &Netns, port: u16) -> Result<SocketAddr> {
    let any = |_| TcpListener::bind("127.0.0.1:0");
    let listener = TcpListener::bind(("127.0.0.1", port)).or_else(any).context("cannot listen")?;
    let address = listener.local_addr()?;
    let inside = SocketAddr::from(([127, 0, 0, 1], port));
    // The listener stays this host's, where it was made; what the thread makes is the namespace's.
    netns.spawn_thread("relay", move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(inside);
            thread::spawn(move || relay(&client, &server?));
        }
    })?;
    Ok(address)
}

/// Both ways, until both have ended.
fn relay(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let forth = thread::spawn(move || {
        let _ = copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let _ = copy(&mut &*server, &mut &*client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = forth.join();
    Ok(())
}
