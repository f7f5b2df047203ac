//! The loaders, with a kernel of any kind or none (`fuzz::loading`).

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::loading::load(data, |_| {}));
