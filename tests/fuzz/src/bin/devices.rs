//! The devices: no sequence of accesses, waits, inputs, resets and saves breaks what holds for all of them
//! (`fuzz::drive`). The input's first byte picks the device.

#![no_main]

use fuzz::{Bytes, models};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    models::pick(&mut input, models::Start::PowerOn);
});
