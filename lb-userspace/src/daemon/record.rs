//! What has become of backends: their histories, here and in the file that outlives the daemon, and their damping.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use humantime::format_duration;
use tracing::{info, warn};

use super::now;
use crate::{
    admin::status,
    causes::with_causes,
    config::{AdminState, Backend, Config, Flap, Service},
    health::{
        Health, TargetKey,
        damping::{Damper, Turn},
    },
    history::{
        Aspect, Change, HELD, Histories,
        journal::{Journal, JournalError},
    },
    wishes::Wishes,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Record {
    histories: Histories,
    dampers: HashMap<TargetKey, Damper>,
    /// Whose dampers may hold them.
    held: HashSet<TargetKey>,
    journal: Journal,
    /// Whether the file could not be written the last time: it is told once.
    is_failing: bool,
}

/// A backend of the file with what the operator wants of it.
type Wanted<'a> = (&'a Backend, AdminState);

impl Record {
    /// What an earlier daemon has left beside its state file.
    pub(super) fn open(state_path: &Path, boot: Duration) -> Self {
        let mut journal = Journal::new(state_path.with_extension("history"), boot);
        let histories = journal.load(now()).unwrap_or_else(|error| {
            warn!("{}; the histories of backends begin anew", with_causes(&error));
            Histories::default()
        });
        let dampers: HashMap<_, _> = histories.dampers().collect();
        let held = dampers.iter().filter(|(_, damper)| damper.is_held()).map(|(key, _)| key.clone());
        Self { held: held.collect(), histories, dampers, journal, is_failing: false }
    }

    pub(super) const fn histories(&self) -> &Histories {
        &self.histories
    }

    /// Takes in a change, which the log has been told of.
    pub(super) fn change(
        &mut self,
        key: &TargetKey,
        aspect: Aspect,
        is: impl Into<Cow<'static, str>>,
        why: impl Into<Cow<'static, str>>,
    ) {
        self.note(key, Change { at: now(), aspect, is: is.into(), why: why.into() });
    }

    fn note(&mut self, key: &TargetKey, change: Change) {
        self.journal.note(key, &change);
        self.histories.add(key, change);
    }

    /// Takes in a change and tells the log.
    fn tell(
        &mut self,
        key: &TargetKey,
        aspect: Aspect,
        is: impl Into<Cow<'static, str>>,
        why: impl Into<Cow<'static, str>>,
    ) {
        let (is, why) = (is.into(), why.into());
        let TargetKey { service, backend } = key;
        info!(service, backend, "{} is {is}: {why}", aspect.name());
        self.change(key, aspect, is, why);
    }

    /// Takes in a backend's new health, with the rule of its service.
    pub(super) fn change_health(
        &mut self,
        key: &TargetKey,
        health: Health,
        reason: &str,
        rule: Option<Flap>,
    ) {
        self.change(key, Aspect::Health, health.to_string(), reason.to_owned());
        let Some(rule) = rule else { return };
        let damper = self.dampers.entry(key.clone()).or_default();
        if let Some(Turn::Held(changes)) = damper.note_change(Some(rule), now()) {
            self.held.insert(key.clone());
            let TargetKey { service, backend } = key;
            let why = format!(
                "{changes} changes of health within {}; until it has stayed the same for {}",
                format_duration(rule.within),
                format_duration(rule.hold)
            );
            warn!(service, backend, "backend is held: {why}");
            self.change(key, Aspect::Damping, HELD, why);
        }
    }

    /// The backends that would be held under another configuration, and until when.
    pub(super) fn would_be_damped(&self, config: &Config) -> HashMap<TargetKey, Duration> {
        let held = self.held.iter().filter_map(|key| {
            let (rule, mut damper) = (rule(config, key), self.dampers.get(key)?.clone());
            damper.look(rule, now());
            Some((key.clone(), damper.until(rule)?))
        });
        held.collect()
    }

    /// Releases backends that have been calm. Gives those that are held, and until when they are.
    pub(super) fn damped(&mut self, config: &Config) -> HashMap<TargetKey, Duration> {
        let mut released = Vec::new();
        for key in &self.held {
            let damper = self.dampers.get_mut(key);
            if damper.and_then(|damper| damper.look(rule(config, key), now())) == Some(Turn::Released) {
                released.push(key.clone());
            }
        }
        for key in released {
            self.held.remove(&key);
            let why = rule(config, &key).map_or_else(
                || "its service has no `flap` any more".to_owned(),
                |rule| format!("its health has stayed the same for {}", format_duration(rule.hold)),
            );
            self.tell(&key, Aspect::Damping, "released", why);
        }
        let until = |key: &TargetKey| self.dampers.get(key)?.until(rule(config, key));
        self.held.iter().filter_map(|key| Some((key.clone(), until(key)?))).collect()
    }

    /// Takes in what the file says when a daemon starts: what is new in it, and what has changed since an earlier one.
    pub(super) fn begin(&mut self, config: &Config, wishes: &Wishes) {
        let at = now();
        for (key, (backend, admin)) in backends(&config.services, wishes) {
            if self.histories.of(&key).next().is_none() {
                let (is, why) = (status::admin(admin).into(), "the file has it".into());
                self.note(&key, Change { at, aspect: Aspect::Admin, is, why });
            }
            for (aspect, is) in
                [(Aspect::Weight, backend.weight.to_string()), (Aspect::Version, version(backend))]
            {
                let was = self.histories.last(&key, aspect).map(|change| change.is.clone());
                if let Some(was) = was.filter(|was| *was != is) {
                    self.tell(
                        &key,
                        aspect,
                        is,
                        format!("the file says so; it was {was} for an earlier daemon"),
                    );
                }
            }
        }
        self.forget(config, wishes);
    }

