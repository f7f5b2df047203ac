//! The host's driver of virtio block devices and one that means harm: the driver never panics, names no memory but its own,
//! and each request that it took ends once (`fuzz::hostile_virtio`).
//!
//! The input: a byte that is odd if the features offered (u64) follow; how many acts, of three bytes each, which follow;
//! what the device does.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::hostile_virtio::run_block(data));
