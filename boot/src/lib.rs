//! What boot decides: all of it that needs no firmware, so that it runs under `cargo test` on any host.
//!
//! The program itself is `main.rs` with the modules in `firmware/`; they alone talk to UEFI and hold `unsafe`. The way
//! from power-on to the hypervisor's entry, with a picture, is in `docs/boot.md`.
//!
//! # Principles
//! - **Fail before the point of no return.** Whatever can go wrong is found while firmware can still take over.
//! - **One failure, one line.** It names the file, line or device, and the remedy ([`Failure`]).
//! - **Every file is hostile.** Lengths, offsets and relocations are checked before they are used.
//! - **Nothing is believed twice.** Boot reads the configuration to find files; the kernel reads it again for itself.
//!
//! # What it must never do
//! Choose policy for the hypervisor, or leave memory both writable and executable.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

pub mod device_path;
pub mod elf;
pub mod entropy;
pub mod failure;
#[cfg(feature = "seeded-faults")]
pub mod faults;
pub mod memory_map;
pub mod overrides;
pub mod page_tables;
pub mod source;
pub mod wall_clock;

pub use failure::Failure;

use alloc::string::String;

/// The directory of Cofferdam's files on the ESP.
pub const DIRECTORY: &str = "\\cofferdam\\";

/// The hypervisor's file in that directory.
pub const HYPERVISOR_FILE: &str = "hypervisor.elf";

/// The file of boot overrides in that directory, which need not exist.
pub const OVERRIDES_FILE: &str = "overrides";

/// The size of the stack at the hypervisor's entry.
pub const BOOT_STACK_BYTES: u64 = 64 * base::KIB;

/// This build: the version, and the commit if the builder has set `COFFERDAM_BUILD_ID`.
pub const BUILD_ID: &str = match option_env!("COFFERDAM_BUILD_ID") {
    Some(id) => id,
    None => concat!(env!("CARGO_PKG_VERSION"), " (unnamed build)"),
};

/// The place on the ESP of `path`, which is relative to [`DIRECTORY`].
pub fn place_on_esp(path: &str) -> String {
    let mut place = String::from(DIRECTORY);
    place.extend(path.chars().map(|c| if c == '/' { '\\' } else { c }));
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_directory_with_the_separators_of_uefi() {
        assert_eq!(place_on_esp("guests/demo/vmlinux"), "\\cofferdam\\guests\\demo\\vmlinux");
    }
}
