//! Everything that one does with the project, as one program (`cargo xtask`) and as a library for the scenarios.
//!
//! It must never change a toolchain that rustup manages, and never write outside of the build folder, the
//! cache and what the person named.
//!
//! Principles:
//! 1. A fresh machine needs one command: whatever a step needs, the step before has made (`setup`).
//! 2. All comes from the package registries, is checked against their checksums, and is cached by version.
//! 3. Where it cannot help, it prints the exact commands to type.
//! 4. Anything that takes over two seconds shows that it lives.
//!
//! For scenarios (`tests/system`), in the order of use:
//! - [`scenario::Scenario`] names a test, [`scenario::main`] runs a list of them;
//! - [`scenario::Lab`] gives a scenario its images: configuration text plus files in, disk image out;
//! - [`emulator::Machine`] boots an image, [`emulator::Emulator`] is driven over its serial line with
//!   `expect`, `send` and `wait_exit`.
#![forbid(unsafe_code)]

pub mod bench;
pub mod build;
pub mod check;
pub mod demo;
pub mod emulator;
pub mod guest;
pub mod image;
pub mod medium;
pub mod paths;
pub mod process;
pub mod progress;
pub mod run;
pub mod scenario;
pub mod setup;
pub mod symbolize;
pub mod terminal;
pub mod test;
pub mod toolchain;
