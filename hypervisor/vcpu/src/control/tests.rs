//! The rules as tables: registers before, the write, what follows.

use super::cr0::*;
use super::cr4::*;
use super::efer::{FFXSR, LMA, LME, NXE, SCE, SVME};
use super::*;
use proptest::prelude::*;

const ALLOWED: Allowed = Allowed {
    cr4: VME
        | TSD
        | DE
        | PSE
        | PAE
        | MCE
        | PGE
        | PCE
        | OSFXSR
        | OSXMMEXCPT
        | UMIP
        | PCIDE
        | OSXSAVE
        | SMEP
        | SMAP,
    efer: SCE | LME | LMA | NXE,
    xcr0: xcr0::X87 | xcr0::SSE | xcr0::AVX | xcr0::AVX512 | xcr0::PKRU,
    physical_bits: 48,
};

const REAL: Current = Current { cr0: ET, cr3: 0, cr4: 0, efer: 0, cs_long: false };
const LONG: Current =
    Current { cr0: PG | WP | ET | PE, cr3: 0x1000, cr4: PAE, efer: LME | LMA, cs_long: true };
const COMPATIBILITY: Current = Current { cs_long: false, ..LONG };

fn refused(result: Result<Effect, Exception>) -> bool {
    result == Err(Exception::GENERAL_PROTECTION)
}

#[test]
fn combinations_that_cr0_cannot_have_fault() {
    for new in [PG, NW, NW | PE, 1 << 32, 1 << 63 | PE] {
        assert!(refused(check_cr0(new, &REAL)), "{new:#x}");
    }
}

#[test]
fn reserved_bits_of_the_low_half_are_ignored_and_et_is_fixed() {
    assert_eq!(check_cr0(PE | 1 << 28 | 1 << 6, &REAL).unwrap().value, PE | ET);
}

#[test]
fn paging_with_lme_activates_long_mode() {
    let enabled = Current { cr0: PE | ET, cr4: PAE, efer: LME, ..REAL };
    let effect = check_cr0(PG | PE, &enabled).unwrap();
    assert_eq!((effect.efer, effect.flush_tlb), (LME | LMA, true));
    assert!(refused(check_cr0(PG | PE, &Current { cr4: 0, ..enabled })), "needs PAE");
    assert!(refused(check_cr0(PG | PE, &Current { cs_long: true, ..enabled })), "CS.L is set");
}

#[test]
fn paging_without_lme_stays_in_legacy_mode() {
    let effect = check_cr0(PG | PE, &Current { cr0: PE | ET, ..REAL }).unwrap();
    assert_eq!((effect.efer, effect.reload_pdptes), (0, false));
    let pae = check_cr0(PG | PE, &Current { cr0: PE | ET, cr4: PAE, ..REAL }).unwrap();
    assert!(pae.reload_pdptes);
}

#[test]
fn paging_goes_off_only_outside_of_64_bit_code_and_without_pcid() {
    assert!(refused(check_cr0(PE, &LONG)));
    let effect = check_cr0(PE, &COMPATIBILITY).unwrap();
    assert_eq!((effect.efer, effect.flush_tlb), (LME, true));
    assert!(refused(check_cr0(PE, &Current { cr4: PAE | PCIDE, ..COMPATIBILITY })));
}

#[test]
fn cet_needs_write_protection() {
    let allowed = Allowed { cr4: ALLOWED.cr4 | CET, ..ALLOWED };
    assert!(refused(check_cr0(PG | PE, &Current { cr4: PAE | CET, ..LONG })));
    assert!(check_cr4(PAE | CET, &LONG, &allowed).is_ok());
    assert!(refused(check_cr4(PAE | CET, &Current { cr0: PG | PE, ..LONG }, &allowed)));
}

#[test]
fn task_switched_changes_without_a_flush() {
    let effect = check_cr0(LONG.cr0 | TS, &LONG).unwrap();
    assert_eq!(
        effect,
        Effect { value: LONG.cr0 | TS, efer: LONG.efer, flush_tlb: false, reload_pdptes: false }
    );
}

