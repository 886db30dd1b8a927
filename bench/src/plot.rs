//! Plots of kept results, as SVG: for each part one picture beside its JSON, and an overview.
//!
//! A row is a bar to its median, with a line from the least figure to the largest; where all figures were kept, they
//! are dots. Bars can be compared with each other within a picture wherever the unit is the same.

mod overview;

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::{Report, Row, Unit};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u16 = 900;
const MARGIN: i32 = 16;
/// Where bars begin, and the longest ends.
const LEFT: i32 = 330;
const RIGHT: i32 = WIDTH as i32 - 90;
/// Of a row, and of the line above those that stand together.
const ROW: i32 = 22;
const HEADING: i32 = 34;
const TITLE: i32 = 64;

const INK: RGBColor = RGBColor(36, 41, 47);
const FAINT: RGBColor = RGBColor(110, 119, 129);
/// Sluice, floors, and everybody else.
const OURS: RGBColor = RGBColor(31, 119, 180);
const FLOOR: RGBColor = RGBColor(175, 184, 193);
const OTHERS: RGBColor = RGBColor(219, 133, 54);

/// Draws every part that is kept in `directory`, and says which.
pub(crate) fn draw_all(directory: &Path, parts: &[String]) -> anyhow::Result<()> {
    let kept = parts.iter().map(|part| Report::kept(directory, part)).collect::<anyhow::Result<Vec<_>>>()?;
    let kept: Vec<_> = kept.into_iter().flatten().collect();
    for report in kept.iter().chain(&overview::of(&kept)) {
        let path = directory.join(format!("{}.svg", report.part));
        draw(report, &path).with_context(|| format!("cannot draw {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Draws a report.
fn draw(report: &Report, path: &Path) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, (u32::from(WIDTH), height(&report.rows))).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw(&Text::new(title(&report.part), (MARGIN, 14), style(20, &INK)))?;
    area.draw(&Text::new(report.machine.to_string(), (MARGIN, 40), style(12, &FAINT)))?;
    let scales = scales(&report.rows);
    let (mut top, mut case) = (TITLE, "");
    for row in &report.rows {
        if row.case != case {
            case = &row.case;
            let heading = format!("{case} ({})", row.unit.name());
            area.draw(&Text::new(heading, (MARGIN, top + 12), style(14, &INK)))?;
            top += HEADING;
        }
        draw_row(&area, row, top, scales[row.unit.name()])?;
        top += ROW;
    }
    area.present().context("cannot write the picture")
}

fn title(part: &str) -> &str {
    match part {
        "overview" => "What a packet costs, and a table",
        "packet" => "Nanoseconds per packet, within the kernel",
        "wire" => "Through a balancer in a second",
        "table" => "Lookup tables",
        "reload" => "From a changed file to the data plane",
        "failover" => "From a backend's end to the last packet that is sent to it",
        "memory" => "Memory",
        "probes" => "Probing thousands of backends",
        other => other,
    }
}

fn height(rows: &[Row]) -> u32 {
    let cases = rows.chunk_by(|a, b| a.case == b.case).count() as u32;
    (TITLE + MARGIN) as u32 + cases * HEADING as u32 + rows.len() as u32 * ROW as u32
}

/// The largest figure of each unit.
fn scales(rows: &[Row]) -> HashMap<&'static str, f64> {
    let mut scales = HashMap::new();
    for row in rows {
        let largest: &mut f64 = scales.entry(row.unit.name()).or_insert(f64::MIN_POSITIVE);
        *largest = largest.max(row.spread.max);
    }
    scales
}

fn draw_row(area: &Area<'_>, row: &Row, top: i32, scale: f64) -> anyhow::Result<()> {
    let middle = top + ROW / 2;
    let at = |figure: f64| LEFT + (f64::from(RIGHT - LEFT) * figure / scale).round() as i32;
    let color = color(row);
    let label = style(12, &INK).pos(Pos::new(HPos::Right, VPos::Center));
    area.draw(&Text::new(row.name.clone(), (LEFT - 8, middle), label))?;
    if row.samples.is_empty() {
        let bar = [(LEFT, top + 4), (at(row.spread.median), top + ROW - 4)];
        area.draw(&Rectangle::new(bar, color.filled()))?;
        area.draw(&PathElement::new([(at(row.spread.min), middle), (at(row.spread.max), middle)], INK))?;
    } else {
        area.draw(&PathElement::new([(LEFT, middle), (RIGHT, middle)], FLOOR))?;
        for &sample in &row.samples {
            area.draw(&Circle::new((at(sample), middle), 3, color.mix(0.5).filled()))?;
        }
    }
    let value = style(12, &INK).pos(Pos::new(HPos::Left, VPos::Center));
    let end = (at(row.spread.max) + 8, middle);
    area.draw(&Text::new(figure(row.spread.median, row.unit), end, value))?;
    Ok(())
}

fn figure(median: f64, unit: Unit) -> String {
    if unit == Unit::MegapacketsPerSecond || median < 10.0 {
        format!("{median:.2}")
    } else {
        format!("{median:.0}")
    }
}

fn color(row: &Row) -> RGBColor {
    let is_of =
        |words: &[&str]| words.iter().any(|word| row.case.starts_with(word) || row.name.starts_with(word));
    if is_of(&["floor", "C loop", "`sluice check`"]) {
        FLOOR
    } else if is_of(&["kernel", "nftables", "HAProxy"]) {
        OTHERS
    } else {
        OURS
    }
}

fn style(size: u32, color: &RGBColor) -> TextStyle<'_> {
    ("sans-serif", size).into_text_style(&(u32::from(WIDTH), u32::from(WIDTH))).color(color)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::spread;

    #[test]
    fn every_row_is_in_the_picture() {
        let directory = lb_tests::temporary::directory("plot").unwrap();
        let floor = spread(vec![10.0]);
        let row = |case, name| Row::new(case, name, Unit::Nanoseconds, spread(vec![20.0, 30.0, 40.0]), floor);
        let rows = vec![
            row("floor: nothing", "1 flow"),
            row("l2", "64 k flows"),
            row("l2", "1 M flows").with_samples(vec![20.0, 30.0, 40.0]),
        ];
        Report::new("packet", "a floor", rows).keep(directory.path()).unwrap();
        draw_all(directory.path(), &["packet".to_owned(), "wire".to_owned()]).unwrap();
        let svg = std::fs::read_to_string(directory.path().join("packet.svg")).unwrap();
        for text in ["floor: nothing (ns)", "l2 (ns)", "1 flow", "64 k flows", "1 M flows"] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(!directory.path().join("wire.svg").exists());
    }
}
