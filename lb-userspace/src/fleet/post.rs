//! Handing out flows to whoever listens, in parcels and at a bounded rate: news first, then what is told again.
//!
//! A listener that is slower than that loses the oldest parcels. It is told again of all flows that live on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{broadcast, mpsc},
    time::sleep,
};

use super::message::FLOWS;
use crate::reconcile::fleet::Sighting;

/// Letters that may wait for the post.
pub(super) const LETTERS: usize = 64;

/// Parcels that a slow listener may be behind.
pub(super) const PARCELS: usize = 256;

/// Time between two parcels: a hundred thousand flows in a second.
const PAUSE: Duration = Duration::from_micros(FLOWS as u64 * 10);

/// Flows that may wait: the news of two thirds of a second, and what a large connection table holds.
const MOST_NEWS: usize = 1 << 16;
const MOST_AGAIN: usize = 1 << 20;

/// What the owner of the truth gives to the post.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Letter {
    /// Flows that nobody has been told of.
    News(Vec<Sighting>),
    /// Flows that were told before.
    Again(Vec<Sighting>),
}

/// Flows that are told to all at once.
#[derive(Debug)]
pub(super) struct Parcel {
    /// Flows of all parcels before this one.
    pub(super) before: u64,
    /// The flows.
    pub(super) flows: Vec<Sighting>,
}

/// Hands out letters until there is nobody to write any.
pub(super) async fn deliver(mut letters: mpsc::Receiver<Letter>, parcels: broadcast::Sender<Arc<Parcel>>) {
    let mut sack = Sack::default();
    loop {
        if sack.is_empty() {
            let Some(letter) = letters.recv().await else { return };
            sack.put(letter);
        }
        while let Ok(letter) = letters.try_recv() {
            sack.put(letter);
        }
        let parcel = sack.parcel(FLOWS);
        // Nobody listens where this fails.
        let _ = parcels.send(Arc::new(parcel));
        sleep(PAUSE).await;
    }
}

/// Flows that wait.
#[derive(Debug, Default)]
struct Sack {
    news: VecDeque<Sighting>,
    again: VecDeque<Sighting>,
    /// Flows that were handed out, or did not fit.
    gone: u64,
}

impl Sack {
    fn is_empty(&self) -> bool {
        self.news.is_empty() && self.again.is_empty()
    }

    /// Puts flows in. What does not fit counts as handed out, so that listeners know that they miss it.
    fn put(&mut self, letter: Letter) {
        let (queue, most, flows) = match letter {
            Letter::News(flows) => (&mut self.news, MOST_NEWS, flows),
            Letter::Again(flows) => (&mut self.again, MOST_AGAIN, flows),
        };
        let room = most - queue.len();
        self.gone += flows.len().saturating_sub(room) as u64;
        queue.extend(flows.into_iter().take(room));
    }

    fn parcel(&mut self, most: usize) -> Parcel {
        let news = self.news.drain(..most.min(self.news.len()));
        let mut flows: Vec<Sighting> = news.collect();
        let rest = (most - flows.len()).min(self.again.len());
        flows.extend(self.again.drain(..rest));
        let before = self.gone;
        self.gone += flows.len() as u64;
        Parcel { before, flows }
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use lb_common::{address::Address, flow::Flow};

    use super::*;
    use crate::reconcile::fleet::Host;

    fn flows(sources: std::ops::Range<u32>) -> Vec<Sighting> {
        let host = Host { address: Address::zeroed(), forwarding: None };
        let flow = |n: u32| Flow { source: Address::from_v4(n.to_be_bytes()), ..Flow::zeroed() };
        sources.map(|n| Sighting { flow: flow(n), host, closing: 0, seen: Duration::ZERO }).collect()
    }

    #[test]
    fn news_go_before_what_was_told() {
        let mut sack = Sack::default();
        sack.put(Letter::Again(flows(0..3)));
        sack.put(Letter::News(flows(3..5)));
        let first = sack.parcel(3);
        assert_eq!((first.before, first.flows), (0, [flows(3..5), flows(0..1)].concat()));
        let second = sack.parcel(3);
        assert_eq!((second.before, second.flows), (3, flows(1..3)));
        assert!(sack.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_counted() {
        let mut sack = Sack::default();
        sack.put(Letter::News(flows(0..MOST_NEWS as u32 + 7)));
        sack.put(Letter::News(flows(0..1)));
        assert_eq!(sack.news.len(), MOST_NEWS);
        assert_eq!(sack.parcel(1).before, 8);
    }

    #[tokio::test(start_paused = true)]
    async fn rate_is_bounded() {
        let (letters, inbox) = mpsc::channel(LETTERS);
        let (parcels, mut listener) = broadcast::channel(PARCELS);
        tokio::spawn(deliver(inbox, parcels));
        let start = tokio::time::Instant::now();
        letters.send(Letter::News(flows(0..10 * FLOWS as u32))).await.unwrap();
        let mut told = 0;
        while told < 10 * FLOWS {
            told += listener.recv().await.unwrap().flows.len();
        }
        assert!(start.elapsed() >= 9 * PAUSE, "{:?}", start.elapsed());
    }
}
