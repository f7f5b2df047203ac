//! The walk of a guest's page tables: any tables and registers give an answer, and never a panic.
//! - A walk leads to the same place a second time, at the offset in its page that the linear address has.
//! - It changes accessed and dirty bits alone, and nothing when it faults.
//! - What can be written can be read.
//! - Fetched bytes are those at the place that the address leads to.
//!
//! Not claimed where tables lead back to PAE's four pointers: those have reserved bits where other entries have marks,
//! so a walk that marks one makes it faulty, and processors differ in when they read them (Intel SDM, volume 3, section
//! 4.4.1; AMD APM 24593, volume 2, section 15.25.10).

#![no_main]

use base::{Gpa, PAGE_BYTES};
use fuzz::{Bytes, SparseMemory};
use libfuzzer_sys::fuzz_target;
use seams::GuestMemory;
use vcpu::Access;
use vcpu::control::{cr4, efer};
use vcpu::walk::{Paging, WalkFault, fetch_at, translate};

const MEMORY_BYTES: u64 = 0x4_0000;
const ACCESSED_DIRTY: u64 = 0x60;
const CR0_PE_PG: u64 = 1 << 31 | 1;

/// Registers, mostly with paging on.
fn paging(input: &mut Bytes<'_>) -> Paging {
    let flags = input.u8();
    Paging {
        cr0: input.u32() as u64 | if flags & 1 == 0 { CR0_PE_PG } else { 0 },
        cr3: input.u32().into(),
        cr4: input.u32().into(),
        efer: input.u16().into(),
        cpl: flags >> 1 & 3,
        rflags: if flags & 8 == 0 { 2 } else { 1 << 18 | 2 },
        physical_bits: 32 + u32::from(flags >> 4) % 21,
    }
}

/// Memory with 8-byte entries at the places, counted in entries, that the input names.
fn memory(input: &mut Bytes<'_>) -> SparseMemory {
    let memory = SparseMemory::new(MEMORY_BYTES);
    while !input.is_empty() {
        let at = Gpa::from_low_bits(u64::from(input.u16()) * 8 % MEMORY_BYTES);
        let entry = input.u64();
        memory.write(at, &entry.to_le_bytes()).expect("the place is in memory");
    }
    memory
}

/// The words of `before` and `after` with accessed and dirty bits removed: two entries in each word of a legacy table.
fn without_marks(memory: &SparseMemory) -> Vec<(u64, u64)> {
    let marks = ACCESSED_DIRTY << 32 | ACCESSED_DIRTY;
    memory.words().into_iter().map(|(at, word)| (at, word & !marks)).filter(|(_, word)| *word != 0).collect()
}

/// PAE's four pointers, if that is the mode.
fn pointers(memory: &SparseMemory, paging: &Paging) -> Vec<(u64, u64)> {
    let is_pae = paging.cr4 & cr4::PAE != 0 && paging.efer & efer::LMA == 0;
    let first = paging.cr3 & !31;
    memory.words().into_iter().filter(|(at, _)| is_pae && (first..first + 32).contains(at)).collect()
}

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    let paging = paging(&mut input);
    let access = input.pick(&[Access::Read, Access::Write, Access::Execute]);
    let linear = input.u64();
    let memory = memory(&mut input);
    let before = memory.clone();

    let found = translate(&memory, &paging, linear, access);
    if pointers(&memory, &paging) != pointers(&before, &paging) {
        return;
    }
    match found {
        Ok(gpa) => {
            assert_eq!(gpa.as_u64() % PAGE_BYTES, linear % PAGE_BYTES);
            assert_eq!(without_marks(&memory), without_marks(&before));
        }
        Err(fault) => {
            assert_eq!(memory.words(), before.words());
            assert!(!matches!(fault, WalkFault::PageFault { error_code, .. } if error_code >= 32));
        }
    }
    assert_eq!(translate(&memory, &paging, linear, access), found);
    if access == Access::Write && found.is_ok() {
        assert_eq!(translate(&memory, &paging, linear, Access::Read), found);
    }
    // An instruction can begin in another page than the bytes behind it, whose walk marks too.
    let fetched = fetch_at(&memory, &paging, linear);
    if pointers(&memory, &paging) != pointers(&before, &paging) {
        return;
    }
    if let Ok(fetched) = fetched {
        let at = translate(&memory, &paging, linear, Access::Execute).expect("it was fetched from");
        let first = memory.read_u8(at).expect("it was fetched from");
        assert_eq!(fetched.as_slice().first(), Some(&first));
    }
});
