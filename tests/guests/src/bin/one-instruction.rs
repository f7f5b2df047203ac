//! Exits by one instruction again and again, each of which asks a hypervisor that counts shares for a snapshot: what two
//! of them differ by, besides that instruction, is what the counting takes for the guest's and is not.

#![no_std]
#![no_main]

use core::arch::asm;
use guests::checks;

/// Where hypervisors that count shares take the name of a snapshot.
const MARKS: u16 = 0xf5;

/// Called by the entry code. There is nothing to check.
#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    // SAFETY: writes to a port at which nothing else answers, one right after the other.
    unsafe {
        asm!(
            "out dx, al",
            "out dx, al",
            "out dx, al",
            "out dx, al",
            in("dx") MARKS,
            in("al") 0_u8,
            options(nostack, nomem, preserves_flags),
        );
    }
    checks::exit(0)
}
