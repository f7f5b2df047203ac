//! The vendor-neutral virtual CPU: state, exits, events, permission tables, decoder and the trait that virt implements.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
