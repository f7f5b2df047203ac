//! Saved state: any bytes are read to their end or refused, and never panic.

#![no_main]

use base::state::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut reader = Reader::new(data);
    while let Ok(Some(section)) = reader.next_section() {
        assert!(section.name.len() <= data.len());
    }
});
