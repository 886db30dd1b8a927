//! A plan as people read it.

use std::{
    env,
    io::{IsTerminal as _, stdout},
};

use crate::{
    admin::plan::{BackendChange, Fate, Outcome, Preview, ServiceChange, Table, Totals},
    config::KeyChange,
};

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";

/// Whether what is printed may have colours.
pub(super) fn is_coloured() -> bool {
    stdout().is_terminal() && env::var_os("NO_COLOR").is_none()
}

/// Lines, each with a sign and its colour.
struct Lines {
    lines: Vec<String>,
    coloured: bool,
}

impl Lines {
    fn add(&mut self, indent: usize, fate: Fate, text: &str) {
        let (sign, colour) = match fate {
            Fate::Added => ('+', GREEN),
            Fate::Changed => ('~', YELLOW),
            Fate::Removed | Fate::Dropped => ('-', RED),
        };
        let indent = " ".repeat(indent);
        self.lines.push(if self.coloured {
            format!("{indent}\x1b[{colour}m{sign}\x1b[0m {text}")
        } else {
            format!("{indent}{sign} {text}")
        });
    }

    fn plain(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    fn change(&mut self, indent: usize, change: &KeyChange) {
        let KeyChange { key, before, after, .. } = change;
        match (before, after) {
            (None, Some(after)) => self.add(indent, Fate::Added, &format!("{key} = {after}")),
            (Some(before), None) => self.add(indent, Fate::Removed, &format!("{key} = {before}")),
            (before, after) => {
                let (before, after) = (before.as_deref().unwrap_or(""), after.as_deref().unwrap_or(""));
                self.add(indent, Fate::Changed, &format!("{key} = {before} -> {after}"));
            }
        }
    }
}

/// Every change, a line each.
pub(super) fn changes(changes: &[KeyChange], coloured: bool) -> String {
    let mut lines = Lines { lines: Vec::new(), coloured };
    for change in changes {
        lines.change(0, change);
    }
    lines.lines.join("\n")
}

/// The whole plan.
pub(super) fn plan(preview: &Preview, coloured: bool) -> String {
    let mut lines = Lines { lines: Vec::new(), coloured };
    for warning in &preview.warnings {
        lines.plain(format!("warning: {warning}"));
    }
    for change in &preview.settings {
        lines.change(0, change);
    }
    for change in &preview.services {
        service(change, &mut lines);
    }
    if !preview.program.is_empty() {
        lines.plain(format!("another program is loaded, with {}", preview.program.join(", ")));
    }
    for assumed in &preview.assumed {
        lines.plain(format!("taken for granted: {assumed}"));
    }
    for refused in &preview.refused {
        lines.plain(format!("cannot be applied: {refused}"));
    }
    if !lines.lines.is_empty() {
        lines.plain("");
    }
    lines.plain(if preview.changes { summary(preview) } else { "nothing would change".to_owned() });
    lines.lines.join("\n")
}

fn service(change: &ServiceChange, lines: &mut Lines) {
    let name = &change.service;
    match change.fate {
        Fate::Added => lines.add(0, Fate::Added, &format!("service {name}: {} slots", change.slots)),
        Fate::Changed => lines.add(0, Fate::Changed, &format!("service {name}")),
        Fate::Removed | Fate::Dropped => {
            let lost = format!("service {name}: {} tracked flows lose it", change.tracked_flows);
            return lines.add(0, change.fate, &lost);
        }
    }
    if change.fate == Fate::Changed {
        for setting in &change.settings {
            lines.change(2, setting);
        }
    }
    for of_service in &change.backends {
        backend(change, of_service, lines);
    }
    if change.fate == Fate::Changed {
        lines.plain(format!("  {}", moves(change)));
    }
    if change.largest_packet_before != change.largest_packet_after {
        lines.plain(format!("  {}", packets(change)));
    }
}

fn backend(service: &ServiceChange, change: &BackendChange, lines: &mut Lines) {
    let BackendChange { backend, address, slots_before, slots_after, tracked_flows, .. } = change;
    let all = service.slots;
    let slots = if slots_before == slots_after {
        format!("{slots_after} of {all} slots")
    } else {
        format!("{slots_before} -> {slots_after} of {all} slots")
    };
    let text = match change.fate {
        Fate::Added | Fate::Changed => format!("{backend} ({address}): {slots}"),
        Fate::Removed => {
            format!("{backend} ({address}): {slots}, keeps its {tracked_flows} tracked flows until they end")
        }
        Fate::Dropped => format!("{backend} ({address}): {slots}, {tracked_flows} tracked flows lose it"),
    };
    lines.add(2, change.fate, &text);
    if change.fate == Fate::Changed {
        for setting in &change.settings {
            lines.change(6, setting);
        }
    }
}

fn moves(change: &ServiceChange) -> String {
    let ServiceChange { moved_slots, slots, tracked_flows, moved_flows, lost_flows, .. } = change;
    let collateral = match change.collateral_slots {
        Some(collateral) => format!("{collateral} of them collateral"),
        None => "the whole table is another one".to_owned(),
    };
    let flows = format!(
        "{moved_flows} of {tracked_flows} tracked flows have one of them, {lost_flows} lose their backend"
    );
    if *moved_slots == 0 {
        "no slot moves".to_owned()
    } else {
        format!("{moved_slots} of {slots} slots move, {collateral}; {flows}")
    }
}

fn packets(change: &ServiceChange) -> String {
    let bytes = |largest: Option<u16>| largest.map_or("none".to_owned(), |bytes| format!("{bytes} bytes"));
    let (before, after) = (bytes(change.largest_packet_before), bytes(change.largest_packet_after));
    let remedy = change.size_warning.as_ref().map(|remedy| format!(": {remedy}")).unwrap_or_default();
    format!("the largest packet that fits: {before} -> {after}{remedy}")
}

fn summary(preview: &Preview) -> String {
    let Totals { added, changed, removed, moved_slots, collateral_slots, moved_flows, lost_flows } =
        preview.totals;
    let services = preview.services.len();
    format!(
        "Plan {}: {services} services; backends: {added} added, {changed} changed, {removed} removed; {moved_slots} slots \
         move ({collateral_slots} collateral); {moved_flows} tracked flows concerned, {lost_flows} lost",
        preview.digest
    )
}

/// Whether a service's table is the one that was promised.
pub(super) fn is_promised(change: &ServiceChange, tables: &[Table]) -> bool {
    let is = tables.iter().find(|table| table.service == change.service).map(|table| &table.digest);
    change.fate == Fate::Removed || is == change.digest_after.as_ref()
}

/// What came of it.
pub(super) fn outcome(outcome: &Outcome) -> String {
    let mut lines = vec![format!("\napplied; {} is what runs", outcome.file)];
    for change in &outcome.plan.services {
        let table = outcome.tables.iter().find(|table| table.service == change.service);
        lines.push(match table {
            Some(Table { generation, digest, .. }) if is_promised(change, &outcome.tables) => {
                format!("  {}: generation {generation}, digest {digest}, as planned", change.service)
            }
            Some(Table { generation, digest, .. }) => format!(
                "  {}: generation {generation}, digest {digest}, not what was planned: `sluice status` tells which backend \
                 is not reached or down",
                change.service
            ),
            None => format!("  {}: gone", change.service),
        });
    }
    lines.extend(outcome.before.as_ref().map(|before| format!("the way back: sluice apply {before}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview() -> Preview {
        let setting = |key: &str, before: Option<&str>, after: Option<&str>| KeyChange {
            key: key.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
            secret: 0,
        };
        let backend = |name: &str, fate, slots: (u32, u32), settings| BackendChange {
            backend: name.to_owned(),
            address: "192.0.2.11".parse().unwrap(),
            fate,
            settings,
            slots_before: slots.0,
            slots_after: slots.1,
            tracked_flows: 7,
        };
        let web = ServiceChange {
            service: "web".to_owned(),
            fate: Fate::Changed,
            settings: vec![setting("echo", Some("false"), Some("true"))],
            backends: vec![
                backend("b1", Fate::Changed, (1000, 2000), vec![setting("weight", Some("1"), Some("2"))]),
                backend("b2", Fate::Removed, (2000, 0), vec![]),
                backend("b3", Fate::Dropped, (1099, 0), vec![]),
                backend("b4", Fate::Added, (0, 2099), vec![]),
            ],
            slots: 4099,
            moved_slots: 3099,
            collateral_slots: Some(0),
            tracked_flows: 21,
            moved_flows: 14,
            lost_flows: 7,
            digest_before: Some("0123456789abcdef".to_owned()),
            digest_after: Some("1123456789abcdef".to_owned()),
            largest_packet_before: Some(1500),
            largest_packet_after: Some(1480),
            size_warning: None,
        };
        let old = ServiceChange {
            service: "old".to_owned(),
            fate: Fate::Removed,
            backends: Vec::new(),
            ..web.clone()
        };
        let preview = Preview {
            settings: vec![setting("fleet.port", Some("7"), None)],
            services: vec![web, old],
            program: vec!["gue".to_owned()],
            assumed: vec!["192.0.2.14 can be reached".to_owned()],
            ..Preview::default()
        };
        Preview { digest: "fedcba9876543210".to_owned(), ..preview.concluded(0) }
    }

    #[test]
    fn plan_is_told_with_signs_and_numbers() {
        insta::assert_snapshot!(plan(&preview(), false));
    }

    #[test]
    fn colours_are_those_of_the_signs() {
        let coloured = plan(&preview(), true);
        for sign in ["\x1b[32m+\x1b[0m", "\x1b[33m~\x1b[0m", "\x1b[31m-\x1b[0m"] {
            assert!(coloured.contains(sign), "{coloured}");
        }
    }

    #[test]
    fn nothing_to_do_is_told_in_a_line() {
        assert_eq!(plan(&Preview::default().concluded(0), false), "nothing would change");
    }
}
