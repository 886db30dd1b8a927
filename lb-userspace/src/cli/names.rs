//! Which backends somebody means by a name.

use crate::admin::status::Status;

/// A backend of a service, by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) service: String,
    pub(super) backend: String,
}

/// Nobody is called that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no backend {wanted}; {}", remedy(.nearest))]
pub(super) struct Unknown {
    wanted: String,
    nearest: Vec<String>,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.backend)
    }
}

/// The backends called `wanted`: `SERVICE/BACKEND`, or `BACKEND` in every service that has it.
///
/// # Errors
///
/// [`Unknown`], with the names that look like it.
pub(super) fn resolve(status: &Status, wanted: &str) -> Result<Vec<Name>, Unknown> {
    let (service, backend) =
        wanted.split_once('/').map_or((None, wanted), |(service, backend)| (Some(service), backend));
    let all = all(status);
    let is_meant = |name: &&Name| name.backend == backend && service.is_none_or(|s| s == name.service);
    let meant: Vec<Name> = all.iter().filter(is_meant).cloned().collect();
    if meant.is_empty() {
        return Err(Unknown { wanted: wanted.to_owned(), nearest: nearest(&all, wanted, service.is_some()) });
    }
    Ok(meant)
}

fn all(status: &Status) -> Vec<Name> {
    let of = |service: &crate::admin::status::Service| -> Vec<Name> {
        let name = service.name.clone();
        let names = service.backends.iter().map(|backend| backend.name.clone());
        names.map(|backend| Name { service: name.clone(), backend }).collect()
    };
    status.services.iter().flat_map(of).collect()
}

/// At most three names, the nearest first, of at most one edit in three characters.
fn nearest(all: &[Name], wanted: &str, with_service: bool) -> Vec<String> {
    const SHOWN: usize = 3;
    let written = |name: &Name| if with_service { name.to_string() } else { name.backend.clone() };
    let mut near: Vec<_> = all
        .iter()
        .map(written)
        .map(|name| (strsim::damerau_levenshtein(&name, wanted), name))
        .filter(|(distance, name)| *distance <= (name.chars().count() / 3).max(1))
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().take(SHOWN).map(|(_, name)| name).collect()
}

fn remedy(nearest: &[String]) -> String {
    match nearest {
        [] => "`sluice status` lists all of them".to_owned(),
        [only] => format!("did you mean {only}?"),
        [others @ .., last] => format!("did you mean {} or {last}?", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{backend, service, status};

    fn names(wanted: &str) -> Result<Vec<String>, String> {
        let status = status(vec![
            service("web", vec![backend("b1"), backend("b2"), backend("mail-1")]),
            service("dns", vec![backend("b1")]),
        ]);
        let resolved = resolve(&status, wanted).map_err(|error| error.to_string())?;
        Ok(resolved.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn name_without_service_means_every_service_that_has_it() {
        assert_eq!(names("b1"), Ok(vec!["web/b1".to_owned(), "dns/b1".to_owned()]));
        assert_eq!(names("dns/b1"), Ok(vec!["dns/b1".to_owned()]));
    }

    #[test]
    fn unknown_name_is_refused_with_the_nearest() {
        let refused = |wanted| names(wanted).unwrap_err();
        assert_eq!(refused("b3"), "there is no backend b3; did you mean b1 or b2?");
        assert_eq!(refused("mial-1"), "there is no backend mial-1; did you mean mail-1?");
        assert_eq!(refused("dns/b2"), "there is no backend dns/b2; did you mean dns/b1?");
        assert_eq!(refused("database"), "there is no backend database; `sluice status` lists all of them");
    }
}
