//! No input makes the checker panic, and every refusal has a reason.

use proptest::prelude::*;

use super::{DNS, FLAWLESS, parse};

/// Pieces that mutations are made of.
const PIECES: &[&str] = &[
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "\n",
    "\r\n",
    ",",
    "0",
    "-1",
    "1e9",
    "99999999999999999999",
    "true",
    "\u{0}",
    "é",
    "\u{feff}",
    "[[service]]\n",
    "[service.probe]\n",
    "[defaults]\n",
    "[limits]\n",
    "service",
    "\"\"",
    "slots = 7\n",
    "weight = 65535\n",
    "\"::\"",
    "[\"0.0.0.0/0\", \"::/0\"]",
    "\"1 month\"",
    "\"any\"",
    "#",
    "\t",
];

fn check(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Ok((_, warnings)) => warnings.iter().for_each(|warning| drop(warning.styled())),
        Err(diagnostics) => {
            prop_assert!(diagnostics.iter().count() > 0);
            prop_assert!(!diagnostics.to_string().is_empty());
        }
    }
    Ok(())
}

/// Replaces the characters from `at` to `at + length` by a piece.
fn mutated(text: &str, at: usize, length: usize, piece: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    let start = at % characters.len();
    let end = (start + length).min(characters.len());
    let head = characters[..start].iter();
    head.chain(&PIECES[piece % PIECES.len()].chars().collect::<Vec<_>>()).chain(&characters[end..]).collect()
}

proptest! {
    #[test]
    fn arbitrary_text_does_not_panic(text in "(?s).{0,200}") {
        check(&text)?;
    }

    #[test]
    fn arbitrary_toml_does_not_panic(lines in proptest::collection::vec("(\\[{1,2})?(balancer|limits|defaults|service)?[.a-z ]{0,9}\\]{0,2} ?=? ?[\"\\[{0-9a-z.:/}\\]-]{0,12}", 0..12)) {
        check(&lines.join("\n"))?;
    }

    #[test]
    fn mutated_file_does_not_panic(mutations in proptest::collection::vec((0..2000usize, 0..24usize, 0..99usize), 1..5)) {
        let text = format!("{FLAWLESS}{DNS}");
        check(&mutations.iter().fold(text, |text, &(at, length, piece)| mutated(&text, at, length, piece)))?;
    }

    #[test]
    fn file_without_some_of_its_lines_does_not_panic(kept in proptest::collection::vec(any::<bool>(), 40)) {
        let text = format!("{FLAWLESS}{DNS}");
        let lines: Vec<_> = text.lines().zip(kept.into_iter().cycle()).filter(|(_, kept)| *kept).map(|(line, _)| line).collect();
        check(&lines.join("\n"))?;
    }
}
