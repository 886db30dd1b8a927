//! What somebody asks for by command, and what the wish is after it.

use std::time::Duration;

use super::{Wish, Wishes};
use crate::{
    config::{AdminState, Config, OnDeadline, Protocol, Service},
    health::TargetKey,
};

/// What somebody asks for by command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The state that the backend is to have.
    pub state: AdminState,
    /// How long a drain may last from now on; none: what held before, or what the service says.
    pub deadline: Option<Duration>,
    /// What becomes of the flows that are left then; none: as above.
    pub on_deadline: Option<OnDeadline>,
}

/// Why an order is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No such service.
    #[error("there is no service {0}")]
    NoService(String),
    /// No such backend, leaving or not.
    #[error("service {service} has no backend {backend}")]
    NoBackend {
        /// The service.
        service: String,
        /// What it does not have.
        backend: String,
    },
    /// A backend without an entry in the file cannot take flows.
    #[error("{0} is gone from the file and leaves; to have it back, put it into the file again")]
    Leaves(String),
    /// Only what drains can end.
    #[error("a deadline belongs to a drain, not to {0}")]
    Deadline(&'static str),
    /// There is no reset but TCP's.
    #[error("{0} is udp, whose flows cannot be reset; say that they are to move")]
    Reset(String),
}

impl Wish {
    /// The wish after `order`. Whatever the order repeats or leaves out stays as it is.
    fn after(self, order: Order, now: Duration) -> Self {
        let kept = if self.state == order.state { self } else { Self::of_file(order.state, now) };
        let lasted = now.saturating_sub(kept.since);
        Self {
            over: self.over,
            deadline: order.deadline.map(|deadline| lasted + deadline).or(kept.deadline),
            on_deadline: order.on_deadline.or(kept.on_deadline),
            ..kept
        }
    }

    /// Whether there is anything to remember of it beside the file.
    fn is_plain(&self) -> bool {
        self.deadline.is_none() && self.on_deadline.is_none()
    }
}

impl Wishes {
    /// Does what somebody asks for.
    ///
    /// # Errors
    ///
    /// [`OrderError`]; nothing has changed then.
    pub fn obey(
        &mut self,
        config: &Config,
        target: &TargetKey,
        order: Order,
        now: Duration,
    ) -> Result<(), OrderError> {
        let service = config
            .services
            .iter()
            .find(|service| service.name == target.service)
            .ok_or_else(|| OrderError::NoService(target.service.clone()))?;
        check(service, order)?;
        match service.backends.iter().find(|backend| backend.name == target.backend) {
            Some(backend) => self.obey_for(target, backend.admin, order, now),
            None => self.obey_for_leaving(service, target, order, now)?,
        }
        Ok(())
    }

    fn obey_for(&mut self, target: &TargetKey, file: AdminState, order: Order, now: Duration) {
        let before = self.backends.get(target).copied();
        let wish = before.unwrap_or(Wish::of_file(file, now)).after(order, now);
        let plain = wish.state == file && wish.is_plain();
        let wish = Wish { over: (!plain).then_some(file), ..wish };
        if plain && file == AdminState::Ready {
            self.backends.remove(target);
        } else {
            self.backends.insert(target.clone(), wish);
        }
    }

    fn obey_for_leaving(
        &mut self,
        service: &Service,
        target: &TargetKey,
        order: Order,
        now: Duration,
    ) -> Result<(), OrderError> {
        let TargetKey { service: name, backend } = target;
        let leaving = self
            .leaving
            .iter_mut()
            .find(|leaving| leaving.service == service.key() && leaving.backend.name == *backend)
            .ok_or_else(|| OrderError::NoBackend { service: name.clone(), backend: backend.clone() })?;
        if order.state == AdminState::Ready {
            return Err(OrderError::Leaves(format!("{name}/{backend}")));
        }
        leaving.wish = leaving.wish.after(order, now);
        Ok(())
    }
}

fn check(service: &Service, order: Order) -> Result<(), OrderError> {
    let has_end = order.deadline.is_some() || order.on_deadline.is_some();
    match order.state {
        AdminState::Ready if has_end => Err(OrderError::Deadline("being ready")),
        AdminState::Maintenance if has_end => Err(OrderError::Deadline("maintenance")),
        _ if order.on_deadline == Some(OnDeadline::Reset) && service.protocol != Protocol::Tcp => {
            Err(OrderError::Reset(service.name.clone()))
        }
        _ => Ok(()),
    }
}
