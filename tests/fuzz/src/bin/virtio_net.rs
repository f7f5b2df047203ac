//! The virtio network device, with a driver that means harm (`fuzz::virtio`).

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::virtio::net(data));
