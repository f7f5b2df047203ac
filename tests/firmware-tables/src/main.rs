//! Installs the tables of the library, and does what else a test wants of firmware; then firmware tries its next disk,
//! which is the one under test.
//!
//! A file `LOCKVMX` beside it stands for a setup menu in which VT-x is switched off.
//!
//! Unsafe to read device registers, to write an MSR, and to hand tables to firmware.

#![cfg_attr(target_os = "uefi", no_main, no_std)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod firmware;

/// On other systems there is no firmware to complete.
#[cfg(not(target_os = "uefi"))]
fn main() -> std::process::ExitCode {
    eprintln!("firmware-tables is a UEFI application: `cargo xtask run --cpu intel` builds and starts it");
    std::process::ExitCode::FAILURE
}
