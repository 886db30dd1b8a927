//! Where balancer and backends are, and whether that is enough for what a service makes of it.

use super::{
    Balancer, DATACENTRE_LABELS, Location, Prefer, Scope,
    file::{Located, Place},
    service::Reading,
};

/// Reports a service that goes by places which nobody has said.
pub(super) fn check_places(balancer: &Balancer, reading: &Reading<'_>) {
    let sharing = &reading.policy.sharing;
    let scope = sharing.scope.as_ref().filter(|scope| scope.value != Scope::Global);
    let near = sharing.prefer.as_ref().filter(|prefer| prefer.value == Prefer::Near);
    let Some(place) = scope.map(|scope| &scope.place).or_else(|| near.map(|near| &near.place)) else {
        return;
    };
    let Some(own) = &balancer.location else {
        return refuse_placeless(reading, place);
    };
    warn_of_placeless(reading, scope);
    let Some(scope) = scope else { return };
    if own.labels().count() < scope.value.labels() {
        return refuse_vague(reading, own, scope);
    }
    warn_of_empty_scope(reading, own, scope);
}

fn refuse_placeless(reading: &Reading<'_>, place: &Place) {
    let file = reading.section.file;
    let message =
        format!("{} goes by where its backends are, and the balancer has no location", reading.label());
    let error = file.error(place, message);
    file.report(error.expected("add `location = \"eu.ams.dc2\"` to [balancer], with its own place"));
}

fn refuse_vague(reading: &Reading<'_>, own: &Location, scope: &Located<Scope>) {
    let file = reading.section.file;
    let message = format!("balancer.location is {own}, which names no data centre");
    let expected = format!("expected {DATACENTRE_LABELS} labels or more there, such as \"eu.ams.dc2\"");
    file.report(file.error(&scope.place, message).expected(expected));
}

fn warn_of_placeless(reading: &Reading<'_>, scope: Option<&Located<Scope>>) {
    let file = reading.section.file;
    let effect = scope.map_or("is as far away as can be", |_| "is never in scope");
    for backend in reading.backends.read.iter().filter(|reading| reading.backend.location.is_none()) {
        let message = format!("backend {} has no location, and {effect}", backend.backend.name);
        file.warn(file.warning(&backend.location, message).expected("expected its `location`"));
    }
}

fn warn_of_empty_scope(reading: &Reading<'_>, own: &Location, scope: &Located<Scope>) {
    let is_within = |location: &Location| location.shared_with(own) >= scope.value.labels();
    let mut backends = reading.backends.read.iter();
    if backends.len() > 0 && !backends.any(|read| read.backend.location.as_ref().is_some_and(is_within)) {
        let file = reading.section.file;
        let message = format!("no backend of {} is in the {} of {own}", reading.label(), scope.value.name());
        let help = "this balancer has nobody to send its flows to";
        file.warn(file.warning(&scope.place, message).help(help));
    }
}
