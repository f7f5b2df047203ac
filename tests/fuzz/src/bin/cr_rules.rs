//! Control registers: no sequence of writes leads to a state that VM entry refuses (AMD APM 24593, volume 2, section
//! 15.5.1; Intel SDM, volume 3, section 27.3.1.1), and a change of the paging mode flushes what was cached of it.

#![no_main]

use fuzz::Bytes;
use libfuzzer_sys::fuzz_target;
use vcpu::control::{
    Allowed, Current, Effect, check_cr0, check_cr4, check_efer, check_xcr0, cr0, cr4, efer, xcr0,
};

/// All that CPUID could show, SVM and VMX excepted: those are never shown.
const CR4_MAX: u64 = 0x00f7_1fff;
const EFER_MAX: u64 = efer::SCE | efer::LME | efer::LMA | efer::NXE | efer::FFXSR;
const XCR0_MAX: u64 = xcr0::X87 | xcr0::SSE | xcr0::AVX | xcr0::AVX512 | xcr0::PKRU;

const fn has(value: u64, bits: u64) -> bool {
    value & bits != 0
}

fn assert_enterable(now: &Current, allowed: &Allowed) {
    let active = has(now.cr0, cr0::PG) && has(now.efer, efer::LME);
    assert_eq!(has(now.efer, efer::LMA), active);
    assert!(!active || has(now.cr4, cr4::PAE));
    assert!(!has(now.cr0, cr0::PG) || has(now.cr0, cr0::PE));
    assert!(!has(now.cr0, cr0::NW) || has(now.cr0, cr0::CD));
    assert!(!has(now.cr4, cr4::PCIDE) || active);
    assert!(!has(now.cr4, cr4::CET) || has(now.cr0, cr0::WP));
    assert!(!now.cs_long || active);
    assert_eq!(now.cr0 & !cr0::ALL, 0);
    assert_eq!(now.cr4 & !allowed.cr4, 0);
    assert_eq!(now.efer & !(allowed.efer | efer::LMA), 0);
}

/// What follows from a permitted write that led from `before` to `now`.
fn assert_flushed(before: &Current, now: &Current, effect: &Effect) {
    let changed = |old: u64, new: u64, bits: u64| has(old ^ new, bits);
    let mode_changed = changed(before.cr0, now.cr0, cr0::PG)
        || changed(before.cr4, now.cr4, cr4::PAE | cr4::PSE | cr4::LA57)
        || changed(before.efer, now.efer, efer::NXE);
    assert!(!mode_changed || effect.flush_tlb);
    let long = has(now.efer, efer::LMA);
    assert!(!effect.reload_pdptes || !long && has(now.cr0, cr0::PG) && has(now.cr4, cr4::PAE));
    assert!(!(has(before.efer & now.efer, efer::LMA) && changed(before.cr4, now.cr4, cr4::LA57)));
}

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    let allowed = Allowed {
        cr4: u64::from(input.u32()) & CR4_MAX & !cr4::VMXE,
        efer: u64::from(input.u16()) & EFER_MAX,
        xcr0: u64::from(input.u16()) & XCR0_MAX,
        physical_bits: 48,
    };
    let mut now = Current { cr0: cr0::ET, cr3: 0, cr4: 0, efer: 0, cs_long: false };
    while !input.is_empty() {
        let (register, new, before) = (input.u8() % 6, input.u64(), now);
        let judged = match register {
            0 => check_cr0(new, &now),
            1 => check_cr4(new, &now, &allowed),
            2 => check_efer(new, &now, &allowed),
            3 => {
                // A far jump: 64-bit code is only reached in long mode.
                now.cs_long = has(new, 1) && has(now.efer, efer::LMA);
                continue;
            }
            4 => {
                now.cr3 = new;
                continue;
            }
            _ => {
                if let Ok(value) = check_xcr0(input.u8().into(), new, input.u8() & 3, now.cr4, &allowed) {
                    assert!(has(value, xcr0::X87) && value & !allowed.xcr0 == 0);
                    assert!(!has(value, xcr0::AVX) || has(value, xcr0::SSE));
                    assert!(!has(value, xcr0::AVX512) || has(value, xcr0::AVX));
                }
                continue;
            }
        };
        let Ok(effect) = judged else { continue };
        match register {
            0 => now.cr0 = effect.value,
            1 => now.cr4 = effect.value,
            _ => assert_eq!(effect.value, effect.efer),
        }
        now.efer = effect.efer;
        assert_enterable(&now, &allowed);
        assert_flushed(&before, &now, &effect);
    }
});
