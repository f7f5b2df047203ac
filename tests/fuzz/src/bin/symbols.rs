//! `xtask symbolize`: any log is translated without a panic, and keeps all that it said; any bytes are a symbol table or
//! none.
//!
//! The input: length of an ELF file u16, the file, the log.

#![no_main]

use fuzz::Bytes;
use libfuzzer_sys::fuzz_target;
use xtask::symbolize::{Functions, translate_line};

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    let elf_bytes = input.u16();
    let functions = Functions::read(input.take(elf_bytes.into())).unwrap_or_default();
    for line in String::from_utf8_lossy(input.rest()).lines() {
        let translated = translate_line(line, &functions, |offset| vec![format!("at {offset:#x}")]);
        let first = translated.lines().next().unwrap_or_default();
        // What was added stands in angle brackets after each offset.
        assert!(first.len() >= line.len() && translated.ends_with('\n'));
        assert!(line.contains("image+0x") || first == line);
    }
});
