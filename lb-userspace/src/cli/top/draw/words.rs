//! Numbers as people read them at a glance.

/// Bars of a sparkline, the lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Three digits and what they are multiplied by.
pub(super) fn short(number: f64) -> String {
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What would be written as 1000 is one of the next step.
    let (by, unit) = steps.into_iter().find(|(by, _)| number >= by * 0.9995).unwrap_or((1.0, ""));
    let part = number / by;
    match (part, unit) {
        (part, _) if part < 0.05 => "0".to_owned(),
        (part, "") if part < 9.95 => format!("{part:.1}"),
        (part, "") => format!("{part:.0}"),
        (part, unit) if part < 9.995 => format!("{part:.2}{unit}"),
        (part, unit) if part < 99.95 => format!("{part:.1}{unit}"),
        (part, unit) => format!("{part:.0}{unit}"),
    }
}

/// The same of a count.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn short_count(count: u64) -> String {
    if count < 10_000 { count.to_string() } else { short(count as f64) }
}

/// A part of a whole.
pub(super) fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// A bar for each number, as high as its part of `most`; the lowest for nothing.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "rates are not negative, and there are eight bars"
)]
pub(super) fn sparkline(numbers: &[f64], most: f64) -> String {
    let bar = |number: &f64| {
        let height = if most > 0.0 { number / most * (BARS.len() - 1) as f64 } else { 0.0 };
        BARS[(height.ceil() as usize).min(BARS.len() - 1)]
    };
    numbers.iter().map(bar).collect()
}

/// Whether that is one of a sparkline's.
pub(super) fn is_bar(symbol: &str) -> bool {
    symbol.chars().all(|character| BARS.contains(&character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let table = [
            (0.0, "0"),
            (0.04, "0"),
            (0.5, "0.5"),
            (9.96, "10"),
            (999.0, "999"),
            (999.7, "1.00k"),
            (1_234.0, "1.23k"),
            (56_780.0, "56.8k"),
            (999_400.0, "999k"),
            (12_000_000.0, "12.0M"),
            (3.2e9, "3.20G"),
            (1.5e15, "1500T"),
        ];
        for (number, expected) in table {
            assert_eq!(short(number), expected);
        }
    }

    #[test]
    fn bars_are_parts_of_the_most() {
        assert_eq!(sparkline(&[0.0, 1.0, 50.0, 100.0, 200.0], 100.0), "▁▂▅██");
        assert_eq!(sparkline(&[0.0, 0.0], 0.0), "▁▁");
    }
}
