//! A virtual machine: lifecycle, loaders, and exits dispatched to devices. Runs on a host with fakes.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
