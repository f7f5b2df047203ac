//! The point of no return: leaves boot services, writes the last memory map into the handoff, enters the hypervisor.
//! `unsafe` because everything that firmware owns ends here.

use super::pages::{Allocations, Claim};
use super::{console, cpu, machine};
use crate::firmware::console::Console;
use boot::{Failure, memory_map};
use core::mem;
use handoff::Handoff;
use uefi::Status;
use uefi::runtime::ResetType;

/// What is needed on the way out.
pub(crate) struct Departure<'a> {
    /// All but the memory map and the time of leaving, which are known only then.
    pub(crate) handoff: Handoff,
    /// What boot has claimed.
    pub(crate) memory: &'a Allocations,
    /// Where the handoff goes.
    pub(crate) block: Claim<'a>,
    /// The virtual address of the hypervisor's entry.
    pub(crate) entry: u64,
}

/// Leaves firmware and enters the hypervisor.
///
/// The heap is boot's own and works on. What could fail was rehearsed with the memory map of a moment ago; should
/// firmware's last map be different enough to be refused, the machine is reset with a line on the serial port.
pub(crate) fn leave_and_jump(departure: Departure<'_>) -> ! {
    let Departure { mut handoff, memory, block, entry } = departure;
    // SAFETY: no protocol is open any more, and nothing of firmware's is used below but the memory map, which is
    // memory of boot's.
    let map = unsafe { uefi::boot::exit_boot_services(None) };
    console::firmware_is_gone();
    handoff.memory_map = memory_map::build(&machine::descriptors(&map), &memory.claims());
    handoff.tsc_at_exit = cpu::time_stamp();
    // Freeing it would be a call of firmware's.
    mem::forget(map);
    let Err(failure) = write(&handoff, block.bytes).map(|()| {
        let (tables, stack) = (handoff.boot_tables.start(), handoff.boot_stack);
        // SAFETY: boot services have been left; the tables were built for this entry, stack and jump.
        unsafe { cpu::jump(tables, stack, block.range.start(), entry) }
    });
    Console::new().line(format_args!("{failure}"));
    uefi::runtime::reset(ResetType::COLD, Status::LOAD_ERROR, None)
}

fn write(handoff: &Handoff, block: &mut [u8]) -> Result<(), Failure> {
    let bytes = handoff::encode(handoff)?;
    block.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
    #[cfg(feature = "seeded-faults")]
    boot::faults::damage(block, &handoff.overrides);
    Ok(())
}
