//! What one packet costs, counted: the way of a packet through a program as the kernel has translated it, instruction
//! by instruction, with the helpers that it calls and the cache lines that it touches.
//!
//! Times on a shared machine say little; these figures are the same each time. bpftool gives the instructions, after the
//! kernel has put array lookups in line, and the contents of maps. What a program writes stays here: neither counters nor
//! packets of the kernel are touched.

mod instruction;
mod machine;
mod memory;

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::output;
use instruction::Instruction;
use machine::Machine;

/// A program as the kernel runs it, before its processor's own code is made of it.
#[derive(Debug)]
pub struct Program {
    /// By their number: one that takes two places has nothing in the second one.
    instructions: Vec<Option<Instruction>>,
    /// Where values begin in the kernel's map of arrays (`struct bpf_array`), in bytes.
    values_at: u64,
}

/// A packet's way through a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Each instruction that was run, as bpftool prints it, in order.
    pub instructions: Vec<String>,
    /// The helpers that were called, in order.
    pub helpers: Vec<String>,
    /// Cache lines (64 bytes) that were read or written, by what they belong to.
    pub lines: BTreeMap<String, usize>,
    /// What the program gave back: an XDP action.
    pub action: u32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
}

impl Program {
    /// The loaded program with this id.
    ///
    /// # Errors
    ///
    /// There is none, or bpftool is missing.
    pub fn loaded(id: u32) -> Result<Self> {
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["--json", "prog", "dump", "xlated", "id", &id.to_string(), "opcodes"]);
        let dump: Vec<Value> =
            serde_json::from_str(&output(&mut bpftool)?).context("bpftool's dump is no list")?;
        let mut instructions = Vec::new();
        for line in &dump {
            let instruction = Instruction::parse(line).with_context(|| format!("cannot read {line}"))?;
            let is_wide = instruction.is_wide();
            instructions.push(Some(instruction));
            if is_wide {
                instructions.push(None);
            }
        }
        let values_at = values_at(&instructions);
        Ok(Self { instructions, values_at })
    }

    /// Runs the program on a packet that comes by the interface `ifindex`.
    ///
    /// # Errors
    ///
    /// It calls a helper that is not known here, or does something else that no settled packet makes it do.
    pub fn walk(&self, packet: &[u8], ifindex: u32) -> Result<Walk> {
        Machine::new(self, packet, ifindex).run()
    }

    /// The instructions that there are, run or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.instructions.iter().flatten().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }
}

/// A lookup in an array that was put in line begins with the way from the map to its values (`array_map_gen_lookup` in
/// kernel/bpf/arraymap.c).
fn values_at(instructions: &[Option<Instruction>]) -> u64 {
    let present: Vec<_> = instructions.iter().flatten().collect();
    let begins = |pair: &&[&Instruction]| pair[0].is_map() && pair[1].is_addition_to(pair[0].dst);
    present.windows(2).find(begins).map_or(0, |pair| pair[1].imm)
}
