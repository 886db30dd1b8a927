//! Frames as text.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    admin::status::{Arena, Backend, Change, Interface, Service, Status, TableChange, Tables, Traffic},
    cli::{
        tests::{backend, service, status},
        top::{
            screen,
            state::{Action, News, Step, Wish},
        },
    },
    config::AdminState,
    history::Aspect,
};

fn traffic(packets: u64) -> Traffic {
    Traffic { packets, bytes: packets * 800 }
}

/// What a daemon says after so many seconds.
fn said(seconds: u64) -> Status {
    let change =
        |at, is: &str, why: &str| Change { at, what: Aspect::Health, is: is.to_owned(), why: why.to_owned() };
    let shared = |backend: Backend, promised, measured, packets: u64| Backend {
        promised,
        share: promised,
        measured,
        traffic: traffic(packets * seconds),
        opened_flows: Some(packets * seconds / 20),
        ..backend
    };
    let drain =
        Backend { admin: "drain".to_owned(), by_command: true, tracked_flows: 42, ..backend("web-2") };
    let down = Backend {
        health: "down".to_owned(),
        reason: "connection refused".to_owned(),
        history: vec![change(30.0, "up", "2 probes passed"), change(90.0, "down", "3 probes failed")],
        ..backend("web-3")
    };
    let backends = vec![
        shared(backend("web-1"), 0.5, Some(0.484), 1234),
        shared(drain, 0.0, Some(0.016), 40),
        shared(down, 0.0, None, 0),
        shared(backend("web-4"), 0.5, Some(0.5), 1250),
    ];
    let moved = |at, generation, moved_slots, cause: &str| TableChange {
        at,
        generation,
        slots: 4099,
        moved_slots,
        collateral_slots: Some(0),
        cause: cause.to_owned(),
    };
    let changes = vec![moved(30.0, 2, 1025, "web-3 gets new flows"), moved(90.0, 3, 1024, "web-3 is down")];
    let web = Service {
        moved_slots: 2049,
        tables: Tables { changes, ..Tables::default() },
        traffic: traffic(2524 * seconds),
        opened_flows: Some(126 * seconds),
        ..service("web", backends)
    };
    let dns = Service { traffic: traffic(12 * seconds), port: 0, ..service("dns", vec![backend("ns-1")]) };
    let reasons = [("denied", 7), ("no_backend", 1), ("transmitted", 2536)];
    let reasons: BTreeMap<_, _> =
        reasons.map(|(name, packets)| (name.to_owned(), traffic(packets * seconds))).into();
    let interfaces = vec![Interface { name: "eth0".to_owned(), mode: "native".to_owned() }];
    let arena = Arena { used: 8198, slots: 200_000 };
    Status { interfaces, arena, reasons, ..status(vec![web, dns]) }
}

fn known() -> State {
    let mut state = State::default();
    for seconds in [1, 2, 4, 7] {
        state.hear(News::Status { at: Duration::from_secs(seconds), status: Box::new(said(seconds)) });
    }
    state
}

fn frame(state: &State, columns: u16, lines: u16) -> String {
    screen::text(columns, lines, |frame| draw(frame, state, Theme::Plain)).unwrap()
}

fn act(state: &mut State, actions: &[Action]) {
    for action in actions {
        assert_eq!(state.act(*action), None);
    }
}

#[test]
fn small_terminal_has_room_for_everything_that_matters() {
    insta::assert_snapshot!(frame(&known(), 80, 24));
}

#[test]
fn wide_terminal_shows_more_of_a_backend() {
    let mut state = known();
    act(&mut state, &[Action::Sort, Action::Move(Step::On(0)), Action::NextPane, Action::Move(Step::Last)]);
    insta::assert_snapshot!(frame(&state, 130, 28));
}

#[test]
fn inside_a_service_are_its_changes_and_those_of_the_chosen_backend() {
    let mut state = known();
    act(&mut state, &[Action::Move(Step::Last), Action::Enter, Action::Move(Step::On(2))]);
    insta::assert_snapshot!(frame(&state, 100, 28));
}

#[test]
fn question_says_what_an_order_does() {
    let mut state = known();
    let drain = Action::Want(Wish::Admin(AdminState::Drain));
    act(&mut state, &[Action::Move(Step::Last), Action::NextPane, Action::Move(Step::On(1)), drain]);
    insta::assert_snapshot!(frame(&state, 80, 24));
}

#[test]
fn weight_is_typed_beside_the_one_that_holds() {
    let mut state = known();
    let typed = [Action::Weigh, Action::Type('1'), Action::Type('2')];
    act(&mut state, &[Action::Move(Step::Last), Action::NextPane, Action::Move(Step::On(1))]);
    act(&mut state, &typed);
    insta::assert_snapshot!(frame(&state, 80, 24));
}

#[test]
fn help_fits_into_the_smallest_usual_terminal() {
    let mut state = known();
    act(&mut state, &[Action::Help]);
    insta::assert_snapshot!(frame(&state, 80, 24));
}

#[test]
fn daemon_that_is_lost_is_told_above_what_was_known_last() {
    let mut state = known();
    state.hear(News::Lost("no sluice answers on /run/sluice/sluice.sock".to_owned()));
    let text = frame(&state, 80, 24);
    assert!(text.contains("LOST: no sluice answers on /run/sluice/sluice.sock"), "{text}");
    assert!(text.contains("web"), "{text}");
}

#[test]
fn no_size_is_too_small_to_be_drawn() {
    let mut states = [State::default(), known(), known(), known()];
    act(&mut states[2], &[Action::Move(Step::Last), Action::Enter]);
    act(&mut states[3], &[Action::Help]);
    for (columns, lines) in [(1, 1), (20, 3), (40, 10), (500, 5), (10, 200)] {
        for state in &states {
            frame(state, columns, lines);
        }
    }
}
