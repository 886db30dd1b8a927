//! Changes to a configuration's text, mostly by its lines and words: noise would only ever meet the TOML parser.

use lb_tests::random::Random;

/// Values that are wrong somewhere, or just right.
const VALUES: [&str; 28] = [
    "0",
    "1",
    "-1",
    "2",
    "255",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "1021",
    "1.5",
    "true",
    "\"\"",
    "\"any\"",
    "\"tcp\"",
    "\"udp\"",
    "\"0s\"",
    "\"30s\"",
    "\"1d 1h\"",
    "\"203.0.113.10\"",
    "\"2001:db8::1\"",
    "\"0.0.0.0\"",
    "\"fe80::1\"",
    "\"192.0.2.0/33\"",
    "[]",
    "{}",
    "[1, \"a\"]",
];

/// Every word that a text has, to be put where another one was.
pub fn words(texts: &[String]) -> Vec<String> {
    let mut words: Vec<String> = texts
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.splitn(2, " = "))
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .chain(VALUES.map(str::to_owned))
        .collect();
    words.sort();
    words.dedup();
    words
}

/// The text with one change.
pub fn edit(text: &str, other: &str, words: &[String], random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        lines.push(String::new());
    }
    let at = random.below(lines.len());
    match random.below(9) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(random.below(at + 1), lines[at].clone()),
        2 => lines.swap(at, random.pick(&[0, at / 2, at])),
        3 | 4 => value(&mut lines[at], words, random),
        5 => key(&mut lines[at], words, random),
        6 => lines.extend(some_of(other, random)),
        7 => lines.truncate(at),
        _ => character(&mut lines[at], random),
    }
    lines.join("\n")
}

/// Gives the line's key another value.
fn value(line: &mut String, words: &[String], random: &mut Random) {
    if let Some((key, _)) = line.split_once(" = ") {
        *line = format!("{key} = {}", words[random.below(words.len())]);
    }
}

/// Gives the line's value another key.
fn key(line: &mut String, words: &[String], random: &mut Random) {
    let word = &words[random.below(words.len())];
    *line = line.split_once(" = ").map_or_else(|| word.clone(), |(_, value)| format!("{word} = {value}"));
}

/// A few lines of another text.
fn some_of(other: &str, random: &mut Random) -> Vec<String> {
    let lines: Vec<&str> = other.lines().collect();
    let from = random.below(lines.len().max(1));
    lines.into_iter().skip(from).take(1 + random.below(12)).map(str::to_owned).collect()
}

/// Takes a character away, or puts one in.
fn character(line: &mut String, random: &mut Random) {
    let places: Vec<usize> = line.char_indices().map(|(at, _)| at).collect();
    let Some(&at) = places.get(random.below(places.len().max(1))) else { return line.push('=') };
    if random.below(2) == 0 {
        line.remove(at);
    } else {
        line.insert(
            at,
            random.pick(&['"', '=', '[', ']', '{', '}', '.', ',', '-', '\\', '\u{0}', 'é', '\u{2028}', '9']),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_never_run_out_of_text() {
        let mut random = Random::new(1);
        let words = words(&["a = 1\n[b]\n".to_owned()]);
        let mut text = String::new();
        for _ in 0..5_000 {
            text = edit(&text, "c = 2\n", &words, &mut random);
            text.truncate(text.char_indices().nth(400).map_or(text.len(), |(at, _)| at));
        }
    }
}
