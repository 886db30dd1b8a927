//! Tables and entries that follow from versions and from damping.

use super::*;

use crate::{
    config::{
        PreferVersion::{self, Newest, Oldest, Weight},
        Rollout,
    },
    plan::rollout::Part::{Takes, Waits},
};

/// [`config`] with a version for each backend, and a roll-out.
fn rolling(prefer: PreferVersion, canary: &str, versions: [&str; 3]) -> Config {
    let mut config = config("");
    for (backend, version) in Arc::make_mut(&mut config.services[0]).backends.iter_mut().zip(versions) {
        backend.version = Some(version.parse().unwrap());
    }
    Arc::make_mut(&mut config.services[0]).rollout =
        Some(Rollout { prefer, canary: canary.parse().ok(), ..Rollout::default() });
    config
}

fn slots(service: &PlannedService) -> Vec<u32> {
    let takes_new: Vec<_> = service.backends.iter().map(|entry| entry.takes_new != 0).collect();
    let shares = service.table.shares().to_vec();
    let has_slots: Vec<_> = shares.iter().map(|&share| share > 0).collect();
    assert_eq!(takes_new, has_slots, "who takes new flows has slots");
    shares
}

#[test]
fn canary_is_a_share_of_the_table() {
    let shares = |prefer, canary| {
        let config = rolling(prefer, canary, ["1.0.1", "1.0.1", "1.0.2"]);
        slots(&planned(&config, &view(&config), NOW).0)
    };
    // Of 499 slots; equal backends have as many, or one more.
    let of_versions = |prefer, canary| {
        let shares = shares(prefer, canary);
        assert!(shares[0].abs_diff(shares[1]) <= 1, "{shares:?}");
        [shares[0] + shares[1], shares[2]]
    };
    assert_eq!(of_versions(Oldest, "10%"), [449, 50]);
    assert_eq!(of_versions(Newest, "10%"), [50, 449]);
    assert_eq!(of_versions(Newest, ""), [0, 499]);
    let [others, canary] = of_versions(Weight, "50%");
    assert!(others.abs_diff(canary) <= 1, "{others}, {canary}");
    let plain = config("");
    assert_eq!(shares(Weight, ""), planned(&plain, &view(&plain), NOW).0.table.shares());
}

#[test]
fn waiting_version_runs_when_the_old_one_has_been_down_for_its_grace() {
    let config = rolling(Weight, "", ["2.4.1", "2.4.2", "2.5.1"]);
    let (service, next) = planned(&config, &view(&config), NOW);
    assert_eq!((slots(&service)[2], next), (0, None));
    assert_eq!(service.parts, [Takes(1.0), Takes(1.0), Waits]);

    let mut world = down(&config, &[("b2", NOW)]);
    drain(&mut world, &config, "b1");
    let ends = NOW + config.services[0].down_grace;
    let (service, next) = planned(&config, &world, ends.saturating_sub(Duration::from_secs(1)));
    assert_eq!((service.parts[2], next), (Waits, Some(ends)));
    let (service, _) = planned(&config, &world, ends);
    assert_eq!(slots(&service), [0, 0, 499]);
    assert_eq!(service.runs.map(|runs| runs.to_string()).as_deref(), Some("2.5.1"));
}

#[test]
fn held_backend_gets_nothing_new_unless_all_are_held() {
    let config = config("flap = { changes = 6, within = \"5m\", hold = \"10m\" }");
    let hold = |names: &[&str]| {
        let mut world = view(&config);
        for (after, name) in (1..).zip(names) {
            let key = TargetKey { service: "web".to_owned(), backend: (*name).to_owned() };
            world.damped.insert(key, NOW + Duration::from_secs(after));
        }
        planned(&config, &world, NOW)
    };
    let (service, next) = hold(&["b2"]);
    assert_eq!((slots(&service)[1], next), (0, Some(NOW + Duration::from_secs(1))));
    assert_eq!(service.backends[1].old_flows, OldFlows::Keep as u8);
    assert_eq!(slots(&hold(&["b3", "b1"]).0), [0, 499, 0]);
    let (service, _) = hold(&["b1", "b2", "b3"]);
    assert!(slots(&service).iter().all(|&slots| slots > 0));
}
