//! `WebSocket` connections that stay open while the backends change.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use lb_tests::{
    netns::Netns,
    status::Status,
    topology::{Depth, Host, Routed},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async, tungstenite::Message};

use crate::{
    background::Background,
    mode::{Case, Mode, POOL},
    scene::Scene,
};

const PORT: u16 = 8000;
/// Connections of each case.
const SOCKETS: usize = 8;
/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TcpStream>;

/// One backend becomes three, and the first one drains: every socket stays with it, and new ones go to the others.
#[test]
fn websocket_stays_open_while_backends_change() {
    let network = Routed::new(Depth::Near, 3).unwrap();
    let first = &network.backends[..1];
    let mut scene = Scene::start(&network, Case::all().map(|case| case.service(PORT, first)).collect());
    let _servers: Vec<_> = network.backends.iter().map(serve).collect();
    let client = &network.client.netns;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut sockets: Vec<_> =
        Case::all().map(|case| (case, open(&runtime, client, case.at(PORT), SOCKETS))).collect();
    for (case, sockets) in &mut sockets {
        assert_eq!(names(&runtime, sockets), ["b1"; SOCKETS], "{case:?}");
    }

    scene.config.services = Case::all().map(|case| case.service(PORT, &network.backends)).collect();
    for service in &mut scene.config.services {
        service.backends[0].weight = 0;
    }
    scene.reload("b2 and b3 to take everything", |status| {
        let mut backends = status.services.iter().flat_map(|service| &service.backends);
        backends.all(|backend| (backend.share > 0.4) == (backend.name != "b1"))
            && status.services[0].backends.len() == 3
    });
    for (case, sockets) in &mut sockets {
        assert_eq!(names(&runtime, sockets), ["b1"; SOCKETS], "{case:?}");
        let mut later = open(&runtime, client, case.at(PORT), SOCKETS);
        let others: BTreeSet<_> = names(&runtime, &mut later).into_iter().collect();
        assert!(!others.contains("b1"), "{case:?}: {others:?}");
    }
    scene.dropped_nothing_but(&[]);
}

/// What a socket is translated to is in the maps, which outlive the daemon, and stays known while the socket is open,
/// whatever the file says.
#[test]
fn translated_websocket_survives_the_daemon_and_other_addresses() {
    let network = Routed::new(Depth::Near, 2).unwrap();
    let cases: Vec<_> = Case::of(&[Mode::Nat]).collect();
    let services = cases.iter().map(|case| case.service(PORT, &network.backends)).collect();
    let mut scene = Scene::start(&network, services);
    let _servers: Vec<_> = network.backends.iter().map(serve).collect();
    let client = &network.client.netns;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let open_all = || -> Vec<_> {
        cases.iter().flat_map(|case| open(&runtime, client, case.at(PORT), SOCKETS)).collect()
    };
    let mut older = open_all();
    let before = names(&runtime, &mut older);

    scene.kill_and_restart(&network);
    assert_eq!(names(&runtime, &mut older), before);
    let mut newer = open_all();
    let then = names(&runtime, &mut newer);

    let [v4, v6] = ["203.0.113.251", "2001:db8:fa::2"];
    scene.config.balancer = format!("[balancer.nat]\naddresses = [\"{v4}\", \"{v6}\"]");
    let sockets = (cases.len() * SOCKETS) as u32;
    scene.reload("the old addresses to have what they had", |status| {
        status.nat.as_ref().is_some_and(|nat| {
            let flows = |address: &str| nat.addresses.get(&address.parse().unwrap());
            flows(v4) == Some(&0)
                && POOL.iter().filter_map(|old| nat.addresses.get(old)).sum::<u32>() >= 2 * sockets
        })
    });
    assert_eq!(names(&runtime, &mut older), before);
    assert_eq!(names(&runtime, &mut newer), then);
    let mut newest = open_all();
    names(&runtime, &mut newest);
    scene.dropped_nothing_but(&[]);
}

/// The next daemon is to have other limits, so it moves the sessions over to maps of other sizes.
#[test]
fn translated_websocket_survives_maps_of_other_sizes() {
    let network = Routed::new(Depth::Near, 2).unwrap();
    let cases: Vec<_> = Case::of(&[Mode::Nat]).collect();
    let services = cases.iter().map(|case| case.service(PORT, &network.backends)).collect();
    let mut scene = Scene::start(&network, services);
    let _servers: Vec<_> = network.backends.iter().map(serve).collect();
    let client = &network.client.netns;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut sockets: Vec<_> =
        cases.iter().flat_map(|case| open(&runtime, client, case.at(PORT), SOCKETS)).collect();
    let before = names(&runtime, &mut sockets);

    for limits in ["nat_sessions = 500\nnat_openings = 600", "nat_sessions = 900000\nnat_openings = 700"] {
        scene.restart_with_limits(&network, limits);
        assert!(scene.daemon.process.log().contains("moving over to new maps"), "{limits}");
        assert_eq!(names(&runtime, &mut sockets), before, "{limits}");
        let all =
            |status: &Status| status.nat.as_ref().is_some_and(|nat| nat.sessions as usize >= sockets.len());
        let status = scene.daemon.wait_for("all sessions to be found", all).unwrap();
        let most = status.nat.unwrap().most_sessions;
        assert!(limits.starts_with(&format!("nat_sessions = {most}\n")), "{most}");
    }
    scene.dropped_nothing_but(&[]);
}

/// Opens `count` sockets, one after the other.
fn open(runtime: &Runtime, client: &Netns, target: SocketAddr, count: usize) -> Vec<Socket> {
    let open_one = async || {
        let stream = TcpStream::connect(target).await.unwrap();
        client_async(format!("ws://{target}/"), stream).await.unwrap().0
    };
    let open_all = async {
        let mut sockets = Vec::new();
        for _ in 0..count {
            sockets.push(timeout(DEADLINE, open_one()).await.expect("the handshake ends"));
        }
        sockets
    };
    client.run(|| runtime.block_on(open_all)).unwrap()
}

/// Asks every socket who is at its other end.
fn names(runtime: &Runtime, sockets: &mut [Socket]) -> Vec<String> {
    let ask = async |socket: &mut Socket| {
        socket.send(Message::text("who are you")).await.unwrap();
        let answer = timeout(DEADLINE, socket.next()).await.expect("there is an answer");
        answer.expect("the socket is open").unwrap().into_text().unwrap().as_str().to_owned()
    };
    runtime.block_on(async {
        let mut names = Vec::new();
        for socket in sockets {
            names.push(ask(socket).await);
        }
        names
    })
}

/// Answers every message with the host's name.
fn serve(host: &Host) -> Background {
    let name = host.name.clone();
    Background::start(&host.netns, move || {
        let listener = std::net::TcpListener::bind(("::", PORT)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, name.clone()));
            }
        }
    })
}

/// Ends with the connection.
async fn answer(stream: TcpStream, name: String) {
    let Ok(mut socket) = accept_async(stream).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() && socket.send(Message::text(name.as_str())).await.is_err() {
            return;
        }
    }
}
