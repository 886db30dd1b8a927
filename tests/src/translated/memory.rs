//! What the program reads and writes: its context, the packet, its stack, and copies of what maps hold.
//!
//! An address is the number of a region and an offset in it, so that a stray access belongs to no region.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::instruction::bytes;
use crate::process::output;

const CONTEXT: u64 = 1;
const QUEUE: u64 = 2;
const DEVICE: u64 = 3;
const PACKET: u64 = 4;
const STACK: u64 = 5;
/// Two regions for each map from here on: what is at its address, and what this CPU's pointers point to.
const MAPS: u64 = 16;

/// Bits of an address that are the offset in its region.
const OFFSET_BITS: u32 = 40;

/// What a program begins with: the address of its context, and the frame pointer of its first function.
pub(super) const CONTEXT_AT: u64 = address(CONTEXT, 0);
pub(super) const FRAME_AT: u64 = address(STACK, FRAME);

/// Bytes before a packet, as drivers leave them (`XDP_PACKET_HEADROOM`), and behind it.
const HEADROOM: usize = 256;
const TAILROOM: usize = 320;

/// Bytes of a function's stack (`MAX_BPF_STACK`), and how many functions may be under way at once.
pub(super) const FRAME: u64 = 512;
const FRAMES: u64 = 8;

/// Fields of the kernel's `struct xdp_buff`, each a pointer: the bounds of the packet, and where it came from.
const DATA: u64 = 0;
const DATA_END: u64 = 8;
const DATA_META: u64 = 16;
const DATA_HARD_START: u64 = 24;
const RXQ: u64 = 32;

const CACHE_LINE: u64 = 64;

/// A map, and the values of it that were met.
struct Map {
    id: u32,
    name: String,
    is_per_cpu: bool,
    value_size: usize,
    values: HashMap<u64, Vec<u8>>,
}

/// All memory.
pub(super) struct Memory {
    context: BTreeMap<u64, u64>,
    ifindex: u32,
    packet: Vec<u8>,
    start: usize,
    end: usize,
    stack: Vec<u8>,
    maps: Vec<Map>,
    values_at: u64,
    touched: BTreeSet<(u64, u64)>,
}

const fn address(region: u64, offset: u64) -> u64 {
    region << OFFSET_BITS | offset
}

/// Bytes from one value to the next (`round_up(value_size, 8)` in the kernel).
fn stride(value_size: usize) -> u64 {
    value_size.next_multiple_of(8) as u64
}

impl Memory {
    pub(super) fn new(packet: &[u8], ifindex: u32, values_at: u64) -> Self {
        let end = HEADROOM + packet.len();
        let mut buffer = vec![0; end + TAILROOM];
        buffer[HEADROOM..end].copy_from_slice(packet);
        let mut memory = Self {
            context: BTreeMap::new(),
            ifindex,
            packet: buffer,
            start: HEADROOM,
            end,
            stack: vec![0; (FRAME * FRAMES) as usize],
            maps: Vec::new(),
            values_at,
            touched: BTreeSet::new(),
        };
        memory.tell_context();
        memory
    }

    /// The packet, as it is now.
    pub(super) fn packet(&self) -> &[u8] {
        &self.packet[self.start..self.end]
    }

    /// Moves the packet's beginning (`bpf_xdp_adjust_head`). Whether there was room.
    pub(super) fn adjust_head(&mut self, delta: i32) -> bool {
        let Some(start) = self.start.checked_add_signed(delta as isize) else { return false };
        if start + 14 > self.end {
            return false;
        }
        self.start = start;
        self.tell_context();
        true
    }

    fn tell_context(&mut self) {
        let at = |offset: usize| address(PACKET, offset as u64);
        let (start, end) = (at(self.start), at(self.end));
        let fields = [
            (DATA, start),
            (DATA_END, end),
            (DATA_META, start),
            (DATA_HARD_START, at(0)),
            (RXQ, address(QUEUE, 0)),
        ];
        self.context.extend(fields);
    }

    /// Address of the map with this id.
    pub(super) fn map(&mut self, id: u32) -> Result<u64> {
        let known = self.maps.iter().position(|map| map.id == id);
        let at = if let Some(at) = known {
            at
        } else {
            self.maps.push(Map::shown(id)?);
            self.maps.len() - 1
        };
        Ok(address(MAPS + 2 * at as u64, 0))
    }

    /// Address of a place in the value of a map with one.
    pub(super) fn value(&mut self, id: u32, offset: u32) -> Result<u64> {
        Ok(self.map(id)? + self.values_at + u64::from(offset))
    }

