//! Instructions by name on memory that the hypervisor emulates: all forms of MOV, arithmetic, exchanges, bits, stack,
//! strings and vectors, and what faults.

#![no_std]
#![no_main]

use guests::{guest, instructions};

guest!("instructions", instructions::check_named);
