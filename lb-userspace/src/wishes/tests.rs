//! What is wanted of backends after commands, reloads and restarts.

mod rollout;

use std::time::Duration;

use AdminState::{Drain, Maintenance, Ready};
use lb_common::backend::{Forwarding as Mode, OldFlows};

use super::{
    file::{Kept, StateError, StateFile, parse, render},
    *,
};

const BOOT: Duration = Duration::from_secs(1_700_000_000);

/// When a daemon starts.
const LATER: Duration = Duration::from_secs(10_000);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A service `web` with these backends, and what the file says of them.
fn config(backends: &[(&str, AdminState)]) -> Config {
    let backend = |(number, (name, admin)): (usize, &(&str, AdminState))| {
        let state = match admin {
            Ready => "ready",
            Drain => "drain",
            Maintenance => "maintenance",
        };
        format!(
            "[[service.backend]]\nname = \"{name}\"\naddress = \"192.0.2.{}\"\nadmin = \"{state}\"\n",
            number + 11
        )
    };
    let backends: String = backends.iter().enumerate().map(backend).collect();
    let service =
        "name = \"web\"\naddress = \"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"\nforwarding = \"l2\"\n";
    let text = format!("[balancer]\ninterfaces = [\"eth0\"]\n[[service]]\n{service}{backends}");
    Config::parse("sluice.toml", &text).unwrap().0
}

fn order(state: AdminState) -> Order {
    Order { state, deadline: None, on_deadline: None }
}

/// Wishes after `order` for `web/b1` at 100 s, of which the file said `file` at 50 s.
fn ordered(file: AdminState, order: Order) -> Wishes {
    let config = config(&[("b1", file)]);
    let mut wishes = Wishes::default();
    wishes.follow(None, &config, at(50));
    wishes.obey(&config, &TargetKey::new("web", "b1"), order, at(100)).unwrap();
    wishes
}

fn state(wishes: &Wishes) -> Option<(AdminState, u64)> {
    wishes.of("web", "b1").map(|wish| (wish.state, wish.since.as_secs()))
}

#[test]
fn command_holds_until_the_file_says_something_else() {
    // (file, command, file later, what holds then and since when, whether the command was overruled)
    let cases = [
        (Ready, Drain, Ready, Some((Drain, 100)), false),
        (Ready, Drain, Drain, Some((Drain, 100)), true),
        (Ready, Drain, Maintenance, Some((Maintenance, 200)), true),
        (Ready, Maintenance, Ready, Some((Maintenance, 100)), false),
        (Ready, Ready, Drain, Some((Drain, 200)), false),
        (Drain, Ready, Drain, Some((Ready, 100)), false),
        (Drain, Ready, Ready, None, true),
        (Drain, Ready, Maintenance, Some((Maintenance, 200)), true),
        (Drain, Drain, Drain, Some((Drain, 50)), false),
        (Drain, Drain, Ready, None, false),
        (Drain, Maintenance, Drain, Some((Maintenance, 100)), false),
        (Maintenance, Drain, Maintenance, Some((Drain, 100)), false),
    ];
    for (file, command, later, expected, overruled) in cases {
        let mut wishes = ordered(file, order(command));
        let dropped = wishes.follow(None, &config(&[("b1", later)]), at(200));
        let case = format!("file {file:?}, command {command:?}, file {later:?}");
        assert_eq!((state(&wishes), !dropped.is_empty()), (expected, overruled), "{case}");
    }
}

#[test]
fn repeated_drain_has_not_begun_anew() {
    let config = config(&[("b1", Ready)]);
    let mut wishes = ordered(Ready, Order { deadline: Some(at(600)), ..order(Drain) });
    wishes.obey(&config, &TargetKey::new("web", "b1"), order(Drain), at(300)).unwrap();
    let service = &config.services[0];
    assert_eq!(
        (state(&wishes), wishes.of("web", "b1").unwrap().ends(service)),
        (Some((Drain, 100)), Some(at(700)))
    );
    let later = Order { deadline: Some(at(60)), on_deadline: Some(OnDeadline::Reset), ..order(Drain) };
    wishes.obey(&config, &TargetKey::new("web", "b1"), later, at(300)).unwrap();
    let wish = wishes.of("web", "b1").unwrap();
    assert_eq!(
        (wish.since, wish.ends(service)),
        (at(100), Some(at(360))),
        "a deadline counts from the command"
    );
    assert_eq!(OldFlows::from(wish.on_deadline(service)), OldFlows::Reset);
}

