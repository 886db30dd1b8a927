//! One line of the table, how it is written, and how it is tried.

use std::sync::{Mutex, OnceLock, PoisonError};

use lb_common::counter::{
    Fate,
    Reason::{self, Transmitted},
};
use lb_tests::packet::Packet;
use libtest_mimic::{Failed, Trial};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

use crate::{
    diff,
    expected::Expected,
    harness::{Harness, Outcome},
};

/// A program that frames are run through.
pub trait Subject: Send {
    /// Runs it on `frame`, where the driver has taken `metadata` bytes of the headroom.
    fn run_behind(&mut self, metadata: usize, frame: &[u8]) -> Outcome;
}

impl Subject for Harness {
    fn run_behind(&mut self, metadata: usize, frame: &[u8]) -> Outcome {
        Self::run_behind(self, metadata, frame)
    }
}

/// A program and what it is loaded with when a case asks for it first, shared by all that do. So a case may not change what
/// others of its scene rely on; one that remembers a flow takes ports of its own.
pub struct Scene<S: 'static = Harness> {
    build: fn() -> S,
    subject: OnceLock<Mutex<S>>,
}

/// A scene, whatever its program.
trait Stage: Sync {
    /// What becomes of `frame` after others.
    fn outcome(&self, history: &[Before], metadata: usize, frame: &[u8]) -> Outcome;
}

/// One packet and what becomes of it.
pub struct Case {
    subject: &'static str,
    name: String,
    scene: &'static dyn Stage,
    /// Frames of before.
    history: Vec<Before>,
    frame: Vec<u8>,
    /// Bytes of the headroom that the driver has taken.
    metadata: usize,
    reason: Reason,
    out: Out,
}

/// What was run through the program before.
enum Before {
    /// A frame.
    Frame(Vec<u8>),
    /// What somebody sends who gets what came out last.
    Answer(fn(&[u8]) -> Vec<u8>),
}

/// What is left of the frame.
enum Out {
    /// Every byte as it came.
    Unchanged,
    /// It was dropped; what is left in the buffer is nobody's.
    Nothing,
    /// This.
    Frame(Expected),
}

/// What a frame can be made of.
pub trait Frame {
    /// The bytes.
    fn frame(self) -> Vec<u8>;
}

impl Frame for Vec<u8> {
    fn frame(self) -> Vec<u8> {
        self
    }
}

impl Frame for Packet {
    fn frame(self) -> Vec<u8> {
        self.build()
    }
}

impl Frame for &Packet {
    fn frame(self) -> Vec<u8> {
        self.build()
    }
}

impl<S: Subject> Stage for Scene<S> {
    fn outcome(&self, history: &[Before], metadata: usize, frame: &[u8]) -> Outcome {
        self.with(|subject| {
            let _stays = OneCpu::new();
            let mut came = Vec::new();
            for before in history {
                let frame = match before {
                    Before::Frame(frame) => frame.clone(),
                    Before::Answer(answer) => answer(&came),
                };
                came = subject.run_behind(0, &frame).frame;
            }
            subject.run_behind(metadata, frame)
        })
    }
}

impl<S: Subject> Scene<S> {
    /// What `build` loads.
    pub const fn new(build: fn() -> S) -> Self {
        Self { build, subject: OnceLock::new() }
    }

    /// A case of a packet that passes as it came.
    pub fn passes(&'static self, name: impl Into<String>, frame: impl Frame, reason: Reason) -> Case {
        self.case(name, frame, reason, Out::Unchanged)
    }

    /// A case of a packet that is dropped.
    pub fn drops(&'static self, name: impl Into<String>, frame: impl Frame, reason: Reason) -> Case {
        self.case(name, frame, reason, Out::Nothing)
    }

    /// A case of a packet that leaves by the interface that it came by.
    pub fn sends(&'static self, name: impl Into<String>, frame: impl Frame, expected: Expected) -> Case {
        self.gives(name, frame, Transmitted, expected)
    }

    /// A case of a packet that leaves with another reason.
    pub fn gives(
        &'static self,
        name: impl Into<String>,
        frame: impl Frame,
        reason: Reason,
        expected: Expected,
    ) -> Case {
        self.case(name, frame, reason, Out::Frame(expected))
    }

    /// Does something with the program while no case does.
    pub fn with<T>(&self, what: impl FnOnce(&mut S) -> T) -> T {
        let subject = self.subject.get_or_init(|| Mutex::new((self.build)()));
        // A case that fails leaves it as good as it was.
        what(&mut subject.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn case(&'static self, name: impl Into<String>, frame: impl Frame, reason: Reason, out: Out) -> Case {
        let (name, frame) = (name.into(), frame.frame());
        Case { subject: "", name, scene: self, history: Vec::new(), frame, metadata: 0, reason, out }
    }
}

impl Case {
    /// The same after another packet.
    pub fn after(mut self, frame: impl Frame) -> Self {
        self.history.push(Before::Frame(frame.frame()));
        self
    }

    /// The same after what somebody sends who gets what the packet before came to.
    pub fn after_answer(mut self, answer: fn(&[u8]) -> Vec<u8>) -> Self {
        self.history.push(Before::Answer(answer));
        self
    }

    /// The same where the driver has taken `metadata` bytes of the headroom.
    pub fn behind(self, metadata: usize) -> Self {
        Self { metadata, ..self }
    }

    /// The same as part of a subject.
    pub fn about(self, subject: &'static str) -> Self {
        Self { subject, ..self }
    }

    /// Subject and description.
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.subject, self.name)
    }

    /// The reason that it produces.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The test.
    pub fn into_trial(self) -> Trial {
        Trial::test(self.full_name(), move || self.check().map_err(Failed::from))
    }

    fn check(&self) -> Result<(), String> {
        let outcome = self.scene.outcome(&self.history, self.metadata, &self.frame);
        if outcome.reason == self.reason && self.is_right(&outcome) {
            return Ok(());
        }
        Err(self.told(&outcome))
    }

    fn is_right(&self, outcome: &Outcome) -> bool {
        match &self.out {
            Out::Unchanged => outcome.frame == self.frame,
            Out::Nothing => outcome.reason.fate() == Fate::Drop,
            Out::Frame(expected) => expected.is(&outcome.frame),
        }
    }

    /// What was expected, what came instead, and of which packet.
    fn told(&self, outcome: &Outcome) -> String {
        let expected = match &self.out {
            Out::Unchanged => self.frame.clone(),
            Out::Nothing => Vec::new(),
            Out::Frame(expected) => expected.filled_from(&outcome.frame),
        };
        let got = if outcome.reason.fate() == Fate::Drop { &[][..] } else { &outcome.frame };
        format!(
            "{}\nexpected {:?}, got {:?}\npacket in:\n{}packet out, expected (-) and got (+):\n{}",
            self.full_name(),
            self.reason,
            outcome.reason,
            diff::listing(&self.frame),
            diff::differences(&expected, got),
        )
    }
}

/// While it is there, the thread stays on one CPU: what a CPU may do in a second is that CPU's own.
struct OneCpu(CpuSet);

impl OneCpu {
    fn new() -> Self {
        let all = sched_getaffinity(None).expect("the kernel tells");
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        sched_setaffinity(None, &one).expect("a CPU that this thread runs on");
        Self(all)
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.0).expect("the CPUs of before");
    }
}
