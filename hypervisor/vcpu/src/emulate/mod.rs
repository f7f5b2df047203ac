//! Executes one guest instruction in place of the processor: what touches a device's memory, and port strings.
//!
//! `iced-x86` decodes; the rest is ours. An instruction goes through four stages, and nothing a guest can see changes
//! before the last one:
//!
//! ```text
//!  decode ──> addresses: segment, canonical, alignment ──> page walk ──> effects: memory, registers, flags, RIP
//!    #UD #GP        #GP #SS #AC                             #PF          (a device's read is one)
//! ```
//!
//! A repeated string instruction is a sequence of such instructions: registers stand at the element that faulted, and
//! after [`PORTION`] elements the guest gets its turn. Segmentation and alignment are judged here; page tables, memory
//! and devices are the [`EmulationContext`]'s.
//!
//! Any instruction of the list can get here, whatever exited: another CPU can have changed the code since. So every
//! check that the processor makes is made, of privilege too.
//!
//! Sources: Intel SDM, volume 1, chapter 3, volume 2; AMD APM 24594, volume 3.

mod address;
mod alu;
mod bits;
mod context;
mod decodings;
mod exchange;
mod fault;
mod flags;
mod moves;
mod operand;
mod plain;
mod port;
mod shift;
mod size;
mod stack;
mod string;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vector;

pub use context::{EmulationContext, Exited, Privilege};
pub use decodings::Decodings;
pub use fault::EmulationFault;
pub use string::PORTION;

use crate::walk::INSTRUCTION_MAX_BYTES;
use crate::{CpuMode, Exception};
use decodings::{Decoding, Key};
use flags::TRAP;
use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction, Mnemonic};

/// What has become of an instruction that did not fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is complete; RIP stands behind it.
    Completed,
    /// A repeated string instruction has done a portion; RIP still names it.
    Unfinished,
    /// It, or one element of a repeated one, is complete, and RFLAGS.TF was set: the guest gets a single-step `#DB`
    /// with DR6.BS.
    Trapped,
}

/// Executes the instruction that `bytes` begin with, at CS:RIP in `mode`. `exited` spares the walk for a load or a store
/// that is what the processor stopped at.
///
/// # Errors
/// As [`EmulationFault`] says. Nothing has changed then, but for completed elements of a repeated string instruction.
pub fn step<C: EmulationContext>(
    cx: &mut C,
    bytes: &[u8],
    mode: CpuMode,
    exited: Option<Exited>,
) -> Result<Outcome, EmulationFault> {
    let rip = cx.rip();
    let bitness = match mode {
        CpuMode::Long64 => 64,
        CpuMode::Protected32 => 32,
        CpuMode::Real | CpuMode::Virtual8086 | CpuMode::Protected16 => 16,
    };
    let key = Key::of(bytes, rip, bitness);
    if let Some(exited) = exited
        && let Some(plain) = kept(cx, key).and_then(|kept| kept.plain)
        && let Some(done) = plain.execute(cx, exited)
    {
        done?;
        cx.set_rip(rip.wrapping_add(plain.length().into()));
        return Ok(outcome(cx, Progress::Complete));
    }
    let known = kept(cx, key).map(|kept| kept.instruction);
    let mut executor = Executor { cx, instruction: Instruction::default(), mode, exited };
    match known {
        Some(known) => executor.instruction = known,
        None => executor.decode(bytes, rip, bitness, key)?,
    }
    let progress = executor.execute()?;
    let Executor { cx, instruction, .. } = executor;
    if progress == Progress::Complete {
        let next = rip.wrapping_add(instruction.len() as u64);
        cx.set_rip(if mode == CpuMode::Long64 { next } else { next & u64::from(u32::MAX) });
    }
    Ok(outcome(cx, progress))
}

/// What is known of the instruction with `key`.
#[inline(always)]
fn kept<C: EmulationContext>(cx: &mut C, key: Option<Key>) -> Option<&Decoding> {
    cx.decodings().zip(key).and_then(|(kept, key)| kept.get(&key))
}

/// What has become of an instruction that has come as far as `progress`.
#[inline(always)]
fn outcome<C: EmulationContext>(cx: &C, progress: Progress) -> Outcome {
    match progress {
        // None of the instructions changes it.
        _ if cx.rflags() & TRAP != 0 => Outcome::Trapped,
        Progress::Complete => Outcome::Completed,
        Progress::Partial => Outcome::Unfinished,
    }
}

