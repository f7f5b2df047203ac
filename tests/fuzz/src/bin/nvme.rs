//! The host's NVMe driver and a controller that means harm: the driver never panics, names no memory but its own, and
//! each command that it took ends once (`fuzz::hostile_nvme`).
//!
//! The input: a byte that is odd if capabilities (u64) follow; how many acts, of three bytes each, which follow; what the
//! controller does.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::hostile_nvme::run(data));
