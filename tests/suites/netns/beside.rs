//! Another XDP program on the balancer's interface, behind Sluice's: here the decapsulator, which counts what it gets.

use std::{borrow::Borrow, fs, path::PathBuf, process::Command};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, PerCpuArray},
    programs::Xdp,
};
use lb_common::counter::{Fate, Reason};
use lb_tests::{
    balancer::READY_DEADLINE,
    bpf::Pins,
    config::Config,
    process::{Process, wait_until},
    topology::{Host, Lan},
};
use rustix::process::Signal;
use sluice::dataplane::OBJECT;

use crate::scene::{DETACH, Scene, web_services};

/// The other program.
struct Other {
    ebpf: Ebpf,
    pins: Pins,
}

impl Other {
    fn pinned() -> Self {
        let pins = Pins::unique("other").unwrap();
        fs::create_dir(pins.path()).unwrap();
        let mut ebpf = EbpfLoader::new().load(OBJECT).unwrap();
        let program: &mut Xdp = ebpf.program_mut("sluice_decap").unwrap().try_into().unwrap();
        program.load().unwrap();
        program.pin(pins.path().join("program")).unwrap();
        Self { ebpf, pins }
    }

    fn path(&self) -> PathBuf {
        self.pins.path().join("program")
    }

    fn key(&self) -> String {
        format!("next_program = \"{}\"", self.path().display())
    }

    /// Packets that it was given.
    fn packets(&self) -> u64 {
        let reasons: PerCpuArray<&MapData, _> = self.ebpf.map("reasons").unwrap().try_into().unwrap();
        count(&reasons, |_| true)
    }
}

/// The counters of a balancer, of which nothing is lost when it takes other maps.
struct Passed(Vec<PerCpuArray<MapData, [u64; 2]>>);

impl Passed {
    /// Those of the maps that are pinned now.
    fn note(&mut self, scene: &Scene<'_>) {
        let map = MapData::from_pin(scene.pins.path().join("reasons")).unwrap();
        self.0.push(Map::PerCpuArray(map).try_into().unwrap());
    }

    /// Packets that it has passed.
    fn packets(&self) -> u64 {
        self.0.iter().map(|reasons| count(reasons, |reason| reason.fate() == Fate::Pass)).sum()
    }

    /// Fails unless the other programs were given them, all and none else. More come all the time.
    #[track_caller]
    fn assert_given(&self, others: &[&Other]) {
        let given = || others.iter().map(|other| other.packets()).sum::<u64>();
        let (before, passed, after) = (given(), self.packets(), given());
        assert!((before..=after).contains(&passed), "{passed} passed, {before} to {after} given");
    }
}

fn count<M: Borrow<MapData>>(reasons: &PerCpuArray<M, [u64; 2]>, which: fn(Reason) -> bool) -> u64 {
    let of = |reason: Reason| reasons.get(&(reason as u32), 0).unwrap().iter().map(|[n, _]| n).sum::<u64>();
    Reason::ALL.into_iter().filter(|reason| which(*reason)).map(of).sum()
}

/// Pings of the balancer's own address, some hundred a second.
fn pings(client: &Host, balancer: &Host) -> Process {
    let mut ping = Command::new("ping");
    ping.args(["-q", "-i", "0.004", &balancer.v4.to_string()]);
    Process::spawn(&client.netns, "ping", &mut ping).unwrap()
}

#[test]
fn what_passes_goes_on_to_the_other_program_whatever_becomes_of_the_daemon() {
    let lan = Lan::new().unwrap();
    let (first, second) = (Other::pinned(), Other::pinned());
    let adjust = |config: &mut Config| config.balancer = first.key();
    let services = web_services(&lan.backends);
    let mut scene = Scene::start_adjusted(&lan.balancer, &lan.backends, services, DETACH, adjust);
    let _pings = pings(&lan.client, &lan.balancer);
    let mut passed = Passed(Vec::new());
    passed.note(&scene);
    passed.assert_given(&[&first]);

    scene.kill_and_restart();
    scene.daemon.wait_ready().unwrap();
    passed.assert_given(&[&first]);

    // A program that is specialised anew takes the place of the one before.
    scene.config.services[0].settings = "affinity = \"source\"".to_owned();
    reload(&mut scene);
    passed.assert_given(&[&first]);

    scene.config.balancer = second.key();
    reload(&mut scene);
    let of_first = first.packets();
    passed.assert_given(&[&first, &second]);
    assert_eq!(first.packets(), of_first, "it is asked no more");

    // Other maps, and so a program beside the one that goes on meanwhile.
    scene.daemon.process.signal(Signal::KILL).unwrap();
    scene.daemon.process.wait(READY_DEADLINE).unwrap();
    let file = scene.config.to_string().replace("slots = 200000\n", "slots = 300000\n");
    fs::write(scene.config_path(), file).unwrap();
    scene.restart();
    assert!(scene.daemon.process.log().contains("moving over"), "{}", scene.daemon.process.log());
    passed.note(&scene);
    passed.assert_given(&[&first, &second]);
    assert!(passed.packets() > 200, "there were pings");
}

/// Has the daemon take the configuration in.
fn reload(scene: &mut Scene<'_>) {
    let reloads = |scene: &Scene<'_>| scene.daemon.process.log().matches("configuration reloaded").count();
    let before = reloads(scene);
    scene.save_config();
    wait_until(READY_DEADLINE, "the reload", || reloads(scene) > before).unwrap();
    scene.daemon.wait_ready().unwrap();
}
