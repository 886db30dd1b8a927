//! One instruction (RFC 9669), as bpftool tells it.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// `BPF_PSEUDO_MAP_FD` (linux/bpf.h): the constant is a map.
const MAP: u8 = 1;
/// `BPF_PSEUDO_MAP_VALUE`: the constant is a place in the value of a map with one.
const MAP_VALUE: u8 = 2;

/// Opcode of a 64-bit constant, the one instruction that takes two places.
pub(super) const CONSTANT: u8 = 0x18;

/// `dst += imm`, 64 bits.
const ADD_IMMEDIATE: u8 = 0x07;

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) opcode: u8,
    pub(super) dst: usize,
    pub(super) src: usize,
    pub(super) offset: i16,
    /// Signed and extended to 64 bits; of a constant, all of it.
    pub(super) imm: u64,
    /// As bpftool prints it.
    pub(super) text: String,
}

/// What a 64-bit constant stands for.
pub(super) enum Constant {
    Number(u64),
    /// The map with this id.
    Map(u32),
    /// A place in its value.
    Value(u32, u32),
}

impl Instruction {
    /// Reads an entry of the dump with opcodes.
    pub(super) fn parse(entry: &Value) -> Result<Self> {
        let opcodes = &entry["opcodes"];
        let (offset, imm) = (bytes(&opcodes["off"])?, bytes(&opcodes["imm"])?);
        let word = |at: usize| {
            imm.get(at..at + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        };
        let low = word(0).context("no immediate")?;
        // Of two places: four bytes of the first one, then all eight of the second.
        let imm = match word(8) {
            Some(high) => u64::from(high) << 32 | u64::from(low),
            None => i64::from(low.cast_signed()).cast_unsigned(),
        };
        Ok(Self {
            opcode: byte(&opcodes["code"])?,
            dst: byte(&opcodes["dst_reg"])?.into(),
            src: byte(&opcodes["src_reg"])?.into(),
            offset: i16::from_le_bytes(offset.try_into().ok().context("no offset")?),
            imm,
            text: entry["disasm"].as_str().context("no text")?.to_owned(),
        })
    }

    pub(super) fn is_wide(&self) -> bool {
        self.opcode == CONSTANT
    }

    /// Whether it takes the address of a map.
    pub(super) fn is_map(&self) -> bool {
        self.opcode == CONSTANT && self.src == usize::from(MAP)
    }

    /// Whether it adds a constant to that register.
    pub(super) fn is_addition_to(&self, register: usize) -> bool {
        self.opcode == ADD_IMMEDIATE && self.dst == register
    }

    /// What a 64-bit constant stands for.
    pub(super) fn constant(&self) -> Constant {
        let (low, high) = (self.imm as u32, (self.imm >> 32) as u32);
        match self.src as u8 {
            MAP => Constant::Map(low),
            MAP_VALUE => Constant::Value(low, high),
            _ => Constant::Number(self.imm),
        }
    }

    /// The name of the helper that it calls, if it is known.
    pub(super) fn helper(&self) -> &str {
        let called = self.text.rsplit("call ").next().unwrap_or_default();
        called.split('#').next().unwrap_or_default()
    }
}

/// A list of bytes, each as `0x..`.
pub(super) fn bytes(list: &Value) -> Result<Vec<u8>> {
    list.as_array().context("no list of bytes")?.iter().map(byte).collect()
}

fn byte(text: &Value) -> Result<u8> {
    let digits = text.as_str().and_then(|text| text.strip_prefix("0x")).context("no byte")?;
    Ok(u8::from_str_radix(digits, 16)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instruction_is_read_with_its_sign() {
        let entry = json!({"disasm": "(07) r10 += -8", "opcodes": {
            "code": "0x07", "src_reg": "0x0", "dst_reg": "0xa", "off": ["0xff", "0xff"],
            "imm": ["0xf8", "0xff", "0xff", "0xff"]}});
        let instruction = Instruction::parse(&entry).unwrap();
        assert_eq!((instruction.dst, instruction.offset), (10, -1));
        assert_eq!(instruction.imm.cast_signed(), -8);
        assert!(instruction.is_addition_to(10) && !instruction.is_wide());
    }

    #[test]
    fn wide_constant_is_a_number_or_a_place_in_a_map() {
        let entry = |source: &str| {
            json!({"disasm": "(18) r2 = map[id:3509][0]+112", "opcodes": {
                "code": "0x18", "src_reg": source, "dst_reg": "0x2", "off": ["0x00", "0x00"],
                "imm": ["0xb5", "0x0d", "0x00", "0x00", "0x00", "0x00", "0x00", "0x00", "0x70", "0x00", "0x00", "0x00"]}})
        };
        let constant = |source| Instruction::parse(&entry(source)).unwrap().constant();
        assert!(matches!(constant("0x0"), Constant::Number(0x70_0000_0db5)));
        assert!(matches!(constant("0x1"), Constant::Map(3509)));
        assert!(matches!(constant("0x2"), Constant::Value(3509, 0x70)));
    }
}
