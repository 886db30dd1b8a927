//! What `sluice capture` and `sluice trace` ask for: `POST /v1/capture` and `POST /v1/trace`.

use std::time::Duration;

use humantime::parse_duration;
use ipnet::IpNet;
use lb_common::{
    address::Address,
    budget::interval_ns,
    capture::{Choice, MOST, NONE},
    counter::{Fate, Reason},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{daemon::now, names::Names};

/// Packets that are told of in a second at most, over all CPUs.
const MOST_PER_SECOND: u32 = 20_000;

/// How long one may look, and how long it is where nothing is said.
const LONGEST: Duration = Duration::from_hours(1);
const USUAL: Duration = Duration::from_mins(1);

/// Bytes that are kept of a packet where nothing is said: headers, a tunnel's included.
const USUAL_KEEP: u32 = 160;

/// Which packets are wanted, and for how long. What is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CaptureRequest)]
pub struct Request {
    /// Those for this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Those for this backend of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Those with an end in this prefix, such as `192.0.2.0/24` or `2001:db8::7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Those with one of these reasons, such as `no_backend`; `dropped` stands for all that drop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// One of so many, at random, such as `100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<u32>,
    /// Bytes that are kept of each, at most 2047.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
    /// After so many packets it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// After such a time it ends, such as `30s`; at most an hour, and a minute where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
}

/// Why there is no such choice: the key, what is wrong with it, and what to do.
pub type Wrong = (&'static str, String, &'static str);

impl Request {
    /// For how long it is asked.
    ///
    /// # Errors
    ///
    /// It is no duration, or too long.
    pub fn duration(&self) -> Result<Duration, Wrong> {
        let Some(text) = &self.duration else { return Ok(USUAL) };
        let wrong = |what: String| ("duration", what, "give a duration up to 1h, such as 30s");
        let duration =
            parse_duration(text).map_err(|error| wrong(format!("{text:?} is no duration: {error}")))?;
        if duration > LONGEST { Err(wrong(format!("{text} is too long"))) } else { Ok(duration) }
    }

    /// The same for the program.
    ///
    /// # Errors
    ///
    /// [`Wrong`].
    pub fn choice(&self, names: &Names, cpus: u32) -> Result<Choice, Wrong> {
        let service = self.service.as_deref().map(|name| service(names, name)).transpose()?;
        let backend = match (&self.backend, service) {
            (None, _) => NONE,
            (Some(name), Some(service)) => names.id_of_backend(service, name).ok_or_else(|| {
                ("backend", format!("the service has no backend {name:?}"), "`sluice status` names them")
            })?,
            (Some(_), None) => {
                return Err(("backend", "of which service?".to_owned(), "name the service too"));
            }
        };
        let (client, client_bits) =
            self.client.as_deref().map_or(Ok((Address::from_v6([0; 16]), 0)), client)?;
        let one_of = self.one_of.unwrap_or(1);
        let keep = self.snaplen.unwrap_or(USUAL_KEEP);
        if one_of == 0 {
            return Err(("one_of", "one of none is none".to_owned(), "give 1 or more"));
        }
        if !(14..=MOST).contains(&keep) {
            return Err(("snaplen", format!("{keep} bytes cannot be kept"), "give 14 to 2047"));
        }
        Ok(Choice {
            client,
            client_bits,
            service: service.unwrap_or(NONE),
            backend,
            one_of,
            reasons: self.reasons()?,
            until_ns: (now() + self.duration()?).as_nanos() as u64,
            interval_ns: interval_ns(MOST_PER_SECOND, cpus),
            keep,
            _pad: 0,
        })
    }

    fn reasons(&self) -> Result<u64, Wrong> {
        let bits = |of: &dyn Fn(Reason) -> bool| {
            Reason::ALL
                .into_iter()
                .filter(|reason| of(*reason))
                .fold(0, |bits, reason| bits | 1 << reason as u32)
        };
        let mut all = 0;
        for name in &self.reasons {
            let found: u64 =
                bits(&|reason| reason.name() == name || name == "dropped" && reason.fate() == Fate::Drop);
            if found == 0 {
                return Err((
                    "reasons",
                    format!("there is no reason {name:?}"),
                    "docs/reasons.md names them",
                ));
            }
            all |= found;
        }
        Ok(if self.reasons.is_empty() { u64::MAX } else { all })
    }
}

fn service(names: &Names, name: &str) -> Result<u32, Wrong> {
    names
        .id_of(name)
        .ok_or_else(|| ("service", format!("there is no service {name:?}"), "`sluice status` names them"))
}

fn client(text: &str) -> Result<(Address, u32), Wrong> {
    let prefix: IpNet = text
        .parse()
        .or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()))
        .map_err(|_| {
            ("client", format!("{text:?} is no prefix"), "give an address or a prefix, such as 192.0.2.0/24")
        })?;
    let mapped = if prefix.addr().is_ipv4() { 96 } else { 0 };
    Ok((prefix.network().into(), mapped + u32::from(prefix.prefix_len())))
}

