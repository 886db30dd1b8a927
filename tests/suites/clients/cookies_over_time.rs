//! Connections that SYN cookies have opened, and others beside them, over reloads and the lives of daemons.

use std::{fmt::Write as _, fs};

use lb_common::counter::Reason::NotOpenYet;
use lb_tests::{
    balancer::READY_DEADLINE,
    config::Service,
    held::Held,
    process::wait_until,
    topology::{Depth, Routed},
};

use crate::{
    mode::{Case, Mode},
    scene::Scene,
};

/// Connections to each service.
const COUNT: usize = 10;

/// What a daemon pins that knows of cookies, and one before it did not.
const MAPS: [&str; 3] = ["cookie_rates", "cookie_states", "nat_splices"];

/// How connections open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    ByCookie,
    WithTheBackend,
}

#[test]
fn connections_opened_by_cookies_go_on_when_cookies_are_turned_off() {
    let network = Routed::new(Depth::Near, 2).unwrap();
    let mut scene = Scene::start(&network, services(&network, "\"always\""));
    let older = open(&network, &scene, Opening::ByCookie);
    scene.config.services = services(&network, "\"off\"");
    let reloads = |scene: &Scene<'_>| scene.daemon.process.log().matches("configuration reloaded").count();
    let before = reloads(&scene);
    scene.reload("the daemon to answer", |_| true);
    wait_until(READY_DEADLINE, "the reload", || reloads(&scene) > before).unwrap();
    let newer = open(&network, &scene, Opening::WithTheBackend);
    assert_all_answered([older, newer]);
    scene.dropped_nothing_but(&[NotOpenYet]);
}

/// Whoever starts without cookies has to shift the numbers of connections that there are.
#[test]
fn connections_opened_by_cookies_outlive_daemons_with_and_without() {
    let network = Routed::new(Depth::Near, 2).unwrap();
    let mut scene = Scene::start(&network, services(&network, "\"always\""));
    let mut first = open(&network, &scene, Opening::ByCookie);
    scene.kill_and_restart(&network);
    for held in &mut first {
        held.go_on().unwrap();
    }
    let second = open(&network, &scene, Opening::ByCookie);
    scene.kill_and_change(&network, |config, _| config.services = services(&network, "\"off\""));
    let third = open(&network, &scene, Opening::WithTheBackend);
    assert_all_answered([first, second, third]);
    scene.dropped_nothing_but(&[NotOpenYet]);
}

/// As after an upgrade from a version without cookies, and where they were not asked for so far.
#[test]
fn daemon_that_finds_no_cookies_takes_over_and_sends_some() {
    for maps in [&MAPS[..], &[]] {
        let network = Routed::new(Depth::Near, 2).unwrap();
        let mut scene = Scene::start(&network, services(&network, "\"off\""));
        let older = open(&network, &scene, Opening::WithTheBackend);
        scene.kill_and_change(&network, |config, pins| {
            for map in maps {
                fs::remove_file(pins.join(map)).unwrap();
            }
            config.services = services(&network, "\"always\"");
        });
        assert!(scene.daemon.process.log().contains("moving over to new maps"), "without {maps:?}");
        let newer = open(&network, &scene, Opening::ByCookie);
        assert_all_answered([older, newer]);
        scene.dropped_nothing_but(&[NotOpenYet]);
    }
}

fn cases() -> impl Iterator<Item = Case> {
    Case::of(&[Mode::Nat])
}

fn services(network: &Routed, syn_cookies: &str) -> Vec<Service> {
    let service = |case: Case| {
        let mut service = case.service(80, &network.backends);
        write!(service.settings, "\nguard = {{ syn_cookies = {syn_cookies} }}").unwrap();
        service
    };
    cases().map(service).collect()
}

/// Holds connections to every service, and makes sure that they have opened so.
fn open(network: &Routed, scene: &Scene<'_>, opening: Opening) -> Vec<Held> {
    let counted = || ["cookie", "acknowledged"].map(|reason| scene.daemon.status().unwrap().reason(reason));
    let before = counted();
    let client = &network.client.netns;
    let held = cases().map(|case| Held::open(client, case.at(80), COUNT).unwrap()).collect::<Vec<_>>();
    let all = (held.len() * COUNT) as u64;
    let is_so = |[cookies, acknowledged]: [u64; 2]| match opening {
        Opening::ByCookie => cookies >= before[0] + all && acknowledged >= before[1] + all,
        Opening::WithTheBackend => [cookies, acknowledged] == before,
    };
    wait_until(READY_DEADLINE, &format!("connections to open {opening:?}"), || is_so(counted())).unwrap();
    held
}

fn assert_all_answered<const N: usize>(held: [Vec<Held>; N]) {
    for (age, held) in held.into_iter().flatten().enumerate() {
        let ends = held.finish().unwrap();
        assert_eq!((ends.answered(), ends.resets), (COUNT, 0), "{age}: {ends:?}");
    }
}
