//! The tables as an operating system reads them.

use super::*;

fn tables(vcpus: u16) -> Tables {
    build(&Platform { vcpus }).unwrap()
}

/// The table at `address`.
fn at(tables: &Tables, address: u64) -> &[u8] {
    let (_, bytes) = tables.blobs.iter().find(|(gpa, _)| gpa.as_u64() == address).unwrap();
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The tables that the XSDT lists.
fn listed(tables: &Tables) -> Vec<&[u8]> {
    let rsdp = at(tables, tables.rsdp.as_u64());
    let xsdt = at(tables, number(&rsdp[24..32]));
    xsdt[36..].chunks(8).map(|entry| at(tables, number(entry))).collect()
}

fn table<'a>(tables: &'a Tables, signature: &[u8]) -> &'a [u8] {
    listed(tables).into_iter().find(|table| table.starts_with(signature)).unwrap()
}

/// Type and contents of each structure of the MADT.
fn madt_structures(madt: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut structures) = (&madt[44..], Vec::new());
    while let [_, len, ..] = rest {
        let (structure, after) = rest.split_at((*len).into());
        structures.push(structure);
        rest = after;
    }
    structures
}

#[test]
fn the_rsdp_is_found_where_it_is_searched_for_and_its_sums_are_zero() {
    let tables = tables(1);
    assert_eq!(tables.rsdp.as_u64(), 0xe0000);
    let rsdp = at(&tables, 0xe0000);
    assert_eq!(&rsdp[..8], b"RSD PTR ");
    assert_eq!((sum(&rsdp[..20]), sum(rsdp)), (0, 0));
}

#[test]
fn every_table_tells_its_length_and_sums_to_zero() {
    for (gpa, bytes) in &tables(4).blobs {
        let is_rsdp = bytes.starts_with(b"RSD PTR ");
        let length = if is_rsdp { &bytes[20..24] } else { &bytes[4..8] };
        assert_eq!(number(length), bytes.len() as u64, "at {gpa}");
        // The FACS has no checksum (5.2.10).
        assert!(sum(bytes) == 0 || bytes.starts_with(b"FACS"), "at {gpa}");
    }
}

#[test]
fn tables_are_aligned_do_not_overlap_and_stay_below_1_mib() {
    let mut blobs = tables(64).blobs;
    blobs.sort_by_key(|(gpa, _)| gpa.as_u64());
    let mut end = u64::from(TABLES_START);
    for (gpa, bytes) in blobs {
        assert!(gpa.is_aligned(64) && gpa.as_u64() >= end);
        end = gpa.as_u64() + bytes.len() as u64;
    }
    assert!(end <= u64::from(TABLES_END));
}

#[test]
fn the_fadt_names_the_fixed_hardware() {
    let tables = tables(1);
    let fadt = table(&tables, b"FACP");
    assert_eq!((fadt.len(), fadt[8]), (276, 6));
    assert_eq!(number(&fadt[46..48]), 9, "SCI");
    assert_eq!(number(&fadt[56..60]), 0x600, "PM1a event");
    assert_eq!(number(&fadt[64..68]), 0x604, "PM1a control");
    assert_eq!(number(&fadt[76..80]), 0x608, "PM timer");
    assert_eq!(number(&fadt[120..128]), 0x0cf9, "reset register, low half");
    assert_eq!(fadt[128], 6, "reset value");
    assert_eq!(fadt[108], 0x32, "century");
    assert_eq!(number(&fadt[109..111]) & 2, 0, "no keyboard controller to probe");
    assert_eq!(&at(&tables, number(&fadt[36..40]))[..4], b"FACS");
    assert_eq!(&at(&tables, number(&fadt[140..148]))[..4], b"DSDT");
}

#[test]
fn the_dsdt_names_the_sleep_type_that_powers_off() {
    let tables = tables(1);
    let fadt = table(&tables, b"FACP");
    let dsdt = at(&tables, number(&fadt[40..44]));
    // Name (_S5_, Package (4) { 5, 0, 0, 0 })
    let s5 = [0x08, b'_', b'S', b'5', b'_', 0x12, 0x07, 0x04, 0x0a, 0x05, 0x00, 0x00, 0x00];
    assert!(dsdt.windows(s5.len()).any(|window| window == s5));
}

#[test]
fn the_mcfg_leads_to_bus_0() {
    let tables = tables(1);
    let mcfg = table(&tables, b"MCFG");
    assert_eq!(mcfg.len(), 60);
    assert_eq!(number(&mcfg[44..52]), 0xe000_0000);
    assert_eq!(number(&mcfg[52..60]), 0, "segment 0, buses 0 to 0");
}

#[test]
fn the_dsdt_routes_pin_a_of_every_slot_to_an_input_of_both_controllers() {
    let tables = tables(1);
    let fadt = table(&tables, b"FACP");
    let dsdt = at(&tables, number(&fadt[40..44]));
    for slot in 1..32 {
        let gsi = if slot % 2 == 0 { 10 } else { 11 };
        // Package (4) { 0x00ssffff, 0, 0, gsi }
        let entry = [0x12, 0x0b, 0x04, 0x0c, 0xff, 0xff, slot, 0x00, 0x00, 0x00, 0x0a, gsi];
        assert!(dsdt.windows(entry.len()).any(|window| window == entry), "slot {slot}");
    }
}

#[test]
fn the_madt_lists_processors_the_ioapic_and_the_two_overrides() {
    let tables = tables(2);
    let madt = table(&tables, b"APIC");
    assert_eq!(number(&madt[36..40]), 0xfee0_0000);
    assert_eq!(number(&madt[40..44]), 1);
    let expected: [&[u8]; 6] = [
        &[0, 8, 0, 0, 1, 0, 0, 0],
        &[0, 8, 1, 1, 1, 0, 0, 0],
        &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
        &[2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
        &[2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0],
        &[4, 6, 0xff, 0, 0, 1],
    ];
    assert_eq!(madt_structures(madt), expected);
}

#[test]
fn apic_ids_from_255_on_are_x2apics() {
    let tables = tables(257);
    let madt = table(&tables, b"APIC");
    let structures = madt_structures(madt);
    let of_type = |kind: u8| structures.iter().filter(move |structure| structure[0] == kind);
    assert_eq!((of_type(0).count(), of_type(9).count(), of_type(0x0a).count()), (255, 2, 1));
    assert_eq!(number(&of_type(9).next_back().unwrap()[4..8]), 256);
}

#[test]
fn more_vcpus_than_fit_are_refused() {
    assert_eq!(build(&Platform { vcpus: u16::MAX }), Err(TooManyVcpus(u16::MAX)));
}
