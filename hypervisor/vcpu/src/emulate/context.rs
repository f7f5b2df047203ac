//! What an emulated instruction can reach: the seam between the emulator and a VM.

use super::Decodings;
use crate::walk::WalkFault;
use crate::{Access, Gprs, Segment, SegmentName, VectorValue};
use base::{Gpa, Port};
use seams::MemoryError;

/// By whose rights an address is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Those of the current privilege level.
    Current,
    /// A supervisor's, whatever the level: the processor's own look at a descriptor or the TSS.
    Supervisor,
}

/// The access by which the instruction exited: guest page tables have agreed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exited {
    /// Where it led.
    pub gpa: Gpa,
    /// What it was.
    pub access: Access,
}

/// A vCPU's registers, the memory and ports it reaches.
///
/// An access to memory has 1, 2, 4 or 8 bytes and never spans two pages. What an instruction accesses beyond that comes in
/// pieces, the lowest first.
pub trait EmulationContext {
    /// The general-purpose registers.
    fn gprs(&self) -> &Gprs;
    /// The general-purpose registers, to change.
    fn gprs_mut(&mut self) -> &mut Gprs;
    /// The address of the instruction.
    fn rip(&self) -> u64;
    /// An instruction has completed: continues at `rip`. Ends the interrupt shadow, and clears RFLAGS.RF.
    fn set_rip(&mut self, rip: u64);
    /// RFLAGS.
    fn rflags(&self) -> u64;
    /// Replaces RFLAGS.
    fn set_rflags(&mut self, value: u64);
    /// The hidden and visible parts of a segment register.
    fn segment(&self, name: SegmentName) -> Segment;
    /// CR0 as the guest sees it.
    fn cr0(&self) -> u64;
    /// CR4 as the guest sees it.
    fn cr4(&self) -> u64;
    /// XCR0.
    fn xcr0(&self) -> u64;
    /// The current privilege level, 0-3.
    fn cpl(&self) -> u8;
    /// Whether a breakpoint is enabled, which an element of a repeated string could hit.
    fn watches(&self) -> bool;

    /// Where `linear` leads by the guest's page tables.
    ///
    /// # Errors
    /// As [`WalkFault`] says.
    fn translate(&mut self, linear: u64, access: Access, privilege: Privilege) -> Result<Gpa, WalkFault>;

    /// Reads memory or a device; bits past `size_bytes` are zero.
    ///
    /// # Errors
    /// The first address that refused, and why.
    fn read(&mut self, gpa: Gpa, size_bytes: u8) -> Result<u64, MemoryError>;

    /// Writes memory or a device.
    ///
    /// # Errors
    /// The first address that refused, and why.
    fn write(&mut self, gpa: Gpa, size_bytes: u8, value: u64) -> Result<(), MemoryError>;

    /// Replaces the naturally aligned `len_bytes` (1, 2, 4 or 8) at `gpa` by `new` if they equal `current`, atomically;
    /// returns what was there. A device is written, and `current` returned: nothing can come between.
    ///
    /// # Errors
    /// The address when it refused.
    fn compare_exchange(
        &mut self,
        gpa: Gpa,
        len_bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<u64, MemoryError>;

    /// Reads 1, 2 or 4 bytes from a port. The right to do so has been checked.
    fn read_port(&mut self, port: Port, size_bytes: u8) -> u32;
    /// Writes 1, 2 or 4 bytes to a port. The right to do so has been checked.
    fn write_port(&mut self, port: Port, size_bytes: u8, value: u32);

    /// Where decodings are kept for the next time, if they are.
    fn decodings(&mut self) -> Option<&mut Decodings> {
        None
    }

    /// Bits 255:0 of vector register `number`, 0-15; what the processor lacks is zero.
    fn vector(&mut self, number: u8) -> [u8; 32];
    /// Replaces vector register `number`, 0-15.
    fn set_vector(&mut self, number: u8, value: VectorValue);
}
