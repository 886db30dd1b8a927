//! A packet's decision in words.

use std::{fmt::Write as _, time::Duration};

use lb_common::capture::{How, NONE};

use super::Captured;
use crate::{
    admin::capture::Decision,
    explain::{fate, frame, headers},
    names::{Named, Names},
};

/// `XDP_REDIRECT` of linux/bpf.h.
const REDIRECT: u32 = 4;

/// The decision about a packet. The monotonic clock began at `boot`, since 1970.
#[must_use]
pub fn decision(captured: &Captured, names: &Names, boot: Duration) -> Decision {
    let record = &captured.record;
    let service = service(captured, names);
    let reason = captured.reason();
    let left = (record.left > 0).then(|| {
        let lines = headers::of(&captured.left, None);
        let addresses = lines.get(1).cloned().unwrap_or_default();
        let addresses = addresses.split(',').next().unwrap_or_default().to_owned();
        format!("{addresses} by {}, {} bytes", interface_out(captured, names), record.left)
    });
    Decision {
        at: (boot + Duration::from_nanos(record.time_ns)).as_secs_f64(),
        interface: interface_in(captured, names),
        flow: frame::flow(&captured.arrived).map(|flow| headers::flow(&flow.flow)),
        bytes: record.arrived,
        fate: fate(reason.fate()).to_owned(),
        reason: reason.name().to_owned(),
        service: service.map(|named| named.name.clone()),
        how: How::name(record.how as u8).to_owned(),
        backend: backend(captured, names).map(str::to_owned),
        left,
    }
}

/// The same as one line.
#[must_use]
pub fn line(decision: &Decision) -> String {
    let flow = decision.flow.as_deref().unwrap_or("no flow");
    let Decision { fate, reason, .. } = decision;
    let mut line = format!("{} {flow} {fate}, {reason}", decision.interface);
    if let Some(service) = &decision.service {
        let _ = write!(line, "; {service}");
    }
    if let Some(backend) = &decision.backend {
        let _ = write!(line, "/{backend}, {}", decision.how);
    }
    if let Some(left) = &decision.left {
        let _ = write!(line, "; {left}");
    }
    line
}

/// Its service: the one that was noted, or, of what goes back to a client, the one that it comes from.
fn service<'a>(captured: &Captured, names: &'a Names) -> Option<&'a Named> {
    if captured.record.service != NONE {
        return names.service(captured.record.service);
    }
    let left = frame::flow(&captured.left)?;
    names.of_flow(&left.flow.turned())
}

fn backend<'a>(captured: &Captured, names: &'a Names) -> Option<&'a str> {
    names.backend(captured.record.service, captured.record.backend)
}

/// The interface that it came by.
#[must_use]
pub fn interface_in(captured: &Captured, names: &Names) -> String {
    let index = captured.record.ifindex;
    names.interface(index).unwrap_or_else(|| format!("interface {index}"))
}

/// The interface that it left by.
#[must_use]
pub fn interface_out(captured: &Captured, names: &Names) -> String {
    let record = &captured.record;
    if record.action != REDIRECT {
        return interface_in(captured, names);
    }
    names.way_of(record.service, record.backend).unwrap_or_else(|| "another interface".to_owned())
}
