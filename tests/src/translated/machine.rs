//! Running instructions (RFC 9669).

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    Program, Walk,
    instruction::{CONSTANT, Constant, Instruction},
    memory::{CONTEXT_AT, FRAME, FRAME_AT, Memory},
};

/// `XDP_REDIRECT` (linux/bpf.h).
const XDP_REDIRECT: u64 = 4;

/// More than any packet takes; a program that goes on is caught in a circle.
const MOST: usize = 100_000;

/// Register of the frame pointer.
const FRAME_POINTER: usize = 10;

/// Registers that a call keeps (RFC 9669 section 2).
const KEPT: std::ops::Range<usize> = 6..11;

/// `BPF_PSEUDO_CALL` (linux/bpf.h): a call of a function of the program itself.
const OWN_FUNCTION: usize = 1;

/// Where to go on after a function, and the registers that it leaves alone.
struct Return {
    to: usize,
    kept: [u64; 5],
}

/// A program under way.
pub(super) struct Machine<'a> {
    program: &'a Program,
    memory: Memory,
    registers: [u64; 11],
    at: usize,
    returns: Vec<Return>,
    instructions: Vec<String>,
    helpers: Vec<String>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a Program, packet: &[u8], ifindex: u32) -> Self {
        let memory = Memory::new(packet, ifindex, program.values_at);
        let mut registers = [0; 11];
        registers[1] = CONTEXT_AT;
        registers[FRAME_POINTER] = FRAME_AT;
        let (returns, instructions, helpers) = (Vec::new(), Vec::new(), Vec::new());
        Self { program, memory, registers, at: 0, returns, instructions, helpers }
    }

    /// Runs to the end.
    pub(super) fn run(mut self) -> Result<Walk> {
        let program = self.program;
        loop {
            let instruction = program.instructions.get(self.at).and_then(Option::as_ref);
            let instruction = instruction.with_context(|| format!("nothing is at {}", self.at))?;
            ensure!(self.instructions.len() < MOST, "it does not end within {MOST} instructions");
            self.instructions.push(instruction.text.clone());
            self.at += 1;
            let step = self.step(instruction);
            if step.with_context(|| format!("at {}: {}", self.at - 1, instruction.text))? {
                let (lines, packet) = (self.memory.lines(), self.memory.packet().to_vec());
                let Self { instructions, helpers, registers, .. } = self;
                return Ok(Walk { instructions, helpers, lines, action: registers[0] as u32, packet });
            }
        }
    }

    /// Runs one instruction. Whether it was the last.
    fn step(&mut self, instruction: &Instruction) -> Result<bool> {
        match instruction.opcode & 0x07 {
            0x00 => self.load_constant(instruction)?,
            0x01 => self.load(instruction)?,
            0x02 | 0x03 => self.store(instruction)?,
            0x04 => self.compute(instruction, 32)?,
            0x07 => self.compute(instruction, 64)?,
            class => return self.jump(instruction, if class == 0x05 { 64 } else { 32 }),
        }
        Ok(false)
    }

    fn load_constant(&mut self, instruction: &Instruction) -> Result<()> {
        ensure!(instruction.opcode == CONSTANT, "an old way to read packets");
        self.registers[instruction.dst] = match instruction.constant() {
            Constant::Number(number) => number,
            Constant::Map(id) => self.memory.map(id)?,
            Constant::Value(id, offset) => self.memory.value(id, offset)?,
        };
        self.at += 1;
        Ok(())
    }

    fn load(&mut self, instruction: &Instruction) -> Result<()> {
        let size = size(instruction.opcode);
        let value = self.memory.read(self.place(instruction.src, instruction), size)?;
        self.registers[instruction.dst] = match instruction.opcode & 0xe0 {
            // Memory, whether or not the kernel minds a fault.
            0x60 | 0x20 => value,
            0x80 => extended(value, size as u32 * 8),
            _ => bail!("an unknown load"),
        };
        Ok(())
    }

    fn store(&mut self, instruction: &Instruction) -> Result<()> {
        ensure!(instruction.opcode & 0xe0 == 0x60, "an atomic operation");
        let is_register = instruction.opcode & 0x07 == 0x03;
        let value = if is_register { self.registers[instruction.src] } else { instruction.imm };
        self.memory.write(self.place(instruction.dst, instruction), size(instruction.opcode), value)
    }

    /// The address that a load or store is about.
    fn place(&self, register: usize, instruction: &Instruction) -> u64 {
        self.registers[register].wrapping_add_signed(instruction.offset.into())
    }

    fn operand(&self, instruction: &Instruction) -> u64 {
        if instruction.opcode & 0x08 == 0 { instruction.imm } else { self.registers[instruction.src] }
    }

    fn compute(&mut self, instruction: &Instruction, bits: u32) -> Result<()> {
        let operation = instruction.opcode >> 4;
        let old = self.registers[instruction.dst];
        self.registers[instruction.dst] = if operation == 0xd {
            swapped(instruction, old, bits)?
        } else {
            let new = result(operation, old, self.operand(instruction), bits, instruction.offset)?;
            if bits == 32 { new & 0xffff_ffff } else { new }
        };
        Ok(())
    }

    fn jump(&mut self, instruction: &Instruction, bits: u32) -> Result<bool> {
        match instruction.opcode >> 4 {
            0x8 => return self.call(instruction).map(|()| false),
            0x9 => return Ok(self.leave()),
            0x0 if bits == 32 => self.go(instruction.imm.cast_signed()),
            0x0 => self.go(instruction.offset.into()),
            operation => {
                let (old, operand) = (self.registers[instruction.dst], self.operand(instruction));
                if holds(operation, old, operand, bits)? {
                    self.go(instruction.offset.into());
                }
            }
        }
        Ok(false)
    }

    fn go(&mut self, offset: i64) {
        self.at = self.at.wrapping_add_signed(offset as isize);
    }

    fn call(&mut self, instruction: &Instruction) -> Result<()> {
        if instruction.src == OWN_FUNCTION {
            let mut kept = [0; 5];
            kept.copy_from_slice(&self.registers[KEPT]);
            self.returns.push(Return { to: self.at, kept });
            self.registers[FRAME_POINTER] += FRAME;
            self.go(instruction.offset.into());
            return Ok(());
        }
        let name = instruction.helper();
        self.helpers.push(name.to_owned());
        self.registers[0] = match name {
            "bpf_xdp_adjust_head" => {
                if self.memory.adjust_head((self.registers[2] as u32).cast_signed()) {
                    0
                } else {
                    u64::MAX
                }
            }
            "bpf_xdp_redirect" => XDP_REDIRECT,
            _ => bail!("it calls {name}, which is not known here"),
        };
        Ok(())
    }

    /// Ends a function. Whether it was the first.
    fn leave(&mut self) -> bool {
        let Some(Return { to, kept }) = self.returns.pop() else { return true };
        self.registers[KEPT].copy_from_slice(&kept);
        self.at = to;
        false
    }
}

