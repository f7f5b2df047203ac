//! The UEFI application: from firmware's entry to the hypervisor's, in the order of the steps.
//!
//! States: firmware is in charge (any failure is one line, and the next boot entry gets its turn) until
//! `leave_and_jump`; after it there is no way back, and all that can fail has been tried before.
//!
//! `firmware/` holds what `unsafe` there is in boot; the decisions are in the library.

#![cfg_attr(target_os = "uefi", no_main, no_std)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod firmware;

#[cfg(target_os = "uefi")]
mod steps;

/// On other systems there is nothing to boot.
#[cfg(not(target_os = "uefi"))]
fn main() -> std::process::ExitCode {
    eprintln!("boot is a UEFI application: build it with `cargo xtask image`");
    std::process::ExitCode::FAILURE
}
