//! traceroute through the balancer.

use std::{net::IpAddr, process::Command};

use lb_tests::{
    netns::Netns,
    topology::{Depth, Routed},
};

use crate::{mode::Case, scene::Scene};

#[test]
fn traceroute_shows_the_hops() {
    let network = Routed::new(Depth::Near, 2).unwrap();
    let services = Case::all().map(|case| case.service(80, &network.backends)).collect();
    let scene = Scene::start(&network, services);
    for case in Case::all() {
        let hops = trace(&network.client.netns, case.vip(), &["-T", "-p", "80"]);
        let edge = case.address_of(&network.edge);
        assert_eq!(hops, [edge, case.vip()], "{case:?}");
    }
    scene.dropped_nothing_but(&[]);
}

/// Who answered, hop by hop.
fn trace(client: &Netns, target: IpAddr, method: &[&str]) -> Vec<IpAddr> {
    let mut command = Command::new("traceroute");
    command.args(["-n", "-q", "1", "-m", "6"]).args(method).arg(target.to_string());
    let text = client.output(&mut command).unwrap();
    let answered = |line: &str| line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    // A heading; then a number, an address and a time in each line.
    let hops: Option<Vec<_>> = text.lines().skip(1).map(answered).collect();
    hops.unwrap_or_else(|| panic!("a hop does not answer:\n{text}"))
}