    /// Reads `size` bytes, little endian.
    pub(super) fn read(&mut self, at: u64, size: usize) -> Result<u64> {
        let (region, offset) = split(at);
        match region {
            CONTEXT => self.context.get(&offset).copied().context("no such field of the context"),
            QUEUE => Ok(address(DEVICE, 0)),
            DEVICE => Ok(self.ifindex.into()),
            _ => {
                if let Some(pointer) = self.per_cpu(region, offset)? {
                    return Ok(pointer);
                }
                let mut word = [0; 8];
                word[..size].copy_from_slice(self.bytes(region, offset, size)?);
                Ok(u64::from_le_bytes(word))
            }
        }
    }

    /// Writes the lower `size` bytes of `value`, little endian.
    pub(super) fn write(&mut self, at: u64, size: usize, value: u64) -> Result<()> {
        let (region, offset) = split(at);
        let bytes = self.bytes(region, offset, size)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..size]);
        Ok(())
    }

    /// This CPU's pointer to a value, where that is what lies there.
    fn per_cpu(&self, region: u64, offset: u64) -> Result<Option<u64>> {
        let Some(map) = self.map_of(region) else { return Ok(None) };
        if !map.is_per_cpu || !region.is_multiple_of(2) {
            return Ok(None);
        }
        let index = offset.checked_sub(self.values_at).context("a read of a map's own fields")? / 8;
        Ok(Some(address(region + 1, index * stride(map.value_size))))
    }

    fn map_of(&self, region: u64) -> Option<&Map> {
        let at = region.checked_sub(MAPS)? / 2;
        self.maps.get(at as usize)
    }

    fn bytes(&mut self, region: u64, offset: u64, size: usize) -> Result<&mut [u8]> {
        let line = match self.map_of(region) {
            Some(map) if !map.is_per_cpu => offset.saturating_sub(self.values_at),
            _ => offset,
        } / CACHE_LINE;
        self.touched.insert((region, line));
        let at = offset as usize;
        match region {
            PACKET => {
                let is_within = at >= self.start && at + size <= self.end;
                ensure!(is_within, "bytes {at} to {} are not in the packet", at + size);
                Ok(&mut self.packet[at..at + size])
            }
            STACK => self.stack.get_mut(at..at + size).context("no such place of the stack"),
            _ => self.value_bytes(region, offset, size),
        }
    }

    fn value_bytes(&mut self, region: u64, offset: u64, size: usize) -> Result<&mut [u8]> {
        let values_at = self.values_at;
        let at = region.checked_sub(MAPS).context("no such region")? / 2;
        let map = self.maps.get_mut(at as usize).context("no such map")?;
        let offset = if map.is_per_cpu { offset } else { offset - values_at };
        let (index, within) = (offset / stride(map.value_size), offset % stride(map.value_size));
        let within = within as usize;
        map.value(index)?.get_mut(within..within + size).context("no such place of a value")
    }

    /// Cache lines that were touched, by what they belong to.
    pub(super) fn lines(&self) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        for (region, _) in &self.touched {
            *lines.entry(self.name(*region)).or_insert(0) += 1;
        }
        lines
    }

    fn name(&self, region: u64) -> String {
        match region {
            PACKET => "packet".to_owned(),
            STACK => "stack".to_owned(),
            _ => self.map_of(region).map_or_else(|| "?".to_owned(), |map| map.name.clone()),
        }
    }
}

fn split(at: u64) -> (u64, u64) {
    (at >> OFFSET_BITS, at & ((1 << OFFSET_BITS) - 1))
}

impl Map {
    /// The map with this id, as bpftool shows it.
    fn shown(id: u32) -> Result<Self> {
        let mut bpftool = Command::new("bpftool");
        let shown: Value =
            serde_json::from_str(&output(bpftool.args(["--json", "map", "show", "id", &id.to_string()]))?)?;
        Ok(Self {
            id,
            name: shown["name"].as_str().context("a map without a name")?.to_owned(),
            is_per_cpu: shown["type"] == "percpu_array",
            value_size: shown["bytes_value"].as_u64().context("a map without values")? as usize,
            values: HashMap::new(),
        })
    }

    /// The value at `index`; one of each CPU's own begins as zeros.
    fn value(&mut self, index: u64) -> Result<&mut Vec<u8>> {
        if !self.values.contains_key(&index) {
            let value = if self.is_per_cpu { vec![0; self.value_size] } else { self.held(index)? };
            self.values.insert(index, value);
        }
        self.values.get_mut(&index).context("it was put there")
    }

    /// What the kernel holds at `index`.
    fn held(&self, index: u64) -> Result<Vec<u8>> {
        let Ok(index) = u32::try_from(index) else { bail!("{} has no {index}", self.name) };
        let key = index.to_le_bytes().map(|byte| byte.to_string());
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["--json", "map", "lookup", "id", &self.id.to_string(), "key"]).args(key);
        let found: Value = serde_json::from_str(&output(&mut bpftool)?)?;
        let value = bytes(&found["value"])?;
        ensure!(value.len() == self.value_size, "{} bytes of {}", value.len(), self.name);
        Ok(value)
    }
}
