//! Roll-outs, played through with real connections; and what is left of one when the daemon is killed.

use std::collections::BTreeMap;

use lb_tests::{held::Held, status::Service, topology::VIP4};

use crate::{clinic::lan, stage::Stage};

/// Connections of a step. Shares of them are within [`CLOSE`] of what they are to be, but for once in a million times.
const COUNT: usize = 2000;
const CLOSE: f64 = 2.5;

/// The same for a share of 50 %, whose spread is larger.
const CLOSE_TO_HALF: f64 = 5.6;

#[track_caller]
fn assert_shares(found: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for &(version, share) in expected {
        let close = match share {
            0.0 | 100.0 => 0.0,
            50.0 => CLOSE_TO_HALF,
            _ => CLOSE,
        };
        assert!((found[version] - share).abs() <= close, "{version} was to have {share} %: {found:?}");
    }
}

fn share(service: &Service, backend: &str) -> f64 {
    service.backend(backend).map_or(0.0, |backend| backend.share)
}

#[test]
fn compatible_versions_run_side_by_side_and_a_canary_is_flipped() {
    let lan = lan(3);
    let versions = ["1.0.1", "1.0.1", "1.0.2"];
    let mut stage = Stage::set(&lan, "rollout = { compatible = \"patch\" }", &["1.0.1", "1.0.1"]);
    let before = stage.measure("1.0.1 alone", &versions, 200);
    assert_shares(&before, &[("1.0.1", 100.0), ("1.0.2", 0.0)]);

    let canary = "rollout = { compatible = \"patch\", prefer = \"oldest\", canary = \"5%\" }";
    stage.rewrite(canary, &versions);
    let found = stage.measure("1.0.2 is added: oldest preferred, canary 5 %", &versions, COUNT);
    assert_shares(&found, &[("1.0.1", 95.0), ("1.0.2", 5.0)]);

    let held = Held::open(&lan.client.netns, (VIP4, 80).into(), 60).unwrap();
    let said = stage.sluice(&["rollout", "set", "web", "--prefer", "weight", "--canary", "50%"]);
    assert!(said.contains("by weight by command, canary 50% by command"), "{said}");
    let found = stage.measure("by command: canary 50 %", &versions, COUNT);
    assert_shares(&found, &[("1.0.1", 50.0), ("1.0.2", 50.0)]);

    stage.sluice(&["rollout", "set", "web", "--prefer", "newest", "--canary", "5%"]);
    let found = stage.measure("flipped: newest preferred, 5 % for the oldest", &versions, COUNT);
    assert_shares(&found, &[("1.0.1", 5.0), ("1.0.2", 95.0)]);

    stage.sluice(&["rollout", "set", "web", "--canary", "none"]);
    let found = stage.measure("no canary any more", &versions, 200);
    assert_shares(&found, &[("1.0.1", 0.0), ("1.0.2", 100.0)]);

    let ends = held.finish().unwrap();
    assert!(ends.of("b1") + ends.of("b2") > 40, "old flows have stayed where they were: {ends:?}");

    stage.turn("b3", "down");
    let found = stage.measure("the newest is down", &versions, 200);
    assert_shares(&found, &[("1.0.1", 100.0), ("1.0.2", 0.0)]);
    stage.show();
}

