//! Every program that balances, with everything that it may be loaded for.

use lb_common::knobs::{FEATURE_LIMITS, FEATURE_LISTS, FEATURE_NEXT, FEATURE_RATES, FEATURE_STRICT};
use sluice::dataplane::load::balancer;

use crate::harness::Harness;

/// What chooses the program, and so is not in all of them.
const CHOOSERS: u32 = FEATURE_STRICT | FEATURE_LISTS | FEATURE_RATES | FEATURE_LIMITS | FEATURE_NEXT;

/// What the verifier follows before it gives up (`BPF_COMPLEXITY_LIMIT_INSNS` in linux/bpf.h).
const LIMIT: u32 = 1_000_000;

/// Older kernels prune less: room is left for them.
const ROOM: u32 = 250_000;

#[test]
fn every_program_is_accepted_with_room_to_spare() {
    let everything = !CHOOSERS;
    let guards = CHOOSERS & !FEATURE_NEXT;
    for (name, features) in [
        ("sluice", everything),
        ("sluice_strict", everything | FEATURE_STRICT),
        ("sluice_guarded", everything | guards),
        ("sluice_chained", everything | CHOOSERS),
    ] {
        assert_eq!(balancer(features), name);
        let mut harness = Harness::with_exactly(features, "");
        let program = harness.dataplane.program().unwrap_or_else(|error| panic!("{error}"));
        let info = program.info().expect("the kernel tells");
        let (verified, translated) = (info.verified_instruction_count(), info.size_translated());
        println!("{name}: {verified:?} instructions verified, {translated:?} bytes");
        assert!(verified.is_none_or(|verified| verified < LIMIT - ROOM), "{name}: {verified:?}");
    }
}
