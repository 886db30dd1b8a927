//! What the kernel's verifier makes of the program with everything on.

use lb_common::knobs::{
    FEATURE_CAPTURE, FEATURE_COOKIES, FEATURE_FRAGMENTS, FEATURE_FRAMES, FEATURE_MSS, FEATURE_NAT,
    FEATURE_NEXT, FEATURE_STRICT,
};
use sluice::dataplane::load;

use crate::harness::{GUARDED, Harness, UNGUARDED, service};

/// The verifier gives up after a million instructions (`BPF_COMPLEXITY_LIMIT_INSNS` in kernel/bpf/verifier.c); the count
/// differs from kernel to kernel.
const LIMIT: u32 = 900_000;

#[test]
fn program_with_everything_on_leaves_the_verifier_room() {
    let toml = service("web", "203.0.113.10", "80", "protocol = \"tcp\"\nforwarding = \"l2\"", &[]);
    let programs = [
        ("sluice", UNGUARDED),
        ("sluice_strict", UNGUARDED | FEATURE_STRICT),
        ("sluice_guarded", GUARDED | FEATURE_MSS),
        ("sluice_cookies", GUARDED | FEATURE_MSS | FEATURE_COOKIES),
        ("sluice_frames", GUARDED | FEATURE_MSS | FEATURE_COOKIES | FEATURE_FRAMES),
        ("sluice_chained", GUARDED | FEATURE_MSS | FEATURE_COOKIES | FEATURE_NEXT),
        ("sluice_captured", GUARDED | FEATURE_MSS | FEATURE_COOKIES | FEATURE_NEXT | FEATURE_CAPTURE),
        (
            "sluice_captured_frames",
            GUARDED | FEATURE_MSS | FEATURE_COOKIES | FEATURE_FRAMES | FEATURE_CAPTURE,
        ),
    ];
    for (name, features) in programs {
        assert_eq!(load::balancer(features), name);
        let mut balancer = Harness::only_for(features | FEATURE_FRAGMENTS | FEATURE_NAT, &toml);
        let program = balancer.dataplane.program().unwrap_or_else(|error| panic!("{error}"));
        let info = program.info().expect("a loaded program");
        let verified = info.verified_instruction_count().expect("Linux 5.16 tells");
        println!("{name}: {verified} instructions verified, {:?} bytes", info.size_translated());
        assert!(verified < LIMIT, "{name}: {verified}");
    }
}
