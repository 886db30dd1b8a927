//! What a backend says of itself, in the words of HAProxy's agent-check (its configuration manual, `agent-check`).
//!
//! A line holds some of: a weight in per cent of the configured one, a state, whether it is up, `maxconn:` and a number. What
//! it does not mention stays as it was said before, so a backend that says `drain` once and `75%` from then on drains until
//! it says `ready`. State and weight are the backend's own: they never touch what the operator wants, and the stricter
//! of the two holds.

use std::fmt::{self, Display, Formatter};

/// HAProxy's bound of a weight is 256 times that of a usual backend; a hundredfold of a configured one is beyond all use.
const MAX_PERCENT: u32 = 10_000;

/// Characters of a reason, and of a line that is not understood, that are shown.
const SHOWN_CHARS: usize = 80;

/// What a backend wants of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnState {
    /// To take flows.
    #[default]
    Ready,
    /// To keep its flows and take no new ones.
    Drain,
    /// To have no flows.
    Maintenance,
}

/// One line of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remark {
    /// Its weight, in per cent of the configured one.
    pub percent: Option<u32>,
    /// What it wants of itself.
    pub state: Option<OwnState>,
    /// Whether it is up; the words of one that is not.
    pub up: Option<Result<(), String>>,
    /// How many connections it takes.
    pub maxconn: Option<u32>,
}

/// What a backend has said of its share and its state, the last word of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Its weight, in per cent of the configured one.
    pub percent: u32,
    /// What it wants of itself.
    pub state: OwnState,
    /// How many connections it takes. Shown only: packets that are balanced one by one cannot be counted that way.
    pub maxconn: Option<u32>,
}

impl Default for Advice {
    fn default() -> Self {
        Self { percent: 100, state: OwnState::Ready, maxconn: None }
    }
}

impl Remark {
    /// Reads a line, without its end.
    ///
    /// # Errors
    /// What it is instead, for people.
    pub fn parse(line: &str) -> Result<Self, String> {
        let (words, reason) =
            line.split_once('#').map_or((line, ""), |(words, reason)| (words, reason.trim()));
        let mut remark = Self::default();
        let mut words = words.split([' ', '\t', ',']).filter(|word| !word.is_empty()).peekable();
        if words.peek().is_none() {
            return Err("the agent says nothing".to_owned());
        }
        words.try_for_each(|word| remark.take(word, reason))?;
        Ok(remark)
    }

    fn take(&mut self, word: &str, reason: &str) -> Result<(), String> {
        match word.to_ascii_lowercase().as_str() {
            "up" => self.up = Some(Ok(())),
            word @ ("down" | "fail" | "stopped") => self.up = Some(Err(quoted(word, reason))),
            "ready" => self.state = Some(OwnState::Ready),
            "drain" => self.state = Some(OwnState::Drain),
            "maint" => self.state = Some(OwnState::Maintenance),
            lower => self.take_number(lower).ok_or_else(|| strange(word))?,
        }
        Ok(())
    }

    fn take_number(&mut self, word: &str) -> Option<()> {
        if let Some(number) = word.strip_prefix("maxconn:") {
            self.maxconn = Some(number.parse().ok()?);
        } else {
            let percent: u32 = word.strip_suffix('%')?.parse().ok()?;
            self.percent = Some(percent.min(MAX_PERCENT));
        }
        Some(())
    }
}

fn quoted(word: &str, reason: &str) -> String {
    match reason {
        "" => format!("the agent says {word}"),
        reason => format!("the agent says {word}: {}", shortened(reason)),
    }
}

fn strange(word: &str) -> String {
    format!("the agent says \"{}\", which is none of its words", shortened(word))
}

/// Fit for one line of a table.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect()
}

impl Advice {
    /// Takes in a line.
    pub fn hear(&mut self, remark: &Remark) {
        self.percent = remark.percent.unwrap_or(self.percent);
        self.state = remark.state.unwrap_or(self.state);
        self.maxconn = remark.maxconn.or(self.maxconn);
    }
}

impl Display for Advice {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            OwnState::Ready => "ready",
            OwnState::Drain => "drain",
            OwnState::Maintenance => "maint",
        };
        write!(out, "{state}, {}%", self.percent)?;
        self.maxconn.map_or(Ok(()), |maxconn| write!(out, ", maxconn:{maxconn}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(line: &str) -> Remark {
        Remark::parse(line).unwrap()
    }

    #[test]
    fn words_are_read_in_any_order_and_case() {
        let down = |text: &str| Remark { up: Some(Err(text.to_owned())), ..Remark::default() };
        let table = [
            ("75%", Remark { percent: Some(75), ..Remark::default() }),
            ("UP", Remark { up: Some(Ok(())), ..Remark::default() }),
            ("drain\t50%", Remark { state: Some(OwnState::Drain), percent: Some(50), ..Remark::default() }),
            (
                "maxconn:30,ready",
                Remark { state: Some(OwnState::Ready), maxconn: Some(30), ..Remark::default() },
            ),
            ("maint", Remark { state: Some(OwnState::Maintenance), ..Remark::default() }),
            ("down", down("the agent says down")),
            ("stopped", down("the agent says stopped")),
            ("fail#disk full", down("the agent says fail: disk full")),
        ];
        for (line, expected) in table {
            assert_eq!(parsed(line), expected, "{line}");
        }
    }

    #[test]
    fn other_words_are_refused_by_name() {
        let refused = [
            ("", "the agent says nothing"),
            (" ,\t", "the agent says nothing"),
            ("HTTP/1.1 400", "the agent says \"HTTP/1.1\", which is none of its words"),
            ("75", "the agent says \"75\", which is none of its words"),
            ("-5%", "the agent says \"-5%\", which is none of its words"),
            ("maxconn:", "the agent says \"maxconn:\", which is none of its words"),
        ];
        for (line, said) in refused {
            assert_eq!(Remark::parse(line).unwrap_err(), said, "{line}");
        }
    }

    #[test]
    fn what_is_not_mentioned_stays() {
        let mut advice = Advice::default();
        for line in ["drain", "75%", "down", "maxconn:9"] {
            advice.hear(&parsed(line));
        }
        assert_eq!(advice.to_string(), "drain, 75%, maxconn:9");
        advice.hear(&parsed("up ready 100%"));
        assert_eq!(advice.to_string(), "ready, 100%, maxconn:9");
    }

    proptest! {
        #[test]
        fn no_line_is_too_much(line in "\\PC{0,200}") {
            let _ = Remark::parse(&line);
        }
    }
}
