//! A flood of SYNs from spoofed sources, as fast as one CPU makes them.
//!
//! ```text
//!   flood                        balancer
//!     eth0 -------- veth -------- eth1 198.18.255.1/32
//! ```
//!
//! The frames are made by an XDP program that the kernel repeats as a test run with live frames, and leave through the
//! attacker's end of the pair. The system call does the work, so the thread that makes it stays on one CPU and the
//! clients have the others.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{bpf::PassProgram, netns::Netns, topology::Host};

/// The balancer's interface that the flood comes by.
pub(super) const INTERFACE: &str = "eth1";

/// MAC address of that interface.
const BALANCER_MAC: &str = "02:00:00:00:f1:01";

/// Bytes of a frame: Ethernet, IPv4 and TCP headers, and the padding of the shortest frame.
const FRAME_LEN: usize = 60;

/// Frames that the kernel makes before it looks at what else there is to do.
const BATCH: u32 = 64;

/// How fast, from where.
#[derive(Clone, Debug)]
pub struct Flood {
    /// The object with the program that makes the frames.
    pub object: PathBuf,
    /// Frames for each system call.
    pub burst: u32,
    /// Pause between two system calls.
    pub pause: Duration,
}

/// The attacker's namespace, joined to a balancer.
#[derive(Debug)]
pub(super) struct Attacker {
    netns: Netns,
}

/// A flood that goes on until it is dropped.
#[derive(Debug)]
pub(super) struct Flooding {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<Result<()>>>>,
}

impl Attacker {
    /// Joins a namespace of its own to `balancer`, which gets the interface [`INTERFACE`].
    pub(super) fn join(balancer: &Host, object: &Path) -> Result<Self> {
        let netns = Netns::new("flood")?;
        let peer = balancer.netns.name();
        netns.ip(&format!("link add eth0 type veth peer name {INTERFACE} netns {peer}"))?;
        balancer.netns.ip(&format!("link set {INTERFACE} address {BALANCER_MAC} up"))?;
        netns.ip("link set eth0 up")?;
        PassProgram::load(object)?.attach(&netns, "eth0")?;
        Ok(Self { netns })
    }

    /// Starts a flood to a service.
    pub(super) fn flood(&self, vip: IpAddr, port: u16, flood: &Flood) -> Result<Flooding> {
        let IpAddr::V4(vip) = vip else { bail!("the flood speaks IPv4 alone") };
        let index = self.interface_index()?;
        let mut ebpf = EbpfLoader::new()
            .override_global("INTERFACE", &index, true)
            .override_global("VIP", &u32::from(vip), true)
            .override_global("PORT", &u32::from(port), true)
            .load_file(&flood.object)
            .with_context(|| format!("cannot load {}", flood.object.display()))?;
        program(&mut ebpf)?.load().context("the kernel refused the flood")?;
        let (sent, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counter, stopped, flood) = (Arc::clone(&sent), Arc::clone(&stop), flood.clone());
        let task = move || send(&mut ebpf, &flood, &counter, &stopped);
        Ok(Flooding { sent, stop, thread: Some(self.netns.spawn_thread("flood", task)?) })
    }

    fn interface_index(&self) -> Result<u32> {
        let text = self.netns.output(Command::new("ip").args(["-json", "link", "show", "dev", "eth0"]))?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        let index = links[0]["ifindex"].as_u64().context("eth0 of the attacker has no number")?;
        Ok(index as u32)
    }
}

impl Flooding {
    /// Frames made so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Ok(Err(error)))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the flood failed: {error:#}");
        }
    }
}

fn send(ebpf: &mut Ebpf, flood: &Flood, sent: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    stay_on_last_cpu()?;
    let program = program(ebpf)?;
    while !stop.load(Ordering::Relaxed) {
        let attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let options = TestRunOptions {
            data_in: Some(&[0; FRAME_LEN]),
            repeat: flood.burst,
            attrs,
            ..TestRunOptions::new()
        };
        program.test_run(options).context("the kernel refused to make frames")?;
        sent.fetch_add(u64::from(flood.burst), Ordering::Relaxed);
        std::thread::sleep(flood.pause);
    }
    Ok(())
}

fn stay_on_last_cpu() -> Result<()> {
    let count = std::thread::available_parallelism()?.get();
    let mut cpus = CpuSet::new();
    cpus.set(count - 1);
    sched_setaffinity(None, &cpus).context("cannot stay on one CPU")
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(ebpf.program_mut("flood").context("the object has no program `flood`")?.try_into()?)
}