    /// Takes in the difference of two files, and of what was wanted under each.
    pub(super) fn follow(&mut self, from: (&Config, &Wishes), to: (&Config, &Wishes)) {
        self.rename_leaving(to);
        let changes: Vec<_> = from.0.changes(to.0).collect();
        let services_before = changes.iter().filter_map(|(before, _)| *before);
        let services_after = changes.iter().filter_map(|(_, after)| *after);
        let before: HashMap<_, _> = backends(services_before, from.1).collect();
        let after: Vec<_> = backends(services_after, to.1).collect();
        for (key, (backend, admin)) in &after {
            match before.get(key).filter(|(before, _)| before.address == backend.address) {
                Some(&(former, was)) => self.compare(key, (former, was), (backend, *admin)),
                None => {
                    self.tell(key, Aspect::Admin, status::admin(*admin), "the file has it now");
                }
            }
        }
        for (key, _) in leaving(to).filter(|(key, _)| before.contains_key(key)) {
            self.tell(&key, Aspect::Admin, "leaving", "gone from the file");
        }
        let stay: HashSet<&TargetKey> = after.iter().map(|(key, _)| key).collect();
        if before.keys().any(|key| !stay.contains(key)) {
            self.forget(to.0, to.1);
        }
    }

    fn compare(&mut self, key: &TargetKey, (former, was): Wanted<'_>, (backend, admin): Wanted<'_>) {
        let changes = [
            (Aspect::Admin, status::admin(was).to_owned(), status::admin(admin).to_owned()),
            (Aspect::Weight, former.weight.to_string(), backend.weight.to_string()),
            (Aspect::Version, version(former), version(backend)),
        ];
        for (aspect, was, is) in changes.into_iter().filter(|(_, was, is)| was != is) {
            self.tell(key, aspect, is, format!("the file says so; it was {was}"));
        }
    }

    /// A backend that leaves without its name, since another has it now, takes its history along.
    fn rename_leaving(&mut self, to: (&Config, &Wishes)) {
        let mut renamed = false;
        for (key, former) in leaving(to) {
            let Some(former) = former else { continue };
            if self.histories.of(&key).next().is_some() {
                continue;
            }
            let from = TargetKey { service: key.service.clone(), backend: former };
            if let Some(damper) = self.dampers.remove(&from) {
                self.dampers.insert(key.clone(), damper);
            }
            if self.held.remove(&from) {
                self.held.insert(key.clone());
            }
            if self.histories.rename(&from, &key) {
                self.change(
                    &key,
                    Aspect::Admin,
                    "leaving",
                    "gone from the file, which has another of its name",
                );
                renamed = true;
            }
        }
        if renamed {
            self.rewrite();
        }
    }

    /// Forgets backends that are neither in the file nor leaving.
    pub(super) fn forget(&mut self, config: &Config, wishes: &Wishes) {
        let leaving: HashSet<TargetKey> = leaving((config, wishes)).map(|(key, _)| key).collect();
        let known = |service: &str, backend: &str| {
            let is_in = config.service(service).is_some_and(|service| service.backend(backend).is_some());
            is_in || !leaving.is_empty() && leaving.contains(&TargetKey::new(service, backend))
        };
        let is_known = |key: &TargetKey| known(&key.service, &key.backend);
        self.dampers.retain(|key, _| is_known(key));
        self.held.retain(is_known);
        if self.histories.retain(known) {
            self.rewrite();
        }
    }

    /// Writes what has changed.
    pub(super) fn save(&mut self) {
        let saved = self.journal.save(&self.histories);
        self.complain(saved);
    }

    fn rewrite(&mut self) {
        let written = self.journal.rewrite(&self.histories);
        self.complain(written);
    }

    fn complain(&mut self, written: Result<(), JournalError>) {
        let was_failing = std::mem::replace(&mut self.is_failing, written.is_err());
        if let Err(error) = written
            && !was_failing
        {
            warn!("a restart will not know what has become of backends: {}", with_causes(&error));
        }
    }
}

fn backends<'a>(
    services: impl IntoIterator<Item = &'a Arc<Service>>,
    wishes: &'a Wishes,
) -> impl Iterator<Item = (TargetKey, Wanted<'a>)> {
    services.into_iter().flat_map(move |service| {
        service.backends.iter().map(move |backend| {
            let wish = wishes.of(&service.name, &backend.name);
            let key = TargetKey { service: service.name.clone(), backend: backend.name.clone() };
            (key, (backend, wish.map_or(backend.admin, |wish| wish.state)))
        })
    })
}

/// The backends that are leaving, and the names that they had, where others have those now.
fn leaving<'a>(
    (config, wishes): (&'a Config, &'a Wishes),
) -> impl Iterator<Item = (TargetKey, Option<String>)> + use<'a> {
    config.services.iter().flat_map(move |service| {
        wishes.leaving_of(service.key()).map(move |leaving| {
            let key = TargetKey { service: service.name.clone(), backend: leaving.backend.name.clone() };
            (key, leaving.former_name().map(str::to_owned))
        })
    })
}

fn version(backend: &Backend) -> String {
    backend.version.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// By which rule a backend is held for changing too often.
fn rule(config: &Config, key: &TargetKey) -> Option<Flap> {
    config.service(&key.service)?.flap
}