/// Decodes into `instruction`: a large value, not to be moved about.
#[inline(never)]
fn decode(bytes: &[u8], bitness: u32, rip: u64, instruction: &mut Instruction) -> Result<(), EmulationFault> {
    let bytes = bytes.get(..INSTRUCTION_MAX_BYTES).unwrap_or(bytes);
    // Used where it is made: a large value, too.
    let Ok(decoder) = &mut Decoder::try_with_ip(bitness, bytes, rip, DecoderOptions::NONE) else {
        return Err(EmulationFault::Unsupported);
    };
    decoder.decode_out(instruction);
    match decoder.last_error() {
        DecoderError::None => Ok(()),
        DecoderError::NoMoreBytes if bytes.len() < INSTRUCTION_MAX_BYTES => Err(EmulationFault::Truncated),
        // Longer than 15 bytes.
        _ if decoder.position() >= INSTRUCTION_MAX_BYTES => Err(Exception::GENERAL_PROTECTION.into()),
        // Among others: LOCK where it is not allowed.
        _ => Err(Exception::INVALID_OPCODE.into()),
    }
}

/// How far an instruction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Complete,
    Partial,
}

/// One instruction being executed. Each family adds its methods in its own file.
struct Executor<'a, C: ?Sized> {
    cx: &'a mut C,
    instruction: Instruction,
    mode: CpuMode,
    exited: Option<Exited>,
}

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    /// Decodes the instruction that `bytes` begin with, at `rip`, and keeps that.
    fn decode(
        &mut self,
        bytes: &[u8],
        rip: u64,
        bitness: u32,
        key: Option<Key>,
    ) -> Result<(), EmulationFault> {
        decode(bytes, bitness, rip, &mut self.instruction)?;
        if let (Some(kept), Some(key)) = (self.cx.decodings(), key) {
            kept.put(key, &self.instruction);
        }
        Ok(())
    }

    /// Executes the instruction. How drivers reach devices is compiled for the context; all else is once for every one.
    #[inline(always)]
    fn execute(&mut self) -> Result<Progress, EmulationFault>
    where
        C: Sized,
    {
        use Mnemonic as M;
        let done = match self.instruction.mnemonic() {
            M::Mov | M::Movnti | M::Movzx => self.mov(moves::Extension::Zero),
            M::Movsx | M::Movsxd => self.mov(moves::Extension::Sign),
            _ => {
                let Self { instruction, mode, exited, .. } = *self;
                let cx: &mut dyn EmulationContext = self.cx;
                return Executor { cx, instruction, mode, exited }.execute_rare();
            }
        };
        done.map(|()| Progress::Complete)
    }

    #[inline(never)]
    fn execute_rare(&mut self) -> Result<Progress, EmulationFault> {
        use Mnemonic as M;
        let done = match self.instruction.mnemonic() {
            M::Movbe => self.movbe(),
            M::Add => self.binary(flags::add),
            M::Adc => self.binary(flags::add_with_carry),
            M::Sub => self.binary(flags::subtract),
            M::Sbb => self.binary(flags::subtract_with_borrow),
            M::And => self.binary(flags::and),
            M::Or => self.binary(flags::or),
            M::Xor => self.binary(flags::xor),
            M::Cmp => self.compare(flags::subtract),
            M::Test => self.compare(flags::and),
            M::Inc => self.unary(flags::increment),
            M::Dec => self.unary(flags::decrement),
            M::Neg => self.unary(flags::negate),
            M::Not => self.unary(flags::not),
            M::Shl | M::Sal => self.shift(shift::left),
            M::Shr => self.shift(shift::right),
            M::Sar => self.shift(shift::arithmetic_right),
            M::Rol => self.shift(shift::rotate_left),
            M::Ror => self.shift(shift::rotate_right),
            M::Rcl => self.shift(shift::rotate_left_through_carry),
            M::Rcr => self.shift(shift::rotate_right_through_carry),
            M::Shld => self.double_shift(shift::double_left),
            M::Shrd => self.double_shift(shift::double_right),
            M::Bt => self.bit_test(),
            M::Bts => self.bit_modify(bits::set),
            M::Btr => self.bit_modify(bits::reset),
            M::Btc => self.bit_modify(bits::complement),
            M::Xchg => self.xchg(),
            M::Xadd => self.xadd(),
            M::Cmpxchg => self.cmpxchg(),
            M::Cmpxchg8b => self.cmpxchg_pair(exchange::Half::Dword),
            M::Cmpxchg16b => self.cmpxchg_pair(exchange::Half::Qword),
            M::Push => self.push(),
            M::Pop => self.pop(),
            M::In => self.port_in(),
            M::Out => self.port_out(),
            // No access at all, whatever they name (SDM volume 2, NOP and PREFETCHh).
            M::Nop | M::Prefetcht0 | M::Prefetcht1 | M::Prefetcht2 | M::Prefetchnta | M::Prefetchw => Ok(()),
            _ => match string::Operation::of(&self.instruction) {
                Some(operation) => return self.string(operation),
                None => self.vector_move(),
            },
        };
        done.map(|()| Progress::Complete)
    }
}
