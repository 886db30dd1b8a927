//! What keys and news make of a state.

use super::*;
use crate::cli::tests::{backend, service, status};

fn known() -> State {
    let down = Backend { health: "down".to_owned(), ..backend("b3") };
    let drain = Backend { admin: "drain".to_owned(), ..backend("b2") };
    let mut state = State::default();
    let services =
        vec![service("dns", vec![backend("d1")]), service("web", vec![backend("b1"), drain, down])];
    state.hear(News::Status { at: Duration::ZERO, status: Box::new(status(services)) });
    state
}

fn act(state: &mut State, actions: &[Action]) -> Vec<Effect> {
    actions.iter().filter_map(|action| state.act(*action)).collect()
}

fn backends(state: &State) -> Vec<&str> {
    state.backends().iter().map(|backend| backend.name.as_str()).collect()
}

const DOWN: Action = Action::Move(Step::On(1));
const DRAIN: Action = Action::Want(Wish::Admin(AdminState::Drain));

#[test]
fn order_is_sent_once_it_is_confirmed() {
    let mut state = known();
    let order =
        Order { service: "web".to_owned(), backend: "b2".to_owned(), wish: Wish::Admin(AdminState::Drain) };
    let asked = act(&mut state, &[DOWN, Action::Enter, DOWN, DRAIN]);
    assert_eq!((asked, state.mode()), (vec![], &Mode::Ask(order.clone())));
    assert_eq!(act(&mut state, &[Action::Cancel, Action::Confirm]), [], "nothing is left to confirm");
    assert_eq!(act(&mut state, &[DRAIN, Action::Confirm, Action::Confirm]), [Effect::Send(order)]);
}

#[test]
fn weight_is_typed_and_then_confirmed() {
    let mut state = known();
    let typed = [Action::Weigh, Action::Type('q'), Action::Type('7'), Action::Type('5'), Action::Erase];
    act(&mut state, &[DOWN, Action::Enter]);
    act(&mut state, &typed);
    assert_eq!(act(&mut state, &[Action::Confirm]), [], "it is asked first");
    let order = Order { service: "web".to_owned(), backend: "b1".to_owned(), wish: Wish::Weight(7) };
    assert_eq!(state.mode(), &Mode::Ask(order.clone()));
    assert_eq!(act(&mut state, &[Action::Confirm]), [Effect::Send(order)]);
    assert_eq!(state.filter(), "", "nothing was typed there");
}

#[test]
fn weight_that_is_none_is_told_and_typed_on() {
    let mut state = known();
    act(&mut state, &[DOWN, Action::Enter, Action::Weigh, Action::Confirm]);
    let Some(Notice::Bad(why)) = state.notice() else { panic!("{:?}", state.notice()) };
    assert!(why.contains("from 0 to 65535"), "{why}");
    assert!(matches!(state.mode(), Mode::Weigh(_)));
    act(&mut state, &[Action::Cancel]);
    assert_eq!((state.mode(), state.notice()), (&Mode::Look, None));
}

#[test]
fn order_needs_a_backend_to_be_chosen() {
    let mut state = known();
    act(&mut state, &[DRAIN]);
    assert_eq!(state.mode(), &Mode::Look);
    assert!(matches!(state.notice(), Some(Notice::Bad(_))));
}

#[test]
fn selection_follows_the_name_and_stays_within_the_list() {
    let mut state = known();
    act(&mut state, &[DOWN, DOWN, DOWN, Action::NextPane, Action::Move(Step::Last)]);
    assert_eq!(state.service().unwrap().name, "web");
    assert_eq!(state.backend().unwrap().name, "b3");
    act(&mut state, &[Action::Sort, Action::Sort]);
    assert_eq!((backends(&state), state.sort()), (vec!["b3", "b2", "b1"], Sort::Trouble));
    assert_eq!(state.backend().unwrap().name, "b3");
    act(&mut state, &[DOWN]);
    assert_eq!(state.backend().unwrap().name, "b2");
}

#[test]
fn filter_shows_what_it_names_and_escape_shows_all_again() {
    let mut state = known();
    act(
        &mut state,
        &[Action::Filter, Action::Type('D'), Action::Type('o'), Action::Type('w'), Action::Confirm],
    );
    assert_eq!(state.service().unwrap().name, "web", "one of its backends is down");
    assert_eq!(backends(&state), ["b3"]);
    act(&mut state, &[Action::Cancel]);
    assert_eq!((state.services().len(), state.filter()), (2, ""));
}

#[test]
fn steps_back_lead_out_of_the_service_last() {
    let mut state = known();
    act(&mut state, &[Action::Enter, Action::Help]);
    assert!(state.is_inside());
    act(&mut state, &[Action::Cancel]);
    assert_eq!((state.mode(), state.is_inside()), (&Mode::Look, true));
    act(&mut state, &[Action::Cancel]);
    assert!(!state.is_inside());
}

#[test]
fn service_that_is_gone_is_not_mistaken_for_another_one() {
    let mut state = known();
    act(&mut state, &[DOWN, Action::Enter]);
    let rest = status(vec![service("dns", vec![backend("d1")])]);
    state.hear(News::Status { at: Duration::from_secs(1), status: Box::new(rest) });
    assert!(state.service().is_none());
    act(&mut state, &[DRAIN]);
    assert_eq!(state.mode(), &Mode::Look);
}

#[test]
fn lost_daemon_is_told_until_it_is_back() {
    let mut state = known();
    state.hear(News::Lost("no sluice answers".to_owned()));
    assert_eq!(state.lost(), Some("no sluice answers"));
    assert_eq!(state.services().len(), 2, "what was known last stays");
    state.hear(News::Status { at: Duration::from_secs(9), status: Box::new(status(Vec::new())) });
    assert_eq!(state.lost(), None);
}

#[test]
fn drops_are_what_goes_nowhere_the_most_first() {
    let traffic = |packets| Traffic { packets, bytes: packets * 60 };
    let reasons = [(Reason::Denied, 3), (Reason::Transmitted, 9), (Reason::Land, 5), (Reason::BadFlags, 0)];
    let reasons = reasons.map(|(reason, packets)| (reason.name().to_owned(), traffic(packets))).into();
    let mut state = State::default();
    let status = Box::new(Status { reasons, ..status(Vec::new()) });
    state.hear(News::Status { at: Duration::ZERO, status });
    let told: Vec<_> = state.drops().iter().map(|drops| (drops.reason, drops.traffic.packets)).collect();
    assert_eq!(told, [(Reason::Land, 5), (Reason::Denied, 3)]);
}
