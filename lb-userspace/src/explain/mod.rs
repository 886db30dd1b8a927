//! Where a packet goes, and why: what the program itself says of it, beside what the tables say.
//!
//! | module | what |
//! | --- | --- |
//! | `frame` | a packet for a flow, and the flow of a packet |
//! | `headers` | the headers of a packet, for people |
//! | `tables` | what the tables and what is remembered say, computed here by the same functions |
//! | [`crate::dataplane::shadow`] | the program, run on copies of all that it would change |

pub mod frame;
pub mod headers;
mod tables;

use std::{path::PathBuf, sync::Arc, time::Duration};

use lb_common::{connection::Closing, flow::Flow, slot::NONE};

use crate::{
    admin::explain::{Backend, Explanation, Leaves, Remembered, Service, Slot},
    config::Config,
    daemon::now,
    dataplane::{
        load::Knobs,
        shadow::{self, Question, Ran, Shadow, ShadowError},
    },
    names::{Named, Names},
};
use tables::Told;

/// What the daemon says of itself to whoever explains.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The configuration.
    pub config: Arc<Config>,
    /// What the program is loaded for.
    pub features: u32,
    /// Where its maps are pinned.
    pub pin_path: PathBuf,
    /// Whether what passes goes on to another program.
    pub has_next: bool,
    /// Who has which number.
    pub names: Arc<Names>,
}

/// What is to be explained: a frame, and the interface that it comes by.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The frame.
    pub frame: Vec<u8>,
    /// The interface's name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
}

/// Explains packets one after another, and keeps the program for the next one.
#[derive(Debug, Default)]
pub struct Explainer {
    shadow: Option<Shadow>,
    /// When it was asked last.
    asked: Duration,
}

impl Explainer {
    /// Explains what becomes of a packet.
    ///
    /// # Errors
    ///
    /// [`ShadowError`].
    pub fn explain(&mut self, scene: &Scene, arrival: &Arrival) -> Result<Explanation, ShadowError> {
        self.asked = now();
        if self.shadow.as_ref().is_some_and(|shadow| shadow.features() != scene.features) {
            self.shadow = None;
        }
        let shadow = match &mut self.shadow {
            Some(shadow) => shadow,
            none => {
                let config = &scene.config;
                let knobs =
                    Knobs { limits: &config.limits, seed: &config.fleet.seed, features: scene.features };
                none.insert(Shadow::load(knobs, &scene.pin_path)?)
            }
        };
        explain(shadow, scene, arrival)
    }

    /// Gives back the program, if nothing was asked for so long.
    pub fn forget_if_unused(&mut self, keep: Duration) {
        if now().saturating_sub(self.asked) >= keep {
            self.shadow = None;
        }
    }
}

fn explain(shadow: &mut Shadow, scene: &Scene, arrival: &Arrival) -> Result<Explanation, ShadowError> {
    let flow = frame::flow(&arrival.frame);
    let before = flow.map(|flow| shadow.remembered(&flow.flow)).unwrap_or_default();
    let named = flow.and_then(|flow| scene.names.of_flow(&flow.flow)).or_else(|| {
        let (half, _) = before.half?;
        scene.names.service(half.service)
    });
    let question = Question {
        frame: &arrival.frame,
        ifindex: arrival.ifindex,
        flow: flow.map(|flow| flow.flow),
        service: named.map(|named| (named.id, shadow.service(named.id))),
    };
    let ran = shadow.run(&question)?;
    let told = match (flow, named) {
        (Some(flow), Some(named)) => tables::told(shadow, named.id, &flow, &before),
        _ => None,
    };
    Ok(assemble(shadow, scene, arrival, flow.map(|flow| flow.flow), named, told.as_ref(), &before, &ran))
}

#[expect(clippy::too_many_arguments, reason = "one answer out of all that was found")]
fn assemble(
    shadow: &Shadow,
    scene: &Scene,
    arrival: &Arrival,
    flow: Option<Flow>,
    named: Option<&Named>,
    told: Option<&Told>,
    before: &shadow::Remembered,
    ran: &Ran,
) -> Explanation {
    let name_of = |index: u16| (index != NONE).then(|| index_name(named, index));
    let backend = ran.backend.map(|id| backend(shadow, named, id));
    let port = ran.backend.map(|id| u16::from_be_bytes(shadow.backend(id).port));
    let leaves = matches!(ran.action, XDP_TX | XDP_REDIRECT);
    let reason = ran.reason;
    Explanation {
        interface: arrival.interface.clone(),
        flow: flow.as_ref().map(headers::flow),
        service: named.map(|named| {
            let entry = shadow.service(named.id);
            Service {
                name: named.name.clone(),
                generation: entry.generation,
                digest: format!("{:016x}", entry.digest),
                slots: entry.table.length,
            }
        }),
        hash: told.map(|told| format!("{:016x}", told.hash)),
        slot: told.map(|told| Slot {
            index: told.slot_index,
            current: name_of(told.slot.current()),
            previous: name_of(told.previous),
            settled: told.is_settled,
        }),
        remembered: remembered(before, named),
        reason: reason.name().to_owned(),
        fate: fate(reason.fate()).to_owned(),
        meaning: reason.meaning().to_owned(),
        remedy: reason.remedy().to_owned(),
        disagreement: disagreement(told, named, ran),
        would_remember: would_remember(before, &ran.remembered, named),
        leaves: leaves.then(|| Leaves {
            interface: if ran.action == XDP_TX {
                arrival.interface.clone()
            } else {
                ran.backend
                    .and_then(|id| scene.names.interface(shadow.backend(id).ifindex))
                    .unwrap_or_else(|| "another interface".to_owned())
            },
            headers: headers::of(&ran.frame, port),
            bytes: hex(&ran.frame),
        }),
        next_program: reason.fate() == lb_common::counter::Fate::Pass && scene.has_next,
        backend,
        headers: headers::of(&arrival.frame, None),
        bytes: hex(&arrival.frame),
    }
}

