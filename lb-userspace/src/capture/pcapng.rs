//! Packets in a pcapng file: each twice where it leaves, as it arrives and as it leaves, with what was decided as a comment.

use std::{borrow::Cow, mem, time::Duration};

use pcap_file::{
    DataLink, PcapError,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption},
        },
    },
};

use super::{
    Captured,
    decision::{decision, interface_in, interface_out, line},
};
use crate::{admin::capture::Untold, names::Names};

/// `epb_flags`: which way a packet went.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Nanoseconds, as `if_tsresol` says them.
const NANOSECONDS: u8 = 9;

/// A file while it is written.
pub struct File {
    writer: PcapNgWriter<Vec<u8>>,
    interfaces: Vec<String>,
    snaplen: u32,
    /// When the monotonic clock began, since 1970.
    boot: Duration,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}

impl File {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// The library refuses.
    pub fn begin(snaplen: u32, boot: Duration) -> Result<Self, PcapError> {
        Ok(Self { writer: PcapNgWriter::new(Vec::new())?, interfaces: Vec::new(), snaplen, boot })
    }

    /// Adds a packet.
    ///
    /// # Errors
    ///
    /// The library refuses.
    pub fn add(&mut self, captured: &Captured, names: &Names) -> Result<(), PcapError> {
        let record = &captured.record;
        let comment = line(&decision(captured, names, self.boot));
        let arrives = format!("{} in", interface_in(captured, names));
        self.packet(captured, &arrives, (&captured.arrived, record.arrived), INBOUND, &comment)?;
        if record.left > 0 {
            let leaves = format!("{} out", interface_out(captured, names));
            self.packet(captured, &leaves, (&captured.left, record.left), OUTBOUND, &comment)?;
        }
        Ok(())
    }

    /// Says at the end how many packets are missing.
    ///
    /// # Errors
    ///
    /// The library refuses.
    pub fn end(&mut self, untold: &Untold) -> Result<(), PcapError> {
        if self.interfaces.is_empty() || !untold.is_any() {
            return Ok(());
        }
        let options = vec![InterfaceStatisticsOption::IsbIfDrop(untold.limited + untold.lost)];
        let block = InterfaceStatisticsBlock { interface_id: 0, timestamp: 0, options };
        self.writer.write_pcapng_block(block).map(drop)
    }

    /// What was written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        mem::take(self.writer.get_mut())
    }

    fn packet(
        &mut self,
        captured: &Captured,
        interface: &str,
        (data, original_len): (&[u8], u32),
        direction: u32,
        comment: &str,
    ) -> Result<(), PcapError> {
        let interface_id = self.interface(interface)?;
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: self.boot + Duration::from_nanos(captured.record.time_ns),
            original_len,
            data: Cow::Borrowed(data),
            options: vec![
                EnhancedPacketOption::Comment(Cow::Borrowed(comment)),
                EnhancedPacketOption::Flags(direction),
            ],
        };
        self.writer.write_pcapng_block(block).map(drop)
    }

    /// The number of an interface, which is described when it is first met.
    fn interface(&mut self, name: &str) -> Result<u32, PcapError> {
        if let Some(id) = self.interfaces.iter().position(|known| known == name) {
            return Ok(id as u32);
        }
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Owned(name.to_owned())),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        let block =
            InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: self.snaplen, options };
        self.writer.write_pcapng_block(block)?;
        self.interfaces.push(name.to_owned());
        Ok((self.interfaces.len() - 1) as u32)
    }
}
