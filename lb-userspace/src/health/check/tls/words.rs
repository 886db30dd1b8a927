//! Why a TLS handshake has failed, for people.

use rustls::{CertificateError, Error, pki_types::UnixTime};

/// What rustls says of certificates holds numbers of seconds; a reader wants days.
pub(super) fn of(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => format!("the server ends the TLS handshake: {alert:?}"),
        Error::InvalidMessage(_) => "the answer is not TLS".to_owned(),
        Error::NoApplicationProtocol => "the server does not speak HTTP/2".to_owned(),
        error => format!("the TLS handshake fails: {error}"),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("certificate expired {} ago", between(*not_after, *time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("certificate is not valid before {} from now", between(*time, *not_before))
        }
        CertificateError::UnknownIssuer => "certificate is from an unknown issuer".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("certificate is not for {}, but for {}", expected.to_str(), names(presented))
        }
        error => format!("certificate is refused: {error}"),
    }
}

/// The names in a certificate, out of the `DnsName("…")` that they come in.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    match presented {
        [] => "nobody".to_owned(),
        names => names.iter().map(bare).collect::<Vec<_>>().join(", "),
    }
}

/// The time between two moments, in the largest unit that is whole.
fn between(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    match unit.map(|(length, name)| (seconds / length, name)) {
        None => "a moment".to_owned(),
        Some((1, name)) => format!("1 {name}"),
        Some((count, name)) => format!("{count} {name}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::ServerName;

    use super::*;

    const fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn certificate_is_refused_in_words() {
        let expected = ServerName::try_from("a.example.org").unwrap();
        let named = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: expected.clone(),
            presented: presented.iter().map(ToString::to_string).collect(),
        };
        let (day, hour) = (86_400, 3600);
        let table = [
            (
                CertificateError::ExpiredContext { time: at(3 * day + hour), not_after: at(hour) },
                "certificate expired 3 days ago",
            ),
            (
                CertificateError::ExpiredContext { time: at(hour), not_after: at(0) },
                "certificate expired 1 hour ago",
            ),
            (
                CertificateError::NotValidYetContext { time: at(0), not_before: at(90) },
                "certificate is not valid before 1 minute from now",
            ),
            (CertificateError::UnknownIssuer, "certificate is from an unknown issuer"),
            (
                named(&["DnsName(\"b.example.org\")", "IpAddress(192.0.2.1)"]),
                "certificate is not for a.example.org, but for b.example.org, IpAddress(192.0.2.1)",
            ),
            (named(&[]), "certificate is not for a.example.org, but for nobody"),
        ];
        for (error, said) in table {
            assert_eq!(of(&Error::InvalidCertificate(error)), said);
        }
    }
}