#[test]
fn incompatible_version_waits_until_the_last_of_the_old_ones_has_stopped() {
    let lan = lan(3);
    let (versions, rollout) =
        (["2.4.2", "2.4.2", "2.5.1"], "rollout = { compatible = \"patch\" }\ndown_grace = \"1s\"");
    let mut stage = Stage::set(&lan, rollout, &versions);
    let old = [("2.4.2", 100.0), ("2.5.1", 0.0)];
    let new = [("2.4.2", 0.0), ("2.5.1", 100.0)];
    assert_shares(&stage.measure("2.5.1 is there, and waits", &versions, 200), &old);
    let b3 = stage.wait("b3 to be there", |status| status.backend("b3").is_some());
    let why = b3.backend("b3").and_then(|backend| backend.held_back.clone());
    assert_eq!(why.as_deref(), Some("its version waits while 2.4.2 runs"));

    stage.turn("b2", "down");
    assert_shares(&stage.measure("one of 2.4.2 is down", &versions, 200), &old);
    let mut held = Held::open(&lan.client.netns, (VIP4, 80).into(), 60).unwrap();
    stage.sluice(&["drain", "web/b1"]);
    stage.wait("2.5.1 to run", |status| share(status, "b3") > 0.99);
    assert_shares(&stage.measure("the other one drains: 2.5.1 runs", &versions, 200), &new);

    stage.turn("b2", "up");
    assert_shares(&stage.measure("the first one is up again: 2.5.1 waits", &versions, 200), &old);

    let said = stage.sluice(&["rollout", "go", "web"]);
    assert!(
        said.contains("2.4.2 waits (2 backends), 2.5.1 gets 100.00 %") && said.contains("go to 2.5.1"),
        "{said}"
    );
    assert_shares(&stage.measure("the operator says go", &versions, 200), &new);

    stage.sluice(&["rollout", "hold", "web"]);
    assert_shares(&stage.measure("and takes it back", &versions, 200), &old);

    stage.sluice(&["maintenance", "web/b2"]);
    assert_shares(&stage.measure("the last of 2.4.2 is in maintenance", &versions, 200), &new);
    held.go_on().unwrap();
    let ends = held.finish().unwrap();
    assert!(
        ends.of("b1") > 0 && ends.of("b1") == ends.answered(),
        "a drained backend keeps its flows: {ends:?}"
    );
    stage.show();
}

/// One backend is down, one is held by damping, a version waits, and commands have been given.
#[test]
fn killed_daemon_leaves_a_roll_out_as_it_was() {
    let lan = lan(5);
    let keys = "flap = { changes = 3, within = \"1m\", hold = \"10m\" }\n\
                rollout = { compatible = \"patch\", prefer = \"oldest\" }";
    let mut stage = Stage::set(&lan, keys, &["1.0.1", "1.0.1", "1.0.1", "1.0.2", "2.0"]);
    stage.sluice(&["rollout", "set", "web", "--canary", "20%"]);
    for _ in 0..2 {
        stage.turn("b2", "down");
        stage.turn("b2", "up");
    }
    stage.turn("b3", "down");
    let held = |status: &Service| status.backend("b2").and_then(|backend| backend.held_back.clone());
    let before = stage.wait("b2 to be held", |status| {
        held(status).is_some() && share(status, "b2") == 0.0 && share(status, "b3") == 0.0
    });
    assert!(held(&before).unwrap().starts_with("held for 4 changes of health within 1m"), "{before:?}");
    let history = stage.history("web/b2");
    let health = |is: &str| ("health".to_owned(), is.to_owned());
    let flapped = ["up", "down", "up", "down"].map(health);
    assert_eq!(history[1..5], flapped, "{history:?}");
    assert_eq!(history[5..], [("damping".to_owned(), "held".to_owned()), health("up")], "{history:?}");

    stage.kill_and_restart();
    let after = stage.wait("the same", |status| status.backends.len() == 5);
    let facts = |service: &Service| -> Vec<_> {
        let backends = service.backends.iter();
        backends
            .map(|backend| {
                let to_ten_thousandths = (backend.share * 10_000.0).round();
                format!(
                    "{} {} {} {} {:?}",
                    backend.name, backend.health, to_ten_thousandths, backend.reason, backend.held_back
                )
            })
            .collect()
    };
    assert_eq!(facts(&after), facts(&before));
    assert_eq!(
        (&after.digest, after.generation),
        (&before.digest, before.generation),
        "no table was published"
    );
    assert_eq!(stage.history("web/b2"), history);

    // Everybody has been probed several times by then, and nobody's health has been taken for another.
    stage.turn("b3", "up");
    let log = stage.log();
    let changes: Vec<_> = log.lines().filter(|line| line.contains("backend is ")).collect();
    assert!(changes.len() == 1 && changes[0].contains("b3"), "{changes:#?}");
    let status = stage.wait("b3 to have its share", |status| share(status, "b3") > 0.3);
    assert!(held(&status).is_some() && (0.19..0.21).contains(&share(&status, "b4")), "{status:?}");
    assert!(share(&status, "b5") < f64::EPSILON, "{status:?}");
    let log = stage.history("web/b3");
    assert_eq!(log.last(), Some(&health("up")));
}
