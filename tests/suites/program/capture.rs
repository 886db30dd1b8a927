//! The program that shows packets to an operator, and those that do not.

use aya::maps::MapInfo;
use lb_common::knobs::{FEATURE_CAPTURE, FEATURE_FRAMES, FEATURE_MSS, FEATURE_NEXT, FEATURE_STRICT};
use lb_tests::packet::Packet;

use crate::harness::{GUARDED, Harness, UNGUARDED, service};

#[test]
fn programs_that_show_nothing_know_no_map_for_it() {
    let toml = service("web", "203.0.113.10", "80", "protocol = \"tcp\"\nforwarding = \"l2\"", &[]);
    let shown = |features| {
        let mut balancer = Harness::only_for(features, &toml);
        let info = balancer.dataplane.program().unwrap().info().unwrap();
        let maps = info.map_ids().unwrap().expect("Linux tells");
        let names =
            maps.into_iter().map(|id| MapInfo::from_id(id).unwrap().name_as_str().unwrap().to_owned());
        names.filter(|name| name.starts_with("capture")).count()
    };
    let programs = [
        UNGUARDED,
        UNGUARDED | FEATURE_STRICT,
        GUARDED | FEATURE_MSS,
        GUARDED | FEATURE_MSS | FEATURE_FRAMES,
        GUARDED | FEATURE_MSS | FEATURE_NEXT,
    ];
    assert_eq!(programs.map(shown), [0; 5]);
    assert_eq!(shown(GUARDED | FEATURE_CAPTURE), 4);
}

#[test]
fn program_that_shows_packets_does_the_same_to_them() {
    let backends = ["198.51.100.11", "198.51.100.12"];
    let toml = service("web", "203.0.113.10", "80", "protocol = \"tcp\"\nforwarding = \"ipip\"", &backends);
    let (mut shows, mut other) = (Harness::only_for(GUARDED | FEATURE_CAPTURE, &toml), Harness::new(&toml));
    for source_port in 1000..1100 {
        let frame = Packet { source_port, ..Packet::default() }.build();
        assert_eq!(shows.run(&frame), other.run(&frame));
    }
}
