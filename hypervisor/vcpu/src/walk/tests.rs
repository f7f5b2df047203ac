//! The walk against small tables, and against tables of anything.

extern crate std;
use super::*;
use crate::control::efer;
use proptest::prelude::*;
use seams::fake::FlatMemory;
use std::vec::Vec;

const MEMORY_BYTES: u64 = 0x2_0000;
const RW_USER: u64 = PRESENT | WRITABLE | USER;
const LARGE: u64 = 1 << 7;

/// Four levels, kernel mode, everything that protects switched on.
const LONG: Paging = Paging {
    cr0: cr0::PG | cr0::PE | cr0::WP,
    cr3: 0x1000,
    cr4: cr4::PAE | cr4::SMEP | cr4::SMAP,
    efer: efer::LME | efer::LMA | efer::NXE,
    cpl: 0,
    rflags: 0,
    physical_bits: 40,
};
const USER_CODE: Paging = Paging { cpl: 3, ..LONG };

fn memory(entries: &[(u64, u64)]) -> FlatMemory {
    let memory = FlatMemory::new(MEMORY_BYTES);
    for (at, value) in entries {
        memory.write(Gpa::from_low_bits(*at), &value.to_le_bytes()).unwrap();
    }
    memory
}

/// Tables at 0x1000, 0x2000, ... that lead linear page 0x5000 to `leaf`, through `middle` rights.
fn four_levels(middle: u64, leaf: u64) -> FlatMemory {
    memory(&[
        (0x1000, 0x2000 | RW_USER),
        (0x2000, 0x3000 | RW_USER),
        (0x3000, 0x4000 | middle),
        (0x4028, leaf),
    ])
}

fn entry(memory: &FlatMemory, at: u64) -> u64 {
    memory.read_u64(Gpa::from_low_bits(at)).unwrap()
}

fn fault(code: u32, linear: u64) -> Result<Gpa, WalkFault> {
    Err(WalkFault::PageFault { error_code: code, linear })
}

fn gpa(value: u64) -> Result<Gpa, WalkFault> {
    Ok(Gpa::from_low_bits(value))
}

#[test]
fn without_paging_linear_is_physical_and_32_bits_wide() {
    let off = Paging { cr0: cr0::PE, ..LONG };
    assert_eq!(translate(&memory(&[]), &off, 0x1_2345_6789, Access::Write), gpa(0x2345_6789));
}

#[test]
fn four_levels_lead_to_a_page_and_are_marked_accessed() {
    let memory = four_levels(RW_USER, 0x9000 | RW_USER);
    assert_eq!(translate(&memory, &USER_CODE, 0x5123, Access::Read), gpa(0x9123));
    for at in [0x1000, 0x2000, 0x3000, 0x4028] {
        assert_eq!(entry(&memory, at) & (ACCESSED | DIRTY), ACCESSED, "{at:#x}");
    }
    assert_eq!(translate(&memory, &USER_CODE, 0x5123, Access::Write), gpa(0x9123));
    assert_eq!(entry(&memory, 0x4028) & DIRTY, DIRTY);
    assert_eq!(entry(&memory, 0x3000) & DIRTY, 0, "only the leaf gets dirty");
}

#[test]
fn a_refused_access_marks_nothing() {
    let memory = four_levels(RW_USER, 0x9000 | PRESENT | USER);
    assert!(translate(&memory, &USER_CODE, 0x5000, Access::Write).is_err());
    assert_eq!(entry(&memory, 0x4028) & (ACCESSED | DIRTY), 0);
}

#[test]
fn what_is_not_present_faults_without_the_present_bit() {
    let memory = four_levels(RW_USER, 0);
    assert_eq!(translate(&memory, &LONG, 0x5000, Access::Read), fault(0, 0x5000));
    let code = error_code::USER | error_code::WRITE;
    assert_eq!(translate(&memory, &USER_CODE, 0x5000, Access::Write), fault(code, 0x5000));
    assert_eq!(translate(&memory, &LONG, 1 << 39, Access::Execute), fault(error_code::FETCH, 1 << 39));
}

#[test]
fn user_code_needs_user_pages_on_every_level() {
    let code = error_code::PRESENT | error_code::USER;
    let leaf_refuses = four_levels(RW_USER, 0x9000 | PRESENT | WRITABLE);
    assert_eq!(translate(&leaf_refuses, &USER_CODE, 0x5000, Access::Read), fault(code, 0x5000));
    let middle_refuses = four_levels(PRESENT | WRITABLE, 0x9000 | RW_USER);
    assert_eq!(translate(&middle_refuses, &USER_CODE, 0x5000, Access::Read), fault(code, 0x5000));
}

#[test]
fn read_only_pages_bind_the_kernel_only_with_wp() {
    let memory = four_levels(PRESENT, 0x9000 | PRESENT | WRITABLE);
    let code = error_code::PRESENT | error_code::WRITE;
    assert_eq!(translate(&memory, &LONG, 0x5000, Access::Write), fault(code, 0x5000));
    let without = Paging { cr0: cr0::PG | cr0::PE, ..LONG };
    assert_eq!(translate(&memory, &without, 0x5000, Access::Write), gpa(0x9000));
}

