//! The small servers that answer what the test wants: a line over TCP, or a datagram.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use lb_tests::topology::Host;

/// What a server says, until the test says otherwise. It ends with the test's process.
#[derive(Clone)]
pub(crate) struct Answer(Arc<Mutex<&'static str>>);

impl Answer {
    pub(crate) fn set(&self, text: &'static str) {
        *self.0.lock().unwrap() = text;
    }

    fn text(&self) -> &'static str {
        *self.0.lock().unwrap()
    }
}

/// An agent: whoever connects to `port` gets the line.
pub(crate) fn agent(host: &Host, port: u16, line: &'static str) -> Answer {
    let answer = Answer(Arc::new(Mutex::new(line)));
    let said = answer.clone();
    let listener = host.netns.run(|| TcpListener::bind(("0.0.0.0", port))).unwrap().unwrap();
    let serve = move || {
        for stream in listener.incoming() {
            // A probe that has gone by now is none of this server's business.
            let _ = stream.and_then(|mut stream| {
                let mut asked = [0; 5];
                stream.read_exact(&mut asked)?;
                stream.write_all(said.text().as_bytes())
            });
        }
    };
    host.netns.spawn_thread("agent", serve).unwrap();
    answer
}

/// A web server that takes its time: as many milliseconds as the answer says. It serves one client after the other.
pub(crate) fn slow_web(host: &Host, port: u16, milliseconds: &'static str) -> Answer {
    let answer = Answer(Arc::new(Mutex::new(milliseconds)));
    let said = answer.clone();
    let listener = host.netns.run(|| TcpListener::bind(("0.0.0.0", port))).unwrap().unwrap();
    let serve = move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked)?;
                thread::sleep(Duration::from_millis(said.text().parse().unwrap()));
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            });
        }
    };
    host.netns.spawn_thread("web", serve).unwrap();
    answer
}

/// Whoever sends a datagram to `port` gets the answer.
pub(crate) fn datagrams(host: &Host, port: u16, text: &'static str) -> Answer {
    let answer = Answer(Arc::new(Mutex::new(text)));
    let said = answer.clone();
    let socket = host.netns.run(|| UdpSocket::bind(("0.0.0.0", port))).unwrap().unwrap();
    let serve = move || {
        let mut asked = [0; 64];
        while let Ok((_, client)) = socket.recv_from(&mut asked) {
            let _ = socket.send_to(said.text().as_bytes(), client);
        }
    };
    host.netns.spawn_thread("datagrams", serve).unwrap();
    answer
}
