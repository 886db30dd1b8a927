//! What the daemon has to write: its state, its socket, its pins.

use super::{Facts, Finding};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for place in &facts.places {
        let (key, there) = (place.key, place.there.display());
        if !place.writable {
            let found = format!(
                "{} cannot be made: {there} is not writable for user {}",
                place.path.display(),
                facts.user
            );
            let remedy = format!("chown -R {} {there} && chmod u+w {there}", facts.user);
            findings.push(Finding::problem(key, found).remedy(remedy));
        } else if place.there == place.path && place.owner != facts.user {
            let found =
                format!("{there} belongs to user {}, who can change what Sluice goes by", place.owner);
            findings.push(Finding::hint(key, found).remedy(format!("chown -R {} {there}", facts.user)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Place, Severity};

    #[test]
    fn places_are_writable_and_one_s_own() {
        let path = "/var/lib/sluice/state.json";
        let found = |there: &str, owner, writable| {
            let place =
                Place { key: "balancer.state_path", path: path.into(), there: there.into(), owner, writable };
            let findings = check(&Facts { places: vec![place], user: 0, ..Facts::default() }).into_iter();
            findings.map(|finding| (finding.severity, finding.remedy.unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(found(path, 0, true), []);
        assert_eq!(found("/var/lib", 7, true), [], "it is still to be made");
        let remedy = "chown -R 0 /var/lib && chmod u+w /var/lib".to_owned();
        assert_eq!(found("/var/lib", 0, false), [(Severity::Problem, remedy)]);
        assert_eq!(found(path, 7, true), [(Severity::Hint, format!("chown -R 0 {path}"))]);
    }
}