#[test]
fn smap_and_smep_keep_the_kernel_off_user_pages() {
    let memory = four_levels(RW_USER, 0x9000 | RW_USER);
    assert_eq!(translate(&memory, &LONG, 0x5000, Access::Read), fault(error_code::PRESENT, 0x5000));
    let with_ac = Paging { rflags: RFLAGS_AC, ..LONG };
    assert_eq!(translate(&memory, &with_ac, 0x5000, Access::Read), gpa(0x9000));
    let code = error_code::PRESENT | error_code::FETCH;
    assert_eq!(translate(&memory, &with_ac, 0x5000, Access::Execute), fault(code, 0x5000));
    let neither = Paging { cr4: cr4::PAE, ..LONG };
    assert_eq!(translate(&memory, &neither, 0x5000, Access::Execute), gpa(0x9000));
}

#[test]
fn no_execute_binds_fetches_and_is_reserved_without_nxe() {
    let memory = four_levels(RW_USER, 0x9000 | RW_USER | NO_EXECUTE);
    let code = error_code::PRESENT | error_code::USER;
    let fetch = translate(&memory, &USER_CODE, 0x5000, Access::Execute);
    assert_eq!(fetch, fault(code | error_code::FETCH, 0x5000));
    assert_eq!(translate(&memory, &USER_CODE, 0x5000, Access::Read), gpa(0x9000));
    let without = Paging { efer: efer::LME | efer::LMA, ..USER_CODE };
    let read = translate(&memory, &without, 0x5000, Access::Read);
    assert_eq!(read, fault(code | error_code::RESERVED, 0x5000));
}

#[test]
fn reserved_bits_fault() {
    let code = error_code::PRESENT | error_code::RESERVED;
    let wide = four_levels(PRESENT, 1 << 40 | PRESENT);
    assert_eq!(translate(&wide, &LONG, 0x5000, Access::Read), fault(code, 0x5000));
    let huge = memory(&[(0x1000, 0x2000 | PRESENT | LARGE)]);
    assert_eq!(translate(&huge, &LONG, 0x5000, Access::Read), fault(code, 0x5000));
    let crooked =
        memory(&[(0x1000, 0x2000 | PRESENT), (0x2000, 0x3000 | PRESENT), (0x3000, 0x2000 | PRESENT | LARGE)]);
    assert_eq!(translate(&crooked, &LONG, 0x5000, Access::Read), fault(code, 0x5000));
}

#[test]
fn large_pages_end_the_walk_early() {
    let two_mib = memory(&[
        (0x1000, 0x2000 | PRESENT),
        (0x2000, 0x3000 | PRESENT),
        (0x3000, 0x60_0000 | PRESENT | LARGE),
    ]);
    assert_eq!(translate(&two_mib, &LONG, 0x12_3456, Access::Read), gpa(0x72_3456));
    let one_gib = memory(&[(0x1000, 0x2000 | PRESENT), (0x2000, 0x4000_0000 | PRESENT | LARGE)]);
    assert_eq!(translate(&one_gib, &LONG, 0x3012_3456, Access::Read), gpa(0x7012_3456));
}

#[test]
fn addresses_must_be_canonical_for_the_number_of_levels() {
    let memory = memory(&[]);
    for linear in [1 << 47, 0xffff_0000_0000_0000, u64::MAX >> 1] {
        assert_eq!(translate(&memory, &LONG, linear, Access::Read), Err(WalkFault::NotCanonical));
    }
    let five = Paging { cr4: LONG.cr4 | cr4::LA57, ..LONG };
    assert_eq!(translate(&memory, &five, 1 << 47, Access::Read), fault(0, 1 << 47));
    assert_eq!(translate(&memory, &five, 1 << 56, Access::Read), Err(WalkFault::NotCanonical));
}

#[test]
fn five_levels_lead_to_a_page() {
    let memory = memory(&[
        (0x1008, 0x2000 | PRESENT),
        (0x2000, 0x3000 | PRESENT),
        (0x3000, 0x4000 | PRESENT),
        (0x4000, 0x5000 | PRESENT),
        (0x5000, 0x9000 | PRESENT),
    ]);
    let five = Paging { cr4: LONG.cr4 | cr4::LA57, ..LONG };
    assert_eq!(translate(&memory, &five, 1 << 48 | 0xabc, Access::Read), gpa(0x9abc));
}

