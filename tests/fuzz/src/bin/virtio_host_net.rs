//! The host's driver of virtio network cards and one that means harm: the driver never panics, names no memory but its own,
//! and gives nothing but frames. The input is as `virtio_host_blk`'s.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::hostile_virtio::run_network(data));