/// A decision about a packet: a line of `POST /v1/trace`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// When the packet came, in seconds since 1970.
    pub at: f64,
    /// The interface that it came by.
    pub interface: String,
    /// Its flow; none where it has none.
    pub flow: Option<String>,
    /// Its bytes.
    pub bytes: u32,
    /// `forwarded`, `answered`, `passes` or `dropped`.
    pub fate: String,
    /// Why.
    pub reason: String,
    /// Its service.
    pub service: Option<String>,
    /// How its backend was found: `settled` and `moved` by the slot alone, `remembered`, `connection_id`, or `otherwise`.
    pub how: String,
    /// Its backend.
    pub backend: Option<String>,
    /// What left: its outermost addresses, the interface and bytes; none where nothing did.
    pub left: Option<String>,
}

/// Packets that could not be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Untold {
    /// Since they came faster than is told.
    pub limited: u64,
    /// Since nobody had read in time.
    pub lost: u64,
}

impl Untold {
    /// Whether there are any.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.limited + self.lost > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_is_made_or_says_what_is_wrong() {
        let names = Names::default();
        let choice = |text: &str| serde_json::from_str::<Request>(text).unwrap().choice(&names, 2);
        let all = choice("{}").unwrap();
        assert_eq!(
            (all.service, all.backend, all.client_bits, all.one_of, all.reasons),
            (NONE, NONE, 0, 1, u64::MAX)
        );
        let some = choice(r#"{"client": "192.0.2.9/24", "reasons": ["no_backend"], "snaplen": 64}"#).unwrap();
        assert_eq!((some.client, some.client_bits), (Address::from_v4([192, 0, 2, 0]), 120));
        assert_eq!((some.reasons, some.keep), (1 << Reason::NoBackend as u32, 64));
        let drops = choice(r#"{"reasons": ["dropped"]}"#).unwrap().reasons;
        assert!(drops >> Reason::Land as u32 & 1 == 1 && drops >> Reason::Transmitted as u32 & 1 == 0);
        // (request, key)
        let wrong = [
            (r#"{"service": "wbe"}"#, "service"),
            (r#"{"backend": "b1"}"#, "backend"),
            (r#"{"client": "192.0.2"}"#, "client"),
            (r#"{"reasons": ["bad"]}"#, "reasons"),
            (r#"{"one_of": 0}"#, "one_of"),
            (r#"{"snaplen": 2048}"#, "snaplen"),
            (r#"{"duration": "2h"}"#, "duration"),
        ];
        for (text, key) in wrong {
            assert_eq!(choice(text).unwrap_err().0, key, "{text}");
        }
    }

    #[test]
    fn reasons_fit_into_a_word() {
        const { assert!(Reason::COUNT <= 64) };
    }
}
