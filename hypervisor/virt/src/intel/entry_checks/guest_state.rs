//! Checks on the guest-state area (SDM 325462, volume 3, section 27.3.1).

mod descriptor_tables;
mod instruction_pointer;
mod non_register;
mod pdptes;
mod registers;
mod segments;

use super::bits::{entry, rflags};
use super::{Field, Refusal, View};

/// All of them, in the manual's order.
pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    registers::check(view)?;
    segments::check(view)?;
    descriptor_tables::check(view)?;
    instruction_pointer::check(view)?;
    non_register::check(view)?;
    pdptes::check(view)
}

impl View<'_> {
    /// Whether the guest is in IA-32e mode after the entry.
    fn is_ia32e(&self) -> bool {
        self.has(Field::ENTRY_CONTROLS, entry::IA32E_MODE_GUEST)
    }

    /// Whether it is in virtual-8086 mode then.
    fn is_virtual_8086(&self) -> bool {
        self.has(Field::GUEST_RFLAGS, rflags::VM)
    }
}
