//! The loaders, with a kernel with a Multiboot header of its own or any addresses (`fuzz::loading`). A fuzzer does not find its marks by chance.

#![no_main]

use fuzz::loading;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| loading::load(data, loading::as_multiboot));