#[test]
fn bits_of_cr4_that_cpuid_does_not_show_fault() {
    for bit in [LA57, VMXE, FSGSBASE, PKE, CET, 1 << 14, 1 << 31, 1 << 32, 1 << 63] {
        assert!(refused(check_cr4(PAE | bit, &LONG, &ALLOWED)), "{bit:#x}");
    }
}

#[test]
fn long_mode_holds_pae_and_la57_as_they_are() {
    assert!(refused(check_cr4(0, &LONG, &ALLOWED)));
    let allowed = Allowed { cr4: ALLOWED.cr4 | LA57, ..ALLOWED };
    assert!(refused(check_cr4(PAE | LA57, &LONG, &allowed)));
    assert!(check_cr4(PAE | LA57, &REAL, &allowed).is_ok());
}

#[test]
fn pcid_goes_on_in_long_mode_with_pcid_zero() {
    assert!(check_cr4(PAE | PCIDE, &LONG, &ALLOWED).is_ok());
    assert!(refused(check_cr4(PAE | PCIDE, &Current { cr3: 0x1001, ..LONG }, &ALLOWED)));
    assert!(refused(check_cr4(PAE | PCIDE, &REAL, &ALLOWED)));
    // Once on, any CR3 will do.
    let on = Current { cr4: PAE | PCIDE, cr3: 0x1001, ..LONG };
    assert!(!check_cr4(PAE | PCIDE, &on, &ALLOWED).unwrap().flush_tlb);
}

#[test]
fn changes_of_paging_flush_and_others_do_not() {
    for (bit, flushes) in [(PGE, true), (PSE, true), (SMEP, true), (SMAP, true), (PCIDE, true)]
        .into_iter()
        .chain([(OSFXSR, false), (OSXSAVE, false), (TSD, false), (DE, false), (UMIP, false)])
    {
        assert_eq!(check_cr4(PAE | bit, &LONG, &ALLOWED).unwrap().flush_tlb, flushes, "{bit:#x}");
    }
}

#[test]
fn pae_paging_reloads_its_pointers_when_cr4_changes_them() {
    let pae = Current { cr0: PG | PE | ET, cr4: PAE, ..REAL };
    assert!(check_cr4(PAE | PGE, &pae, &ALLOWED).unwrap().reload_pdptes);
    assert!(!check_cr4(PAE | DE, &pae, &ALLOWED).unwrap().reload_pdptes);
    assert!(!check_cr4(PAE | PGE, &LONG, &ALLOWED).unwrap().reload_pdptes);
}

#[test]
fn lme_changes_only_without_paging() {
    assert_eq!(check_efer(LME, &REAL, &ALLOWED).unwrap().value, LME);
    assert!(refused(check_efer(0, &LONG, &ALLOWED)));
    assert!(refused(check_efer(LME, &Current { cr0: PG | PE, ..REAL }, &ALLOWED)));
}

#[test]
fn lma_is_the_processors() {
    assert_eq!(check_efer(LMA | SCE, &REAL, &ALLOWED).unwrap().value, SCE);
    assert_eq!(check_efer(LME | SCE, &LONG, &ALLOWED).unwrap().value, LME | LMA | SCE);
}

#[test]
fn bits_of_efer_that_cpuid_does_not_show_fault() {
    for bit in [SVME, FFXSR, 1 << 1, 1 << 9, 1 << 13, 1 << 15, 1 << 63] {
        assert!(refused(check_efer(LME | LMA | bit, &LONG, &ALLOWED)), "{bit:#x}");
    }
}

#[test]
fn nxe_flushes_and_sce_does_not() {
    assert!(check_efer(LME | NXE, &LONG, &ALLOWED).unwrap().flush_tlb);
    assert!(!check_efer(LME | SCE, &LONG, &ALLOWED).unwrap().flush_tlb);
}

