//! traceroute through the balancer, and pings of it.

use std::{net::IpAddr, process::Command};

use lb_tests::{
    netns::Netns,
    topology::{Depth, Routed},
};

use crate::{
    mode::{Case, Mode},
    scene::Scene,
};

const PINGS: u64 = 10;

#[test]
fn traceroute_and_ping_show_the_way() {
    let network = Routed::new(Depth::Near, 2).unwrap();
    let services = Case::all().map(|case| case.service(80, &network.backends)).collect();
    let scene = Scene::start(&network, services);
    let client = &network.client.netns;
    // The router tells one host of a few packets in a second, unless it is asked to tell of all.
    network.edge.netns.set_sysctl("ipv4/icmp_ratelimit", "0").unwrap();
    network.edge.netns.set_sysctl("ipv6/icmp/ratelimit", "0").unwrap();
    for case in Case::all() {
        let (edge, vip) = (case.address_of(&network.edge), case.vip());
        // The end of a tunnel is a hop, and so is a translator; who only changes the frame is none.
        let way = if case.mode == Mode::L2 { vec![edge, vip] } else { vec![edge, vip, vip] };
        assert_eq!(trace(client, vip, &["-T", "-p", "80"]), way, "{case:?}");
        assert_eq!(trace(client, vip, &["-I"]), [edge, vip], "{case:?}");
        ping(client, vip);
    }
    let status = scene.dropped_nothing_but(&[]);
    let cases = Case::all().count() as u64;
    assert!(status.reason("echo") >= (PINGS + 1) * cases, "{status:?}");
    assert!(status.reason("ttl_expired") >= cases - Case::of(&[Mode::L2]).count() as u64, "{status:?}");
}

/// Fails where one is not answered.
fn ping(client: &Netns, target: IpAddr) {
    let options = ["-n", "-q", "-i", "0.01", "-c", &PINGS.to_string()];
    let text = client.output(Command::new("ping").args(options).arg(target.to_string())).unwrap();
    assert!(text.contains(" 0% packet loss"), "{text}");
}

/// Who answered, hop by hop.
fn trace(client: &Netns, target: IpAddr, method: &[&str]) -> Vec<IpAddr> {
    let mut command = Command::new("traceroute");
    // A hop is given its time, however fast the next one answers.
    command.args(["-n", "-q", "1", "-m", "6", "-w", "5,0,0"]).args(method).arg(target.to_string());
    let text = client.output(&mut command).unwrap();
    let answered = |line: &str| line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    // A heading; then a number, an address and a time in each line.
    let hops: Option<Vec<_>> = text.lines().skip(1).map(answered).collect();
    hops.unwrap_or_else(|| panic!("a hop does not answer:\n{text}"))
}
