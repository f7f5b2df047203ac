//! Saved devices: any bytes are taken over or refused, and never panic. A device that refuses is as it was; one that
//! accepts saves the same again, and works on as any device does (`fuzz::drive`).
//!
//! The input: which device u8, length of its state u16, the state (CBOR), then what a driver does.

#![no_main]

use fuzz::{Bytes, models};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    models::pick(&mut input, models::Start::Loaded);
});
