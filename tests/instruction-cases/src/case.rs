//! One instruction with everything that it works on.

use crate::code::Code;

/// A page.
pub const PAGE: usize = 4096;
/// The pages whose contents are compared: one for reading only, and two. One that is not there follows.
pub const MEMORY_BYTES: usize = 3 * PAGE;

/// Where a case runs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where the instruction stands.
    pub code_address: u64,
    /// Where the memory begins. Instructions can tell addresses below 4 GiB only, and code must be near to memory.
    pub memory_address: u64,
    /// Whether cases may use AVX.
    pub has_avx: bool,
    /// What they are compared with.
    pub machine: Machine,
}

/// A machine that executes cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// A processor.
    Processor,
    /// QEMU's translator, version 10.0, or Bochs 3.0. Cases are not made of what one of them does unlike processors. QEMU
    /// makes no alignment checks, reads 16 bits for MOVBE with both 66 and REX.W, stores a part of 32 bytes whose rest
    /// faults, and rotates bytes and words wrongly through CF by more bits than they have. Bochs copies a repeated MOVS byte
    /// by byte, which shows where its target begins within the first element of its source.
    Emulator,
}

/// Registers that a case begins with and is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Registers {
    /// In encoding order.
    pub gprs: [u64; 16],
    /// RFLAGS.
    pub rflags: u64,
    /// Room, so that what follows is aligned.
    pub reserved: [u64; 7],
    /// YMM0 to YMM15.
    pub vectors: [[u8; 32]; 16],
}

impl Registers {
    /// All zero.
    pub const ZERO: Self = Self { gprs: [0; 16], rflags: 0, reserved: [0; 7], vectors: [[0; 32]; 16] };
}

/// One instruction with everything that it works on.
#[derive(Clone, Debug)]
pub struct Case {
    /// The instruction as the table calls it.
    pub name: &'static str,
    /// The instruction.
    pub code: Code,
    /// What it begins with.
    pub registers: Registers,
    /// The memory it begins with.
    pub memory: [u8; MEMORY_BYTES],
    /// The flags that the manual leaves undefined.
    pub undefined: u64,
}

impl Case {
    /// No instruction yet: [`Case::generate`] makes one.
    pub const fn new() -> Self {
        Self {
            name: "",
            code: Code::new(),
            registers: Registers::ZERO,
            memory: [0; MEMORY_BYTES],
            undefined: 0,
        }
    }
}

impl Default for Case {
    fn default() -> Self {
        Self::new()
    }
}

/// What an instruction ended in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It completed.
    Completed,
    /// An exception with its vector, error code and, for a page fault, CR2.
    Fault(u8, u32, u64),
}

/// All that is compared.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// The registers afterwards.
    pub registers: Registers,
    /// The memory afterwards.
    pub memory: [u8; MEMORY_BYTES],
}

impl Outcome {
    /// Of nothing yet.
    pub const fn new() -> Self {
        Self { ending: Ending::Completed, registers: Registers::ZERO, memory: [0; MEMORY_BYTES] }
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self::new()
    }
}
