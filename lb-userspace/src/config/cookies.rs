//! `syn_cookies`: when SYNs are answered with cookies, and who can.

use lb_common::{cookie::ALWAYS, guard::Rate};
use toml::de::DeValue;

use super::{Forwarding, Protocol, guard::MOST, schema, section::Entry, service::Reading};

/// The rate of SYNs beyond which they are answered; one that is not bounded: they are not.
pub(super) fn syn_cookies(entry: &Entry<'_>) -> Option<Rate> {
    const EXPECTED: &str =
        "expected { above = 1000 }, a number of SYNs a second, or one of \"always\", \"off\"";
    match entry.value {
        DeValue::Table(_) => above(entry),
        DeValue::String(text) if text == "always" => Some(ALWAYS),
        DeValue::String(text) if text == "off" => Some(Rate::default()),
        DeValue::String(_) => {
            entry.refuse(format!("{} is not a value of this key", entry.excerpt()), EXPECTED)
        }
        _ => entry.refuse_type(EXPECTED),
    }
}

/// As many at once as in a second.
fn above(entry: &Entry<'_>) -> Option<Rate> {
    let section = entry.section(&schema::SYN_COOKIES)?;
    let above = section.required("above", "above = 1000", |entry| entry.integer(&(1..=MOST)))?;
    Some(Rate::new(above.value, above.value))
}

impl Reading<'_> {
    /// Whether all that a backend sends comes back through the balancer, as the numbers of a cookie need it.
    pub(super) fn may_send_cookies(&self) -> bool {
        self.protocol == Some(Protocol::Tcp) && self.untranslated().is_none()
    }

    /// A backend that is not reached by `nat`.
    fn untranslated(&self) -> Option<&str> {
        let mut backends = self.backends.read.iter().map(|reading| &reading.backend);
        backends.find(|backend| backend.forwarding != Forwarding::Nat).map(|backend| &*backend.name)
    }

    pub(super) fn check_cookies(&self) {
        let (file, cookies) = (self.section.file, self.policy.guard.syn_cookies.as_ref());
        let asked =
            cookies.filter(|cookies| cookies.value.is_bounded() && self.section.holds(&cookies.place));
        let Some(cookies) = asked else { return };
        let (message, help): (_, &str) = match (self.protocol, self.untranslated()) {
            (Some(protocol @ (Protocol::Udp | Protocol::Quic)), _) => (
                format!("{} is {}, which has no SYNs", self.label(), protocol.name()),
                "only TCP opens connections so: leave `syn_cookies` out",
            ),
            (_, Some(backend)) => (
                format!("backend `{backend}` of {} answers clients directly", self.label()),
                "who has been sent a cookie knows other numbers than the backend, and only what is reached by \
                 `forwarding = \"nat\"` comes back through the balancer, where they can be translated",
            ),
            _ => return,
        };
        file.report(
            file.error(&cookies.place, message).expected("expected no `syn_cookies`, or \"off\"").help(help),
        );
    }
}