/// Bytes that a load or store is about.
fn size(opcode: u8) -> usize {
    match opcode & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

/// The lowest `bits` with their sign.
fn extended(value: u64, bits: u32) -> u64 {
    let unused = 64 - bits;
    ((value << unused).cast_signed() >> unused).cast_unsigned()
}

/// The result of an arithmetic operation on the lowest `bits`.
fn result(operation: u8, old: u64, operand: u64, bits: u32, offset: i16) -> Result<u64> {
    let lowest = |value: u64| if bits == 32 { value & 0xffff_ffff } else { value };
    let (a, b) = (lowest(old), lowest(operand));
    let shift = (b as u32) & (bits - 1);
    Ok(match (operation, offset) {
        (0x0, _) => a.wrapping_add(b),
        (0x1, _) => a.wrapping_sub(b),
        (0x2, _) => a.wrapping_mul(b),
        (0x3, 0) => a.checked_div(b).unwrap_or(0),
        (0x4, _) => a | b,
        (0x5, _) => a & b,
        (0x6, _) => a << shift,
        (0x7, _) => a >> shift,
        (0x8, _) => a.wrapping_neg(),
        (0x9, 0) => a.checked_rem(b).unwrap_or(a),
        (0xa, _) => a ^ b,
        (0xb, 8 | 16 | 32) => extended(b, offset.unsigned_abs().into()),
        // An offset of its own marks an address of this CPU's (`BPF_ADDR_PERCPU` in the kernel).
        (0xb, _) => b,
        (0xc, _) => (extended(a, bits).cast_signed() >> shift).cast_unsigned(),
        _ => bail!("an unknown operation"),
    })
}

/// The lowest bytes in another order, the others zero.
fn swapped(instruction: &Instruction, old: u64, bits: u32) -> Result<u64> {
    let is_to_big_endian = instruction.opcode & 0x08 != 0;
    let value = if bits == 64 || is_to_big_endian { old.swap_bytes() } else { old.to_le() };
    let is_swapped = bits == 64 || is_to_big_endian;
    Ok(match (instruction.imm, is_swapped) {
        (16, true) => value >> 48,
        (32, true) => value >> 32,
        (16, false) => value & 0xffff,
        (32, false) => value & 0xffff_ffff,
        (64, _) => value,
        _ => bail!("an unknown order of bytes"),
    })
}

/// Whether a jump is taken.
fn holds(operation: u8, old: u64, operand: u64, bits: u32) -> Result<bool> {
    let lowest = |value: u64| if bits == 32 { value & 0xffff_ffff } else { value };
    let (a, b) = (lowest(old), lowest(operand));
    let (signed_a, signed_b) = (extended(a, bits).cast_signed(), extended(b, bits).cast_signed());
    Ok(match operation {
        0x1 => a == b,
        0x2 => a > b,
        0x3 => a >= b,
        0x4 => a & b != 0,
        0x5 => a != b,
        0x6 => signed_a > signed_b,
        0x7 => signed_a >= signed_b,
        0xa => a < b,
        0xb => a <= b,
        0xc => signed_a < signed_b,
        0xd => signed_a <= signed_b,
        _ => bail!("an unknown jump"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_that_of_the_instruction_set() {
        let value = |operation, a, b, bits| result(operation, a, b, bits, 0).unwrap();
        assert_eq!(value(0x0, 0xffff_ffff, 1, 32) & 0xffff_ffff, 0);
        assert_eq!(value(0x1, 0, 1, 64), u64::MAX);
        assert_eq!(value(0x3, 7, 0, 64), 0);
        assert_eq!(value(0x9, 7, 0, 64), 7);
        assert_eq!(value(0x7, 0xf000_0000_0000_0000, 60, 64), 0xf);
        assert_eq!(value(0xc, 0x8000_0000, 31, 32) & 0xffff_ffff, 0xffff_ffff);
        assert_eq!(result(0xb, 0, 0x80, 64, 8).unwrap(), u64::MAX - 0x7f);
    }

    #[test]
    fn jumps_compare_with_and_without_sign() {
        let minus_one = u64::MAX;
        assert!(holds(0x2, minus_one, 1, 64).unwrap() && !holds(0x6, minus_one, 1, 64).unwrap());
        assert!(
            holds(0x1, minus_one, 0xffff_ffff, 32).unwrap()
                && !holds(0x1, minus_one, 0xffff_ffff, 64).unwrap()
        );
        assert!(holds(0xc, 0x8000_0000, 0, 32).unwrap());
    }
}
