//! The ends of the hypervisor that nobody asked for: a panic, which is an error of ours, and a host that it cannot run on.

use core::fmt::{Display, Write};
use core::panic::PanicInfo;
use machine::interrupts;
use machine::serial::dying::DyingWriter;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    machine::epitaph::panic(info)
}

/// Says why the hypervisor cannot run here, and stops. There is no firmware to go back to.
pub fn refuse(reason: &dyn Display) -> ! {
    // The writer cannot fail; what does not reach the line is lost either way.
    let _ = writeln!(DyingWriter::take_over(), "\ncofferdam: cannot run: {reason}\ncofferdam: halted");
    interrupts::halt_for_ever()
}
