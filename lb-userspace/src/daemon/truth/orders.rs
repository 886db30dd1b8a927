//! What somebody wants of a backend by command: kept on the disk, carried out, and answered, in that order.

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Truth;
use crate::{
    admin::{order::Obeyed, status},
    causes::with_causes,
    daemon::{OrderEvent, now},
    health::TargetKey,
    history::Aspect,
    plan::View,
    wishes::{
        OrderError,
        file::{Kept, StateError},
    },
};

/// An order that was taken, and whom to tell once it is carried out.
#[derive(Debug)]
pub(super) struct Pending {
    target: TargetKey,
    /// What the operator has to know beside that.
    warning: Option<String>,
    answer: oneshot::Sender<Result<Obeyed, OrderError>>,
}

impl Truth {
    /// Takes an order. It holds also where it cannot be kept, since whoever gave it may need it now.
    pub(super) fn obey(&mut self, event: OrderEvent) {
        let OrderEvent { target, order, answer } = event;
        let before = self.view.wishes.clone();
        if let Err(error) = self.view.wishes.obey(&self.config, &target, order, now()) {
            // Nobody waits any more where this fails.
            return drop(answer.send(Err(error)));
        }
        if self.view.wishes != before {
            let TargetKey { service, backend } = &target;
            self.stale.service(service);
            let state = status::admin(order.state);
            info!(service, backend, state, "set by command");
            self.record.change(&target, Aspect::Admin, state, "by command");
            self.next_look = now();
        }
        let warning =
            self.keep().err().map(|error| format!("a restart forgets this: {}", with_causes(&error)));
        self.pending.push(Pending { target, warning, answer });
    }

    /// Tells what became of the orders, now that the data plane follows, but for a `problem`.
    pub(super) fn answer(&mut self, problem: Option<&str>) {
        for Pending { target, warning, answer } in std::mem::take(&mut self.pending) {
            let warning = problem.map(str::to_owned).or(warning);
            let TargetKey { service, backend } = &target;
            // A reload in the same moment may have taken it away.
            let result = match self.report_on(service, backend) {
                Some(report) => Ok(Obeyed { service: target.service, backend: report, warning }),
                None => Err(OrderError::NoBackend { service: target.service, backend: target.backend }),
            };
            drop(answer.send(result));
        }
        self.answer_rollouts(problem);
    }

    pub(super) fn keep(&mut self) -> Result<(), StateError> {
        let View { wishes, started, .. } = &self.view;
        self.state.save(&Kept { wishes: wishes.clone(), started: started.all().clone() }, self.boot)
    }

    pub(super) fn keep_or_log(&mut self) {
        if let Err(error) = self.keep() {
            warn!(
                "a restart will not know since when backends drain or start, and which ones leave: {}",
                with_causes(&error)
            );
        }
    }
}
