//! DMAR and IVRS: whatever is in them, the units found have registers somewhere, none is named twice, and reading them
//! never panics.
//!
//! The input describes soundly summed tables (`fuzz::acpi`).

#![no_main]

use base::Hpa;
use fuzz::{Bytes, acpi};
use iommu::Units;
use libfuzzer_sys::fuzz_target;
use machine::acpi::Tables;

fuzz_target!(|data: &[u8]| {
    let memory = acpi::memory(&mut Bytes::new(data), &[*b"DMAR", *b"IVRS"]);
    let tables = Tables::find(Hpa::ZERO, &acpi::look(&memory)).expect("the root is sound");
    let units = Units::discover(&tables);
    for (n, unit) in units.found.iter().enumerate() {
        assert_ne!(unit.base, Hpa::ZERO);
        assert!(units.found[..n].iter().all(|u| (u.base, u.segment) != (unit.base, unit.segment)));
    }
    assert!(units.to_string().contains("not isolated"));
});
