//! `[service.guard]` and `[defaults.guard]`: who may open flows, and how often.

use std::sync::Arc;

use lb_common::{guard::Rate, service::Track};
use toml::de::DeValue;

use super::{
    Protocol,
    cookies::syn_cookies,
    file::{File, Located},
    list::{Lists, names},
    schema,
    section::{Entry, Section},
    service::Reading,
};
use crate::rules::Rules;

/// Whether packets that nobody sends in good faith are dropped.
const MALFORMED: &[(&str, bool)] = &[("drop", true), ("forward", false)];

/// The most often that anything may be done in a second.
pub(super) const MOST: u32 = 100_000_000;

/// Who may open flows with a service, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Whether packets that nobody sends in good faith are dropped.
    pub drops_malformed: bool,
    /// What the lists that it names come to.
    pub rules: Option<Arc<Rules>>,
    /// Flows that one source may open.
    pub max_new_per_source: Option<SourceRate>,
    /// Flows that all may open.
    pub max_new: Option<Rate>,
    /// The rate of SYNs beyond which they are answered with cookies; [`lb_common::cookie::ALWAYS`]: all are.
    pub syn_cookies: Option<Rate>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            drops_malformed: true,
            rules: None,
            max_new_per_source: None,
            max_new: None,
            syn_cookies: None,
        }
    }
}

impl Guard {
    /// Whether flows may be opened only so often.
    #[must_use]
    pub const fn has_rates(&self) -> bool {
        self.max_new_per_source.is_some() || self.max_new.is_some()
    }
}

/// How often a source may open flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRate {
    /// How often.
    pub rate: Rate,
    /// Leading bits of an IPv4 address that are one source.
    pub ipv4: u8,
    /// The same for IPv6: a network that a site or a household has.
    pub ipv6: u8,
}

impl Default for SourceRate {
    fn default() -> Self {
        Self { rate: Rate::default(), ipv4: 32, ipv6: 64 }
    }
}

/// A guard as far as it is written down.
#[derive(Clone, Debug, Default)]
pub(super) struct GuardPolicy {
    malformed: Option<Located<bool>>,
    allow: Option<Located<Vec<Located<String>>>>,
    deny: Option<Located<Vec<Located<String>>>>,
    pub(super) max_new_per_source: Option<Located<SourceRate>>,
    pub(super) max_new: Option<Located<Rate>>,
    pub(super) syn_cookies: Option<Located<Rate>>,
}

impl GuardPolicy {
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            malformed: section.optional("malformed", |entry| entry.choice(MALFORMED)),
            allow: section.optional("allow", names),
            deny: section.optional("deny", names),
            max_new_per_source: section.optional("max_new_per_source", source_rate),
            max_new: section.optional("max_new", rate),
            syn_cookies: section.optional("syn_cookies", syn_cookies),
        }
    }

    /// This policy, with `defaults` where it says nothing.
    pub(super) fn or(self, defaults: Self) -> Self {
        Self {
            malformed: self.malformed.or(defaults.malformed),
            allow: self.allow.or(defaults.allow),
            deny: self.deny.or(defaults.deny),
            max_new_per_source: self.max_new_per_source.or(defaults.max_new_per_source),
            max_new: self.max_new.or(defaults.max_new),
            syn_cookies: self.syn_cookies.or(defaults.syn_cookies),
        }
    }

    pub(super) fn resolve(&self, file: &File<'_>, lists: &mut Lists) -> Guard {
        Guard {
            drops_malformed: self.malformed.as_ref().is_none_or(|malformed| malformed.value),
            rules: lists.rules(file, self.allow.as_ref(), self.deny.as_ref()),
            max_new_per_source: self.max_new_per_source.as_ref().map(|rate| rate.value),
            max_new: self.max_new.as_ref().map(|rate| rate.value),
            syn_cookies: self.syn_cookies.as_ref().map(|rate| rate.value).filter(Rate::is_bounded),
        }
    }
}

impl Reading<'_> {
    /// Whether what is to be counted can be.
    pub(super) fn check_guard(&self) {
        self.check_cookies();
        if self.protocol == Some(Protocol::Quic) && self.backends.have_limits() {
            let file = self.section.file;
            let error =
                file.error(&self.section.place_of("backend"), "backends of a quic service have no limits");
            let help =
                "connections that are found by their connection ids are not remembered, and so not counted";
            file.report(error.expected("expected no max_new_per_sec, no max_connections").help(help));
        }
        let Some(track) = &self.policy.track else { return };
        if self.backends.have_limits() && track.value != Track::Always {
            let message = format!("{} has backends with limits", self.label());
            self.refuse_track(track, message, "what a backend has is counted where every flow is remembered");
        }
        let guard = &self.policy.guard;
        let has_rates = guard.max_new.is_some() || guard.max_new_per_source.is_some();
        if has_rates && self.protocol == Some(Protocol::Udp) && track.value == Track::Moved {
            let message = format!("{} is udp, and has rates of new flows", self.label());
            let help = "no UDP packet says that it opens a flow: with \"always\" one whose flow is not remembered does, \
                        with \"never\" every one";
            self.refuse_track(track, message, help);
        }
    }

    fn refuse_track(&self, track: &Located<Track>, message: String, help: &str) {
        let file = self.section.file;
        let expected = "expected \"always\", or no `track` here";
        file.report(file.error(&track.place, message).expected(expected).help(help));
    }
}

/// A number a second, alone or in a table with the burst.
fn rate(entry: &Entry<'_>) -> Option<Rate> {
    match entry.value {
        DeValue::Table(_) => rate_in(&entry.section(&schema::RATE)?),
        DeValue::Integer(_) => plain_rate(entry),
        _ => refuse_rate(entry),
    }
}

/// The same, and how much of an address is one source.
fn source_rate(entry: &Entry<'_>) -> Option<SourceRate> {
    let default = SourceRate::default();
    match entry.value {
        DeValue::Table(_) => {}
        DeValue::Integer(_) => return plain_rate(entry).map(|rate| SourceRate { rate, ..default }),
        _ => return refuse_rate(entry),
    }
    let section = entry.section(&schema::SOURCE_RATE)?;
    let bits = |family: &str, most: u32| section.optional(family, |entry| entry.integer(&(1..=most)));
    let (ipv4, ipv6) = (bits("ipv4", 32), bits("ipv6", 128));
    Some(SourceRate {
        rate: rate_in(&section)?,
        ipv4: ipv4.map_or(default.ipv4, |bits| bits.value as u8),
        ipv6: ipv6.map_or(default.ipv6, |bits| bits.value as u8),
    })
}

fn refuse_rate<T>(entry: &Entry<'_>) -> Option<T> {
    entry.refuse_type("expected a number of flows a second, or { rate = 100, burst = 200 }")
}

/// As many at once as in a second.
fn plain_rate(entry: &Entry<'_>) -> Option<Rate> {
    entry.integer(&(1..=MOST)).map(|rate| Rate::new(rate, rate))
}

fn rate_in(section: &Section<'_>) -> Option<Rate> {
    let of = |key| section.optional(key, |entry| entry.integer(&(1..=MOST)));
    if !section.mentions("rate") {
        section.refuse_absence("rate", "rate = 100");
    }
    let (rate, burst) = (of("rate"), of("burst"));
    rate.map(|rate| Rate::new(rate.value, burst.map_or(rate.value, |burst| burst.value)))
}