#[test]
fn pae_has_four_pointers_without_rights() {
    let pae = Paging { cr3: 0x1020, efer: efer::NXE, ..USER_CODE };
    // Linear 0xC000_0000: pointer 3, directory entry 0, table entry 0.
    let memory = memory(&[(0x1038, 0x2001), (0x2000, 0x3000 | RW_USER), (0x3000, 0x9000 | RW_USER)]);
    assert_eq!(translate(&memory, &pae, 0xc000_0123, Access::Write), gpa(0x9123));
    assert_eq!(entry(&memory, 0x1038), 0x2001, "pointers are not marked");
    memory.write(Gpa::from_low_bits(0x1038), &(0x2000 | PRESENT | ACCESSED).to_le_bytes()).unwrap();
    assert_eq!(translate(&memory, &pae, 0xc000_0123, Access::Read), gpa(0x9123), "but may be");
    memory.write(Gpa::from_low_bits(0x1038), &(0x2000 | RW_USER).to_le_bytes()).unwrap();
    let code = error_code::PRESENT | error_code::RESERVED | error_code::USER;
    assert_eq!(translate(&memory, &pae, 0xc000_0123, Access::Read), fault(code, 0xc000_0123));
}

#[test]
fn two_levels_of_4_byte_entries_and_4_mib_pages_with_36_bits() {
    let legacy = Paging { cr4: cr4::PSE, efer: 0, ..USER_CODE };
    let memory = FlatMemory::new(MEMORY_BYTES);
    let put = |at: u64, value: u32| memory.write(Gpa::from_low_bits(at), &value.to_le_bytes()).unwrap();
    put(0x1000, 0x2007);
    put(0x2014, 0x9007);
    put(0x1004, 0x0080_0087 | 3 << 13);
    put(0x1008, 0x0080_0087 | 1 << 21);
    assert_eq!(translate(&memory, &legacy, 0x5123, Access::Write), gpa(0x9123));
    assert_eq!(memory.read_u32(Gpa::from_low_bits(0x2014)), Ok(0x9067));
    assert_eq!(translate(&memory, &legacy, 0x41_2345, Access::Read), gpa(0x3_0081_2345));
    let code = error_code::PRESENT | error_code::RESERVED | error_code::USER;
    assert_eq!(translate(&memory, &legacy, 0x80_0000, Access::Read), fault(code, 0x80_0000));
    let without_pse = Paging { cr4: 0, ..legacy };
    assert!(translate(&memory, &without_pse, 0x41_2345, Access::Read).is_err(), "a table beyond memory");
}

#[test]
fn a_table_outside_of_memory_is_not_the_guests_fault_to_see() {
    let memory = memory(&[(0x1000, 0x100_0000 | PRESENT)]);
    let outside = MemoryError::Unmapped(Gpa::from_low_bits(0x100_0000));
    assert_eq!(translate(&memory, &LONG, 0, Access::Read), Err(WalkFault::Memory(outside)));
    assert_eq!(WalkFault::Memory(outside).exception(), None);
}

#[test]
fn a_fetch_crosses_into_the_next_page_or_stops_before_it() {
    let leaf = PRESENT | WRITABLE;
    let memory = four_levels(leaf, 0x9000 | leaf);
    memory.fill(Gpa::from_low_bits(0x9ff8), 8, 0x90).unwrap();
    memory.fill(Gpa::from_low_bits(0xc000), 8, 0xcc).unwrap();
    let fetched = fetch_at(&memory, &LONG, 0x5ff8).unwrap();
    assert_eq!(fetched.as_slice(), [0x90; 8]);
    memory.write(Gpa::from_low_bits(0x4030), &(0xc000 | leaf).to_le_bytes()).unwrap();
    let fetched = fetch_at(&memory, &LONG, 0x5ff8).unwrap();
    assert_eq!(fetched.as_slice().len(), 15);
    assert_eq!(fetched.as_slice()[8..], [0xcc; 7]);
    assert!(fetch_at(&memory, &LONG, 0x7000).is_err());
}

proptest! {
    #[test]
    fn any_tables_and_registers_give_an_answer(
        seed: Vec<u64>, cr0: u64, cr4: u64, efer: u64, root in 0_u64..0x20, cpl in 0_u8..4,
        linear: u64, physical_bits in 32_u32..=52, which in 0_u8..3,
    ) {
        let memory = FlatMemory::new(MEMORY_BYTES);
        // Mostly present entries that point within memory, so that walks go deep.
        for (i, value) in seed.iter().cycle().take(MEMORY_BYTES as usize / 8).enumerate() {
            let mixed = value.rotate_left(i as u32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let entry = mixed & 0x1_f0ff | PRESENT;
            memory.write(Gpa::from_low_bits(i as u64 * 8), &entry.to_le_bytes()).unwrap();
        }
        let access = [Access::Read, Access::Write, Access::Execute][usize::from(which)];
        let paging = Paging { cr0, cr3: root << 12, cr4, efer, cpl, rflags: linear, physical_bits };
        for linear in [linear, linear & 0xffff_ffff, linear & 0x7fff_ffff_ffff] {
            if let Some(gpa) = short::data(&memory, &paging, linear, access) {
                prop_assert_eq!(walk(&memory, &paging, linear, access), Ok(gpa), "the short way");
            }
            let first = translate(&memory, &paging, linear, access);
            let _ = fetch_at(&memory, &paging, linear);
            if let Err(WalkFault::PageFault { error_code, .. }) = first {
                prop_assert!(error_code < 32);
            }
        }
    }
}
