//! Firmware's tables: whatever is in them or leads to them, what comes out is a value within its bounds or an error
//! that can be shown, and never a panic.
//!
//! The input describes soundly summed tables (`fuzz::acpi`), or with a first byte of 0xff it is memory as it is.

#![no_main]

use base::Hpa;
use fuzz::{Bytes, acpi};
use libfuzzer_sys::fuzz_target;
use machine::acpi::{MAX_TABLES, Signature, Tables};

const SIGNATURES: [[u8; 4]; 6] = [*b"DSDT", *b"FACP", *b"APIC", *b"SPCR", *b"MCFG", *b"SSDT"];

/// A sleep type has three bits.
const SLEEP_TYPE_MAX: u8 = 7;

fuzz_target!(|data: &[u8]| {
    let memory = match data {
        [0xff, memory @ ..] => memory.to_vec(),
        tables => acpi::memory(&mut Bytes::new(tables), &SIGNATURES),
    };
    let memory = acpi::look(&memory);
    let tables = match Tables::find(Hpa::ZERO, &memory) {
        Ok(tables) => tables,
        Err(error) => return assert!(error.to_string().starts_with("ACPI: ")),
    };
    assert!(tables.iter().count() <= MAX_TABLES);
    for table in tables.iter() {
        assert!(tables.get(table.signature()).is_ok());
    }
    if let Ok(madt) = tables.madt() {
        for irq in 0..=u8::MAX {
            let _ = madt.isa_line(irq);
        }
    }
    let _ = tables.spcr();
    if let Ok(mcfg) = tables.mcfg() {
        assert!(mcfg.windows.iter().all(|window| window.first_bus <= window.last_bus));
    }
    if let Ok(fadt) = tables.fadt()
        && let Ok(types) = tables.sleep_types_s5(&fadt, &memory)
    {
        assert!(types.pm1a <= SLEEP_TYPE_MAX && types.pm1b <= SLEEP_TYPE_MAX);
    }
    if let Err(error) = tables.get(Signature::DMAR) {
        assert!(error.to_string().contains("DMAR"));
    }
});
