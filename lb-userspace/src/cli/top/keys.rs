//! What a key means, by what is on the screen.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::state::{Action, Mode, Step, Wish};
use crate::config::AdminState;

/// What a key asks for; none where it means nothing.
pub(super) fn action(key: KeyEvent, mode: &Mode) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c')).then_some(Action::Quit);
    }
    match mode {
        Mode::Look => look(key.code),
        Mode::Filter | Mode::Weigh(_) => typed(key.code),
        Mode::Help => Some(Action::Cancel),
        Mode::Ask(_) => asked(key.code),
    }
}

fn look(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Up | KeyCode::Char('k') => Action::Move(Step::Back(1)),
        KeyCode::Down | KeyCode::Char('j') => Action::Move(Step::On(1)),
        KeyCode::PageUp => Action::Move(Step::Back(10)),
        KeyCode::PageDown => Action::Move(Step::On(10)),
        KeyCode::Home | KeyCode::Char('g') => Action::Move(Step::First),
        KeyCode::End | KeyCode::Char('G') => Action::Move(Step::Last),
        KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => Action::NextPane,
        KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => Action::PreviousPane,
        KeyCode::Enter => Action::Enter,
        KeyCode::Esc | KeyCode::Backspace => Action::Cancel,
        KeyCode::Char('d') => Action::Want(Wish::Admin(AdminState::Drain)),
        KeyCode::Char('r') => Action::Want(Wish::Admin(AdminState::Ready)),
        KeyCode::Char('m') => Action::Want(Wish::Admin(AdminState::Maintenance)),
        KeyCode::Char('w') => Action::Weigh,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Char('s') => Action::Sort,
        KeyCode::Char('?') => Action::Help,
        KeyCode::Char('q') => Action::Quit,
        _ => return None,
    })
}

fn typed(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char(character) => Action::Type(character),
        KeyCode::Backspace => Action::Erase,
        KeyCode::Enter => Action::Confirm,
        KeyCode::Esc => Action::Cancel,
        _ => return None,
    })
}

/// Enter alone is no yes: whoever has typed one key too many has not read the question.
fn asked(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char('y') => Some(Action::Confirm),
        KeyCode::Char('n' | 'q') | KeyCode::Esc => Some(Action::Cancel),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::state::Order;

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn same_key_means_another_thing_where_text_is_typed() {
        let q = key(KeyCode::Char('q'));
        assert_eq!(action(q, &Mode::Look), Some(Action::Quit));
        assert_eq!(action(q, &Mode::Filter), Some(Action::Type('q')));
        assert_eq!(action(q, &Mode::Help), Some(Action::Cancel));
    }

    #[test]
    fn control_c_ends_it_everywhere() {
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for mode in [Mode::Look, Mode::Filter, Mode::Help] {
            assert_eq!(action(key, &mode), Some(Action::Quit));
        }
    }

    #[test]
    fn order_is_confirmed_by_yes_alone() {
        let (service, backend) = ("web".to_owned(), "b1".to_owned());
        let mode = Mode::Ask(Order { service, backend, wish: Wish::Admin(AdminState::Drain) });
        assert_eq!(action(key(KeyCode::Char('y')), &mode), Some(Action::Confirm));
        assert_eq!(action(key(KeyCode::Char('n')), &mode), Some(Action::Cancel));
        assert_eq!(action(key(KeyCode::Enter), &mode), None);
        assert_eq!(action(key(KeyCode::Char('d')), &mode), None);
    }
}
