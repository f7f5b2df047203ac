//! Walks a guest's own page tables, as the processor would.

use crate::{Access, Exception, Vcpu};
use base::Gpa;
use seams::{GuestMemory, MemoryError};

/// The registers that decide how linear addresses become guest-physical ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// The privilege level of the access, 0-3.
    pub cpl: u8,
    /// RFLAGS.
    pub rflags: u64,
    /// The width of a guest-physical address in bits.
    pub physical_bits: u32,
}

impl Paging {
    /// The registers of `vcpu` now.
    pub fn of(_vcpu: &impl Vcpu, _physical_bits: u32) -> Self {
        todo!()
    }
}

/// Why a linear address leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkFault {
    /// The processor would raise `#PF` with this error code, and put the linear address into CR2.
    PageFault {
        /// The error code.
        error_code: u32,
        /// The address for CR2.
        linear: u64,
    },
    /// The address is not canonical: `#GP(0)` (`#SS(0)` for the stack).
    NotCanonical,
    /// A table, or the bytes wanted, lie where the guest has no memory.
    Memory(MemoryError),
}

impl WalkFault {
    /// The exception to raise, if the guest is to get one.
    pub fn exception(self) -> Option<Exception> {
        todo!()
    }
}

/// Where `linear` leads.
///
/// # Errors
/// As [`WalkFault`] says.
pub fn translate(
    _memory: &impl GuestMemory,
    _paging: &Paging,
    _linear: u64,
    _access: Access,
) -> Result<Gpa, WalkFault> {
    todo!()
}

/// The longest instruction, in bytes (Intel SDM, volume 2, section 2.3.11).
pub const INSTRUCTION_MAX_BYTES: usize = 15;

/// Instruction bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    bytes: [u8; INSTRUCTION_MAX_BYTES],
    len: u8,
}

impl Fetched {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The bytes at CS:RIP: 15, or fewer where the next page does not answer.
///
/// # Errors
/// When not even the first byte can be fetched.
pub fn fetch(
    _memory: &impl GuestMemory,
    _vcpu: &impl Vcpu,
    _physical_bits: u32,
) -> Result<Fetched, WalkFault> {
    todo!()
}
