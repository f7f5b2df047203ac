//! The emulator by families of instructions. Each line of a table is one instruction as the manual writes it.

extern crate std;

mod addresses;
mod arithmetic;
mod atomics;
mod faults;
mod moves;
mod plain_moves;
mod robustness;
mod stack;
mod strings;
mod vectors;

use super::fault::{ALIGNMENT_CHECK, STACK_FAULT};
use super::testing::{CODE, DATA, DEVICE, Machine, Seen};
use super::{EmulationFault, Outcome, flags};
use crate::{CpuMode, Exception, Gpr};

const PATTERN: u64 = 0x1122_3344_5566_7788;

/// `#GP(0)`.
const GENERAL: EmulationFault = EmulationFault::Raise(Exception::GENERAL_PROTECTION);
/// `#SS(0)`.
const STACK: EmulationFault = EmulationFault::Raise(STACK_FAULT);
/// `#UD`.
const UNDEFINED: EmulationFault = EmulationFault::Raise(Exception::INVALID_OPCODE);
/// `#AC(0)`.
const ALIGNMENT: EmulationFault = EmulationFault::Raise(ALIGNMENT_CHECK);

/// A machine in 64-bit mode whose RBX points at `value` in memory, with a pattern in RAX.
fn at_data(value: u64) -> Machine {
    Machine::long().with(Gpr::Rbx, DATA).with(Gpr::Rax, PATTERN).holding(DATA, &value.to_le_bytes())
}

/// As [`at_data`], with RBX at the device.
fn at_device() -> Machine {
    at_data(0).with(Gpr::Rbx, DEVICE)
}
