//! Control registers, one function to read and one to write each; a write may fault.
//!
//! Unsafe because each is an instruction of assembly. Callers write only what leaves this program running, or what must
//! be refused.

use crate::checks::Probe;
use crate::probe;
use core::arch::asm;

macro_rules! control_register {
    ($name:ident, $read:ident, $write:ident) => {
        #[doc = concat!("Reads ", stringify!($name), ".")]
        pub fn $read() -> u64 {
            let value: u64;
            // SAFETY: a read has no effect.
            unsafe { asm!(concat!("mov {}, ", stringify!($name)), out(reg) value, options(nomem, nostack)) };
            value
        }

        #[doc = concat!("Writes ", stringify!($name), ".")]
        pub fn $write(value: u64) -> Probe {
            // SAFETY: where the value is permitted, this program runs on: see the module.
            unsafe { probe!(concat!("mov ", stringify!($name), ", {value}"), value = in(reg) value) }
        }
    };
}

control_register!(cr0, cr0, set_cr0);
control_register!(cr3, cr3, set_cr3);
control_register!(cr4, cr4, set_cr4);
control_register!(cr8, cr8, set_cr8);
control_register!(dr0, dr0, set_dr0);
control_register!(dr1, dr1, set_dr1);
control_register!(dr2, dr2, set_dr2);
control_register!(dr3, dr3, set_dr3);
control_register!(dr6, dr6, set_dr6);
control_register!(dr7, dr7, set_dr7);
