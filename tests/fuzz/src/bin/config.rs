//! The configuration: any bytes give a configuration or an error with a position, and never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = config::parse_bytes(data) {
        // The message is what the operator gets: making it must not fail either.
        assert!(error.to_string().contains(':'), "{error}");
    }
});