#[test]
fn xcr0_holds_each_state_with_those_it_extends() {
    use super::xcr0::{AVX, AVX512, OPMASK, PKRU, SSE, X87};
    let check = |new| check_xcr0(0, new, 0, OSXSAVE, &ALLOWED);
    for good in [X87, X87 | SSE, X87 | SSE | AVX, X87 | SSE | AVX | AVX512, X87 | PKRU] {
        assert_eq!(check(good), Ok(good), "{good:#x}");
    }
    for bad in [0, SSE, X87 | AVX, X87 | SSE | AVX512, X87 | SSE | AVX | OPMASK, X87 | 1 << 3, X87 | 1 << 63]
    {
        assert_eq!(check(bad), Err(Exception::GENERAL_PROTECTION), "{bad:#x}");
    }
}

#[test]
fn xsetbv_needs_osxsave_privilege_and_register_zero() {
    assert_eq!(check_xcr0(0, 1, 0, 0, &ALLOWED), Err(Exception::INVALID_OPCODE));
    assert_eq!(check_xcr0(0, 1, 3, OSXSAVE, &ALLOWED), Err(Exception::GENERAL_PROTECTION));
    assert_eq!(check_xcr0(1, 1, 0, OSXSAVE, &ALLOWED), Err(Exception::GENERAL_PROTECTION));
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Cr0(u64),
    Cr4(u64),
    Efer(u64),
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        any::<u64>().prop_map(|bits| Write::Cr0(bits & ALL)),
        any::<u64>().prop_map(|bits| Write::Cr4(bits & ALLOWED.cr4)),
        any::<u64>().prop_map(|bits| Write::Efer(bits & ALLOWED.efer)),
        any::<u64>().prop_map(Write::Cr0),
        any::<u64>().prop_map(Write::Cr4),
        any::<u64>().prop_map(Write::Efer),
    ]
}

proptest! {
    /// What VMRUN and VM entry check of these registers holds after any writes (APM 15.5.1; SDM 27.3.1.1).
    #[test]
    fn no_writes_lead_to_a_state_that_entry_refuses(writes in prop::collection::vec(write(), 0..60)) {
        let mut now = REAL;
        for write in writes {
            let judged = match write {
                Write::Cr0(new) => check_cr0(new, &now),
                Write::Cr4(new) => check_cr4(new, &now, &ALLOWED),
                Write::Efer(new) => check_efer(new, &now, &ALLOWED),
            };
            let Ok(effect) = judged else { continue };
            match write {
                Write::Cr0(_) => now.cr0 = effect.value,
                Write::Cr4(_) => now.cr4 = effect.value,
                Write::Efer(_) => prop_assert_eq!(effect.value, effect.efer),
            }
            now.efer = effect.efer;
            let active = has(now.cr0, PG) && has(now.efer, LME);
            prop_assert_eq!(has(now.efer, LMA), active);
            prop_assert!(!active || has(now.cr4, PAE) && has(now.cr0, PE));
            prop_assert!(!has(now.cr0, PG) || has(now.cr0, PE));
            prop_assert!(!has(now.cr0, NW) || has(now.cr0, CD));
            prop_assert!(!has(now.cr4, PCIDE) || active);
            prop_assert_eq!(now.cr0 & !ALL, 0);
            prop_assert_eq!(now.cr4 & !ALLOWED.cr4, 0);
            prop_assert_eq!(now.efer & !(ALLOWED.efer | LMA), 0);
        }
    }
}

#[test]
fn directory_pointers_that_are_present_have_no_reserved_bit() {
    let check = |pdpte| check_pdptes(&[0, pdpte, 0, 0], 40);
    assert_eq!(check(0x7f_ffff_f001), Ok(()));
    // Present, write-through, uncached.
    assert_eq!(check(0x1019), Ok(()));
    assert_eq!(check(0x1e6), Ok(()), "not present");
    for reserved in [1 << 1, 1 << 2, 1 << 5, 1 << 8, 1 << 40, 1 << 63] {
        assert_eq!(check(1 | reserved), Err(GP), "{reserved:#x}");
    }
}

#[test]
fn the_directory_pointers_lie_where_32_bits_of_cr3_say() {
    assert_eq!(pdpte_table(0xffff_ffff_1234_567f), 0x1234_5660);
}
