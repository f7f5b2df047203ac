//! The traits where floors meet: guest memory, bytes, interrupts, port I/O and the clock.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
