//! What backends say of themselves, beside what others want of them: it never makes one take more flows than the operator
//! lets it, only fewer.

use lb_common::backend::OldFlows;

use super::{View, state::Wanted};
use crate::{
    config::{Backend, Service},
    health::{
        TargetKey,
        agent::{Advice, OwnState},
    },
};

/// What a backend says of itself, if it is asked and has answered.
pub(crate) fn advice<'a>(service: &Service, backend: &Backend, view: &'a View) -> Option<&'a Advice> {
    service.probe.as_ref().filter(|probe| probe.check.is_agent())?;
    let target = service.probe_target(backend)?;
    let key = TargetKey { service: service.name.clone(), backend: backend.name.clone() };
    view.advice.get(&key).filter(|advised| advised.target == target).map(|advised| &advised.advice)
}

/// The part of its weight that a backend takes by its own word, in per cent.
pub(super) fn percent(service: &Service, backend: &Backend, view: &View) -> u32 {
    advice(service, backend, view).map_or(100, |advice| advice.percent)
}

/// What is wanted of a backend when it has been asked too. A drain of its own has no end.
pub(super) fn stricter(wanted: Wanted, advice: Option<&Advice>) -> Wanted {
    match (wanted, advice.map_or(OwnState::Ready, |advice| advice.state)) {
        (_, OwnState::Maintenance) => Wanted::Maintenance,
        (Wanted::Ready, OwnState::Drain) => Wanted::Drain { ends: None, on_end: OldFlows::Keep },
        (wanted, _) => wanted,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stricter_of_two_wishes_holds() {
        let ends = Some(Duration::from_secs(9));
        let (ending, endless) = (
            Wanted::Drain { ends, on_end: OldFlows::Reset },
            Wanted::Drain { ends: None, on_end: OldFlows::Keep },
        );
        let table = [
            (Wanted::Ready, OwnState::Ready, Wanted::Ready),
            (Wanted::Ready, OwnState::Drain, endless),
            (Wanted::Ready, OwnState::Maintenance, Wanted::Maintenance),
            (ending, OwnState::Ready, ending),
            (ending, OwnState::Drain, ending),
            (ending, OwnState::Maintenance, Wanted::Maintenance),
            (Wanted::Maintenance, OwnState::Ready, Wanted::Maintenance),
            (Wanted::Maintenance, OwnState::Drain, Wanted::Maintenance),
        ];
        for (wanted, state, expected) in table {
            let advice = Advice { state, ..Advice::default() };
            assert_eq!(stricter(wanted, Some(&advice)), expected, "{wanted:?}, {state:?}");
        }
        assert_eq!(stricter(ending, None), ending);
    }
}
