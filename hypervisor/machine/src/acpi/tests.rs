//! Tables in a small memory of a test's own.

use super::*;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

/// A table of `signature` with `body` and a right checksum.
pub(crate) fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![0; 36];
    bytes[..4].copy_from_slice(signature);
    bytes.extend(body);
    let len = u32::try_from(bytes.len()).unwrap();
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[9] = bytes.iter().fold(0_u8, |sum, &b| sum.wrapping_sub(b));
    bytes
}

const XSDT: usize = 0x100;
const RSDT: usize = 0x200;
const TABLES: usize = 0x400;

fn rsdp(revision: u8) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0COFFER".to_vec();
    bytes.push(revision);
    bytes.extend((RSDT as u32).to_le_bytes());
    bytes[8] = bytes.iter().fold(0_u8, |sum, &b| sum.wrapping_sub(b));
    bytes.extend(36_u32.to_le_bytes());
    bytes.extend((XSDT as u64).to_le_bytes());
    bytes.extend([0; 4]);
    bytes[32] = bytes.iter().fold(0_u8, |sum, &b| sum.wrapping_sub(b));
    bytes
}

/// Memory that holds an RSDP at 0, both root tables, and `tables` from 0x400 on.
fn memory(revision: u8, tables: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = std::vec![0; TABLES];
    let (mut long, mut short) = (Vec::new(), Vec::new());
    for table in tables {
        long.extend((bytes.len() as u64).to_le_bytes());
        short.extend((bytes.len() as u32).to_le_bytes());
        bytes.extend(table);
    }
    for (at, content) in
        [(0, rsdp(revision)), (XSDT, self::table(b"XSDT", &long)), (RSDT, self::table(b"RSDT", &short))]
    {
        bytes[at..][..content.len()].copy_from_slice(&content);
    }
    bytes
}

fn look<'a>(memory: &'a [u8]) -> impl Fn(Hpa, usize) -> Option<&'a [u8]> {
    move |address, len| memory.get(usize::try_from(address.as_u64()).ok()?..)?.get(..len)
}

#[test]
fn tables_are_found_by_either_root() {
    for revision in [0, 2] {
        let memory = memory(revision, &[table(b"MCFG", &[0; 8]), table(b"DMAR", &[1; 12])]);
        let tables = Tables::find(Hpa::ZERO, &look(&memory)).unwrap();
        assert_eq!(tables.skipped, 0);
        assert_eq!(tables.get(Signature::DMAR).unwrap().body(), [1; 12]);
        assert_eq!(tables.get(Signature::IVRS), Err(AcpiError::Missing(Signature::IVRS)));
        assert!(tables.mcfg().unwrap().windows.is_empty());
    }
}

#[test]
fn a_broken_table_is_skipped_and_a_broken_root_is_an_error() {
    let mut bad = table(b"DMAR", &[1; 12]);
    bad[40] ^= 1;
    let mut memory = memory(2, &[bad, table(b"IVRS", &[])]);
    let tables = Tables::find(Hpa::ZERO, &look(&memory)).unwrap();
    assert_eq!((tables.skipped, tables.iter().count()), (1, 1));
    drop(tables);
    memory[XSDT + 10] ^= 1;
    let error = Tables::find(Hpa::ZERO, &look(&memory)).unwrap_err();
    assert_eq!(error, AcpiError::BadChecksum(Signature(*b"XSDT"), Hpa::new(XSDT as u64).unwrap()));
}

#[test]
fn a_wrong_rsdp_says_where_and_what_to_do() {
    let error = Tables::find(Hpa::ZERO, &look(&[0; 64])).unwrap_err();
    assert_eq!(error.to_string(), "ACPI: no RSDP at 0x0; is ACPI enabled in the firmware's setup?");
    let outside = Hpa::new(0x1000).unwrap();
    assert_eq!(Tables::find(outside, &look(&[0; 64])).unwrap_err(), AcpiError::Unreadable(outside));
}

#[test]
fn s5_is_found_in_the_dsdt_or_in_an_ssdt() {
    let aml = b"\x08_S5_\x12\x06\x04\x0a\x05\x00\x00\x00";
    for (dsdt, ssdt) in [(&aml[..], &b""[..]), (b"", aml)] {
        let dsdt = table(b"DSDT", dsdt);
        let mut fadt = std::vec![0; 80];
        fadt[4..8].copy_from_slice(&(TABLES as u32).to_le_bytes());
        let memory = memory(2, &[dsdt, table(b"FACP", &fadt), table(b"SSDT", ssdt)]);
        let tables = Tables::find(Hpa::ZERO, &look(&memory)).unwrap();
        let fadt = tables.fadt().unwrap();
        assert_eq!(tables.sleep_types_s5(&fadt, &look(&memory)), Ok(SleepTypes { pm1a: 5, pm1b: 0 }));
    }
}

proptest! {
    #[test]
    fn no_memory_upsets_the_search(mut memory in proptest::collection::vec(any::<u8>(), 0..2048), whole: bool) {
        let rsdp = rsdp(2);
        if whole && memory.len() > rsdp.len() {
            memory[..rsdp.len()].copy_from_slice(&rsdp);
        }
        let _ = Tables::find(Hpa::ZERO, &look(&memory));
    }

    /// One byte of a sound memory is changed: what comes out is less, never a failure to come out.
    #[test]
    fn one_wrong_byte_costs_one_table_or_the_whole(at in 0..0x500_usize, value: u8) {
        let mut memory = memory(2, &[table(b"APIC", &[0; 50]), table(b"FACP", &[0; 200])]);
        if let Some(byte) = memory.get_mut(at) {
            *byte = value;
        }
        if let Ok(tables) = Tables::find(Hpa::ZERO, &look(&memory)) {
            let _ = tables.madt();
            if let Ok(fadt) = tables.fadt() {
                let _ = tables.sleep_types_s5(&fadt, &look(&memory));
            }
        }
    }
}
