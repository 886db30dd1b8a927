//! The program that shows packets: the one that balances, with a ring by which it tells of those that are chosen.
//!
//! It takes the place of the one that runs through the interfaces' links, for as long as somebody looks. That one stays
//! loaded meanwhile, so going back is one step that nothing can fail.

use std::{
    fmt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, RingBuf},
    programs::Xdp,
};
use lb_common::{
    capture::{Choice, Untold},
    knobs::FEATURE_CAPTURE,
};
use tokio::sync::oneshot;

use super::{
    DataPlaneError,
    counters::{SignCounters, signs},
    ebpf::take,
    load::{Knobs, LoadError, Maps, balancer, load_object, program},
    news::News,
    refused,
};

/// Bytes of the ring: room for some thousands of packets.
pub(super) const RING_BYTES: u32 = 1 << 22;

/// What could not be told by the ring.
pub struct Ring {
    untold: PerCpuArray<MapData, [u64; 3]>,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl Ring {
    /// Packets that were chosen and could not be told of: since they came too fast, and since nobody read.
    #[must_use]
    pub fn untold(&self) -> (u64, u64) {
        let Ok(values) = self.untold.get(&0, 0) else { return (0, 0) };
        let all = values.iter().map(|words| bytemuck::cast::<[u64; 3], Untold>(*words));
        all.fold((0, 0), |(limited, lost), one| (limited + one.limited, lost + one.lost))
    }
}

/// The number of the next one.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The program, loaded.
pub struct CaptureProgram {
    pub(super) ebpf: Ebpf,
    id: u64,
    features: u32,
    pub(super) news: News,
    pub(super) signs: Option<SignCounters>,
    /// Told by its end that it runs no more.
    _runs: oneshot::Sender<()>,
}

impl fmt::Debug for CaptureProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureProgram").finish_non_exhaustive()
    }
}

impl CaptureProgram {
    /// Loads it on the maps that are pinned at `pin_path`, to tell of what `choice` says. The last one is told when it runs
    /// no more.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub fn load(
        knobs: Knobs<'_>,
        pin_path: &Path,
        choice: Choice,
    ) -> Result<(Self, RingBuf<MapData>, Ring, oneshot::Receiver<()>), LoadError> {
        let features = knobs.features | FEATURE_CAPTURE;
        let mut ebpf = load_object(Knobs { features, ..knobs }, Maps::Pinned(pin_path))?;
        let mut choices: Array<MapData, [u8; size_of::<Choice>()]> =
            take(&mut ebpf, "capture_choice")?.try_into().map_err(refused("capture_choice"))?;
        choices
            .set(0, bytemuck::cast::<_, [u8; size_of::<Choice>()]>(choice), 0)
            .map_err(refused("capture_choice"))?;
        let records = take(&mut ebpf, "captures")?.try_into().map_err(refused("captures"))?;
        let ring = Ring {
            untold: take(&mut ebpf, "capture_untold")?.try_into().map_err(refused("capture_untold"))?,
        };
        let (runs, ended) = oneshot::channel();
        let (news, signs) = (News::of(&mut ebpf), signs(&mut ebpf));
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut capture = Self { ebpf, id, features, news, signs, _runs: runs };
        // Now, and not while the daemon's one task waits for it.
        capture.program()?;
        Ok((capture, records, ring, ended))
    }

    /// Its own number.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// What the program that it takes the place of has to be loaded for.
    #[must_use]
    pub const fn stands_for(&self) -> u32 {
        self.features & !FEATURE_CAPTURE
    }

    pub(super) fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        program(&mut self.ebpf, balancer(self.features))
    }
}

/// Why it cannot take the place of the other one.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// Another one runs.
    #[error("another capture or trace is running; there is one at a time")]
    Runs,
    /// The program that it would take the place of has changed meanwhile.
    #[error("the configuration has changed meanwhile; ask again")]
    Changed,
    /// What passes cannot go on.
    #[error(transparent)]
    Next(#[from] super::next::NextError),
    /// A map is not as expected.
    #[error(transparent)]
    Maps(#[from] DataPlaneError),
}
