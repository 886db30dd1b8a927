//! What backends say of themselves, beside what others want of them: it never makes one take more flows than the operator
//! lets it, only fewer.

use std::net::SocketAddr;

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
    let probe = service.probe.as_ref().filter(|probe| probe.check.is_agent())?;
    let target: SocketAddr = (backend.address, probe.port).into();
    let key = TargetKey { service: service.name.clone(), backend: backend.name.clone() };
    view.advice.get(&key).filter(|advised| advised.target == target).map(|advised| &advised.advice)
}

/// Whether a backend has weight, by the file and by its own word.
pub(super) fn has_share(service: &Service, backend: &Backend, view: &View) -> bool {
    backend.weight > 0 && percent(service, backend, view) > 0
}

/// The weights that the backends of a service have: the configured ones, as long as nobody says otherwise. Beyond that only
/// their proportions count, so a backend of weight 1 can have a part of it.
pub(super) fn weights(service: &Service, view: &View) -> Vec<u32> {
    let configured = || service.backends.iter().map(|backend| u64::from(backend.weight));
    let percents: Vec<u64> =
        service.backends.iter().map(|backend| percent(service, backend, view).into()).collect();
    if percents.iter().all(|&percent| percent == 100) {
        return service.backends.iter().map(|backend| backend.weight).collect();
    }
    let products: Vec<u64> = configured().zip(percents).map(|(weight, percent)| weight * percent).collect();
    // Rounding up adds less than one each, and a table takes as many members as fit 16 bits.
    let scale = products.iter().sum::<u64>().div_ceil(u64::from(u32::MAX - u32::from(u16::MAX))).max(1);
    products.iter().map(|product| product.div_ceil(scale) as u32).collect()
}

fn percent(service: &Service, backend: &Backend, view: &View) -> u32 {
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