#[test]
fn ready_ends_a_drain_with_its_deadline() {
    let config = config(&[("b1", Ready)]);
    let mut wishes = ordered(Ready, Order { deadline: Some(at(600)), ..order(Drain) });
    wishes.obey(&config, &TargetKey::new("web", "b1"), order(Ready), at(300)).unwrap();
    assert_eq!(wishes, Wishes::default());
}

#[test]
fn orders_that_cannot_be_followed_change_nothing() {
    let config = config(&[("b1", Ready)]);
    let deadline = |state| Order { deadline: Some(at(1)), ..order(state) };
    let cases = [
        ("web", "b9", order(Drain), "service web has no backend b9"),
        ("shop", "b1", order(Drain), "there is no service shop"),
        ("web", "b1", deadline(Ready), "a deadline belongs to a drain, not to being ready"),
        ("web", "b1", deadline(Maintenance), "a deadline belongs to a drain, not to maintenance"),
    ];
    for (service, backend, order, told) in cases {
        let mut wishes = Wishes::default();
        let error = wishes.obey(&config, &TargetKey::new(service, backend), order, at(100)).unwrap_err();
        assert_eq!((error.to_string().as_str(), wishes), (told, Wishes::default()));
    }
}

#[test]
fn backend_that_is_gone_leaves_and_one_that_is_back_does_not() {
    let (both, one) = (config(&[("b1", Ready), ("b2", Ready)]), config(&[("b1", Ready)]));
    let mut wishes = Wishes::default();
    wishes.release(&both, &one, at(100));
    wishes.follow(None, &one, at(100));
    let [leaving] = wishes.leaving() else { panic!("{wishes:?}") };
    assert_eq!((leaving.backend.name.as_str(), leaving.wish), ("b2", Wish::of_file(Drain, at(100))));
    let error = wishes.obey(&one, &TargetKey::new("web", "b2"), order(Ready), at(110)).unwrap_err();
    assert!(error.to_string().contains("web/b2 is gone from the file"), "{error}");
    wishes.obey(&one, &TargetKey::new("web", "b2"), order(Maintenance), at(110)).unwrap();
    assert_eq!(wishes.leaving()[0].wish.state, Maintenance);
    wishes.follow(None, &both, at(120));
    assert_eq!(wishes, Wishes::default());
}

#[test]
fn drain_goes_on_where_its_backend_leaves() {
    let (before, after) = (config(&[("b1", Ready)]), config(&[]));
    let mut wishes = ordered(Ready, Order { deadline: Some(at(600)), ..order(Drain) });
    wishes.release(&before, &after, at(200));
    wishes.follow(None, &after, at(200));
    let wish = wishes.leaving()[0].wish;
    assert_eq!((wish.over, wish.ends(&after.services[0])), (None, Some(at(700))));
    assert_eq!(wishes.of("web", "b1"), None);
}

#[test]
fn name_that_moved_to_another_address_is_the_new_backends() {
    let before = config(&[("b1", Ready), ("b2", Ready)]);
    let mut after = before.clone();
    Arc::make_mut(&mut after.services[0]).backends[0].address = "192.0.2.99".parse().unwrap();
    let mut wishes = Wishes::default();
    wishes.release(&before, &after, at(100));
    wishes.follow(None, &after, at(100));
    assert_eq!(wishes.leaving()[0].backend.name, "b1@192.0.2.11");
    wishes.follow(None, &after, at(200));
    assert_eq!(wishes.leaving()[0].backend.name, "b1@192.0.2.11");
}