/// `enum xdp_action` of linux/bpf.h.
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// What becomes of packets, in a word.
#[must_use]
pub const fn fate(fate: lb_common::counter::Fate) -> &'static str {
    use lb_common::counter::Fate;
    match fate {
        Fate::Pass => "passes",
        Fate::Forward => "forwarded",
        Fate::Answer => "answered",
        Fate::Drop => "dropped",
    }
}

fn index_name(named: Option<&Named>, index: u16) -> String {
    let backend = named.and_then(|named| named.backends.get(&index));
    backend.map_or_else(|| format!("backend {index}, which is gone"), |backend| backend.name.clone())
}

fn backend(shadow: &Shadow, named: Option<&Named>, id: u32) -> Backend {
    let entry = shadow.backend(id);
    let index = named.map_or(0, |named| id.wrapping_sub(named.first_backend) as u16);
    let found = named.and_then(|named| named.backends.get(&index));
    Backend {
        name: index_name(named, index),
        address: entry.address.into(),
        forwarding: headers::forwarding(entry.forwarding).to_owned(),
        next_hop: found.map(|found| found.next_hop.clone()).unwrap_or_default(),
    }
}

/// What was remembered of the flow before the packet.
fn remembered(before: &shadow::Remembered, named: Option<&Named>) -> Vec<Remembered> {
    let mut all = Vec::new();
    let entries = [("connections", before.connection), ("openings", before.opening)];
    for (table, entry) in entries {
        let Some(entry) = entry else { continue };
        all.push(Remembered {
            table: table.to_owned(),
            backend: index_name(named, entry.backend),
            silent_for: silent(entry.last_seen_ns),
            ends: entry.closing != Closing::Open as u8,
        });
    }
    if let Some((half, went_on)) = before.half {
        all.push(Remembered {
            table: if went_on { "nat_sessions" } else { "nat_openings" }.to_owned(),
            backend: index_name(named, half.backend),
            silent_for: silent(half.last_seen_ns),
            ends: half.ended != 0,
        });
    }
    all
}

/// Seconds since a time of the monotonic clock.
fn silent(since_ns: u64) -> f64 {
    now().saturating_sub(Duration::from_nanos(since_ns)).as_secs_f64()
}

/// What would be remembered of the flow if the packet were a real one.
fn would_remember(
    before: &shadow::Remembered,
    after: &shadow::Remembered,
    named: Option<&Named>,
) -> Vec<String> {
    let changed = |table: &str, before: Option<u16>, after: Option<u16>| {
        let backend = after.filter(|after| before != Some(*after))?;
        Some(format!("{table}: {}", index_name(named, backend)))
    };
    let index = |entry: Option<lb_common::connection::Connection>| entry.map(|entry| entry.backend);
    let half = |half: Option<(lb_common::nat::Half, bool)>, which: bool| {
        half.filter(|(_, went_on)| *went_on == which).map(|(half, _)| half.backend)
    };
    [
        changed("connections", index(before.connection), index(after.connection)),
        changed("openings", index(before.opening), index(after.opening)),
        changed("nat_openings", half(before.half, false), half(after.half, false)),
        changed("nat_sessions", half(before.half, true), half(after.half, true)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is wrong where the tables and the program say different things.
fn disagreement(told: Option<&Told>, named: Option<&Named>, ran: &Ran) -> Option<String> {
    let (told, named) = (told?, named?);
    let expected = told.backend?;
    let went = (ran.backend?.wrapping_sub(named.first_backend)) as u16;
    (expected != went).then(|| {
        format!(
            "the tables say {}, and the program has taken {}: if asking again says the same, the tables changed under \
             the question or this is a fault, which is to be reported with `sluice status --output json`",
            index_name(Some(named), expected),
            index_name(Some(named), went)
        )
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
