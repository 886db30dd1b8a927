//! What the kernel of a namespace knows: counters of its TCP, and MTUs of paths.

use std::{fs, io, net::IpAddr, ops::Sub, process::Command};

use anyhow::{Context as _, Result};
use lb_tests::netns::Netns;

/// What TCP had to do because acknowledgements did not come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Segments that were sent again.
    again: u64,
    /// Retransmission timers that expired.
    timeouts: u64,
}

impl Sent {
    /// By all sockets of the namespace, since there is one.
    pub(crate) fn by(netns: &Netns) -> Result<Self> {
        // `/proc/net` would be that of the main thread.
        let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        let (snmp, netstat) = netns.run(|| io::Result::Ok((read("snmp")?, read("netstat")?)))??;
        let counter = |text: &str, protocol, name| {
            counter(text, protocol, name).with_context(|| format!("the kernel has no {name}"))
        };
        Ok(Self {
            again: counter(&snmp, "Tcp:", "RetransSegs")?,
            timeouts: counter(&netstat, "TcpExt:", "TCPTimeouts")?,
        })
    }

    pub(crate) fn is_at_most(self, again: u64, timeouts: u64) -> bool {
        self.again <= again && self.timeouts <= timeouts
    }
}

impl Sub for Sent {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { again: self.again - earlier.again, timeouts: self.timeouts - earlier.timeouts }
    }
}

/// A line of names, and one of values, both beginning with the protocol.
fn counter(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(protocol)).map(str::split_whitespace);
    let (names, values) = (lines.next()?, lines.next()?);
    names.zip(values).find(|(found, _)| *found == name)?.1.parse().ok()
}

/// The MTU of the path to `target`, where it is not that of the interface.
pub(crate) fn path_mtu(netns: &Netns, target: IpAddr) -> Result<Option<u32>> {
    let route = netns.output(Command::new("ip").args(["route", "get", &target.to_string()]))?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    Ok(words.next().map(str::parse).transpose()?)
}
