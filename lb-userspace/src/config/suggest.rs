//! "Did you mean": the known word that was most likely meant by an unknown one.

/// Words that other balancers use, and what they are called here.
const SYNONYMS: &[(&str, &str)] = &[
    ("vip", "address"),
    ("ip", "address"),
    ("host", "address"),
    ("id", "name"),
    ("server", "backend"),
    ("real", "backend"),
    ("target", "backend"),
    ("endpoint", "backend"),
    ("healthcheck", "probe"),
    ("health_check", "probe"),
    ("device", "interfaces"),
    ("table_size", "slots"),
    ("mac", "l2"),
    ("dsr", "l2"),
    ("tunnel", "ipip"),
    ("ip6ip6", "ipip"),
    ("driver", "native"),
    ("skb", "generic"),
    ("draining", "drain"),
    ("off", "none"),
];

/// The one of `candidates` that `word` is a misspelling, an abbreviation or a synonym of.
pub(super) fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    synonym(&word, candidates)
        .or_else(|| misspelt(&word, candidates))
        .or_else(|| abbreviated(&word, candidates))
}

fn synonym<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let singular = word.strip_suffix('s').unwrap_or(word);
    let (_, meant) = SYNONYMS.iter().find(|(other, _)| *other == word || *other == singular)?;
    candidates.iter().find(|candidate| *candidate == meant).copied()
}

/// At most one edit in three characters, swapped neighbours being one.
fn misspelt<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|&candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

fn abbreviated<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let is_abbreviation = |candidate: &&&str| word.len() >= 3 && candidate.starts_with(word);
    candidates.iter().find(is_abbreviation).copied()
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn misspelling_abbreviation_and_synonym_are_recognised() {
        // (word, candidates, meant)
        let cases: &[(&str, &[&str], Option<&str>)] = &[
            ("adress", &["name", "address"], Some("address")),
            ("prot", &["port", "protocol"], Some("port")),
            ("prot", &["name", "protocol"], Some("protocol")),
            ("Idle-Timeout", &["idle_timeout"], Some("idle_timeout")),
            ("servers", &["backend"], Some("backend")),
            ("servers", &["name"], None),
            ("colour", &["name", "address"], None),
            ("", &["name", "l2"], None),
        ];
        for (word, candidates, meant) in cases {
            assert_eq!(closest(word, candidates), *meant, "{word}");
        }
    }
}
