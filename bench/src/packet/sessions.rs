//! Sessions of translated flows for rows to find: opened by the packets of both sides, through the program under test.
//!
//! What a packet becomes tells how it is answered, so every step leaves the flows of the next one in a list.

use anyhow::{Context as _, ensure};
use lb_common::counter::Reason::{self, Acknowledged, Cookie, Returned, Transmitted};
use lb_tests::packet::Packet;

use super::cases::{CASES, Case, Family, Feeding, Flows, Subject};
use super::feeder::{Ends, Feed, Feeder};
use super::scene::{Name, Scene};

/// What backends send, by the scene and the family of their sessions.
#[derive(Default)]
pub(super) struct Sessions(Vec<((Name, Family), Vec<Ends>)>);

impl Sessions {
    /// Opens those that the packets of `case` are to be of, if any, unless they are open; gives the ends of replies.
    pub(super) fn open(&mut self, object: &[u8], case: &Case, scene: &mut Scene) -> anyhow::Result<&[Ends]> {
        let Subject::Balancer(name, _) = case.subject else { return Ok(&[]) };
        let Some(handshake) = handshake(name) else { return Ok(&[]) };
        let key = (name, case.family);
        let at = if let Some(at) = self.0.iter().position(|(open, _)| *open == key) {
            at
        } else {
            let opened = open(object, case, last(name, case.family), handshake, scene);
            self.0.push((key, opened.context("cannot open the sessions")?));
            self.0.len() - 1
        };
        Ok(&self.0[at].1)
    }
}

/// A packet of every flow.
struct Step {
    segment: Segment,
    /// What every packet is counted as.
    reason: Reason,
}

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    /// The client's first.
    Syn,
    /// Its answer to a cookie.
    Cookie,
    /// The backend's first.
    SynAck,
    /// What the client sends then, and all the time.
    Ack,
}

const fn step(segment: Segment, reason: Reason) -> Step {
    Step { segment, reason }
}

const WITH_THE_BACKEND: &[Step] =
    &[step(Segment::Syn, Transmitted), step(Segment::SynAck, Returned), step(Segment::Ack, Transmitted)];

const BY_COOKIE: &[Step] = &[
    step(Segment::Syn, Cookie),
    step(Segment::Cookie, Transmitted),
    step(Segment::SynAck, Acknowledged),
    step(Segment::Ack, Transmitted),
];

/// How the sessions of a scene open that has some.
const fn handshake(name: Name) -> Option<&'static [Step]> {
    match name {
        Name::Translated | Name::RareCookies => Some(WITH_THE_BACKEND),
        Name::AlwaysCookies => Some(BY_COOKIE),
        _ => None,
    }
}

/// The last flow that any case asks for.
fn last(name: Name, family: Family) -> u64 {
    let is_here = |case: &&Case| {
        matches!(case.subject, Subject::Balancer(other, _) if other == name) && case.family == family
    };
    let flows = CASES.iter().filter(is_here).flat_map(|case| case.flows);
    flows.filter(|&&flows| flows != Flows::Unseen).map(|flows| flows.last()).max().unwrap_or(0)
}

fn open(
    object: &[u8],
    case: &Case,
    last: u64,
    handshake: &[Step],
    scene: &mut Scene,
) -> anyhow::Result<Vec<Ends>> {
    let flows = last as u32 + 1;
    let mut told = vec![Ends::default(); flows as usize];
    for Step { segment, reason } in handshake {
        let records = matches!(segment, Segment::Syn | Segment::Cookie);
        let feed = segment.feed(case, last)?;
        let mut feeder = if records {
            Feeder::recording(object, &feed, &told)?
        } else {
            Feeder::load(object, &feed, &told)?
        };
        feeder.aim_at(scene.program()?)?;
        let before = scene.packets(*reason);
        // What becomes of the last one is seen when another one is fed.
        feeder.run(flows + u32::from(records))?;
        let counted = scene.packets(*reason) - before;
        ensure!(counted >= u64::from(flows), "{counted} of {flows} packets were counted as {reason:?}");
        if records {
            told = feeder.list()?;
        }
    }
    Ok(told)
}

impl Segment {
    fn feed(self, case: &Case, last: u64) -> anyhow::Result<Feed> {
        let feeding = if self == Self::SynAck { Feeding::Listed } else { Feeding::Headers };
        let feed = Feed::of(&Case { opens: self == Self::Syn, feeding, ..*case }, last)?;
        Ok(match self {
            Self::Syn | Self::Ack => feed,
            Self::Cookie => Feed { feeding: Feeding::Listed, ..feed },
            // No longer than what it is answered with.
            Self::SynAck => Feed { packet: Packet { syn: true, payload: Vec::new(), ..feed.packet }, ..feed },
        })
    }
}