#[test]
fn backends_of_a_service_that_is_gone_do_not_leave() {
    let before = config(&[("b1", Ready)]);
    let mut after = before.clone();
    Arc::make_mut(&mut after.services[0]).port = 81;
    let mut wishes = Wishes::default();
    wishes.release(&before, &after, at(100));
    wishes.follow(None, &after, at(100));
    assert_eq!(wishes, Wishes::default());
}

#[test]
fn members_that_nobody_knows_leave_under_their_addresses() {
    let config = config(&[("b1", Ready)]);
    let entry = |last: u8| Entry {
        address: IpAddr::from([192, 0, 2, last]).into(),
        forwarding: Mode::L2 as u8,
        ..bytemuck::Zeroable::zeroed()
    };
    let service = config.services[0].key();
    let mut wishes = Wishes::default();
    wishes.find(&config, [(service, entry(11)), (service, entry(12))].into_iter(), at(5));
    wishes.find(&config, [(service, entry(12))].into_iter(), at(6));
    let [leaving] = wishes.leaving() else { panic!("{wishes:?}") };
    assert_eq!((leaving.backend.name.as_str(), leaving.backend.forwarding), ("192.0.2.12", Forwarding::L2));
    assert_eq!(leaving.wish.since, at(5));
}

/// Everything that there can be.
fn eventful() -> Kept {
    let before = config(&[("b1", Ready), ("b2", Drain), ("b3", Ready)]);
    let after = config(&[("b1", Ready), ("b2", Drain)]);
    let mut wishes = Wishes::default();
    wishes.follow(None, &before, at(50));
    let deadline = Some(Duration::from_millis(600_500));
    let order = Order { state: Drain, deadline, on_deadline: Some(OnDeadline::Reset) };
    wishes.obey(&before, &TargetKey::new("web", "b1"), order, at(100)).unwrap();
    wishes.release(&before, &after, at(200));
    wishes.follow(None, &after, at(200));
    Kept { wishes, started: [(TargetKey::new("web", "b2"), at(150))].into() }
}

#[test]
fn file_keeps_everything_also_over_a_boot() {
    let kept = eventful();
    let text = render(&kept, BOOT);
    assert_eq!(parse(&text, BOOT, LATER).unwrap(), kept);
    let rebooted = parse(&text, BOOT + at(1000), LATER).unwrap();
    assert_eq!(state(&rebooted.wishes), Some((Drain, 0)));
    let set_back = parse(&text, BOOT, at(30)).unwrap();
    assert_eq!(state(&set_back.wishes), Some((Drain, 30)));
    assert_eq!(set_back.started[&TargetKey::new("web", "b2")], at(30));
}

#[test]
fn file_is_written_when_something_has_changed_and_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/state.json");
    let mut file = StateFile::new(path.clone());
    assert_eq!(file.load(BOOT, LATER).unwrap(), Kept::default());
    file.save(&Kept::default(), BOOT).unwrap();
    assert!(!path.exists(), "there is nothing to keep");
    file.save(&eventful(), BOOT).unwrap();
    assert_eq!(
        StateFile::new(path.clone()).load(BOOT, LATER).unwrap(),
        parse(&render(&eventful(), BOOT), BOOT, LATER).unwrap()
    );
    std::fs::remove_file(&path).unwrap();
    file.save(&eventful(), BOOT).unwrap();
    assert!(!path.exists(), "nothing has changed");
    file.save(&Kept::default(), BOOT).unwrap();
    assert_eq!(StateFile::new(path).load(BOOT, LATER).unwrap(), Kept::default());
}

#[test]
fn file_that_no_daemon_has_written_is_told_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    for (text, told) in [
        ("", "EOF"),
        ("{\"version\": 1}", "missing field `backends`"),
        ("{\"version\": 2, \"wishes\": []}", "its layout is number 2, and this sluice knows 1"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = StateFile::new(path.clone()).load(BOOT, LATER).unwrap_err();
        let StateError::Broken { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains(told), "{source}");
        assert!(error.to_string().contains("state.json is no state file"), "{error}");
    }
}
