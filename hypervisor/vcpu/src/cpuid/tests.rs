//! What guests of two hosts see: one that has every bit, and one as bare as a processor with SVM can be.

extern crate std;
use super::*;
use crate::control::{check_cr4, check_xcr0};
use proptest::prelude::*;
use std::string::String;

const GUEST: GuestCpu = GuestCpu {
    apic_id: ApicId(0),
    apic_timer_hz: 1_000_000_000,
    tsc: match TscScale::new(2_400_000_000) {
        Ok(scale) => scale,
        Err(_) => panic!(),
    },
    tsc_stability: TscStability::Invariant,
};

const RESET: Dynamic = Dynamic { cr4: 0, xcr0: 1, apic_enabled: true };

/// A host that claims everything.
fn everything(leaf: u32, subleaf: u32) -> Registers {
    match (leaf, subleaf) {
        (0, _) => [0x20, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
        (0x8000_0000, _) => [0x8000_0028, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
        (4 | 0x8000_001d, 0..=3) => [u32::MAX, 1, 2, 3],
        (4 | 0x8000_001d, _) => ZERO,
        (0xd, 2) => [256, 576, 0, 0],
        (0xd, 5) => [64, 1088, 0, 0],
        (0xd, 6) => [512, 1152, 2, 0],
        (0xd, 7) => [1024, 1664, 2, 0],
        (0xd, 9) => [8, 2688, 0, 0],
        (0x8000_0008, _) => [0x3934, u32::MAX, u32::MAX, u32::MAX],
        _ => [u32::MAX; 4],
    }
}

/// A host without XSAVE, and with the lowest of limits.
fn bare(leaf: u32, _: u32) -> Registers {
    match leaf {
        0 => [1, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
        1 => [0x6f1, 0x800, 0x0000_2001, 0x078b_fbff],
        0x8000_0000 => [0x8000_0008, 0, 0, 0],
        0x8000_0001 => [0, 0, 1, 0x2010_0800],
        0x8000_0008 => [0x3028, 0, 0, 0],
        _ => ZERO,
    }
}

fn view() -> Cpuid {
    Cpuid::new(everything, &GUEST)
}

fn query(leaf: u32, subleaf: u32) -> Registers {
    view().query(leaf, subleaf, &RESET)
}

#[test]
fn no_bit_is_both_shown_and_hidden() {
    for register in features::ALL {
        for (bit, name, why) in register.hidden {
            assert_eq!(register.mask() >> bit & 1, 0, "{name}: {why}");
        }
    }
}

#[test]
fn of_the_feature_registers_a_guest_sees_just_what_is_listed() {
    let (xsave, apic) = (1 << 26, 1 << 9);
    let [_, _, ecx, edx] = query(1, 0);
    assert_eq!(ecx, LEAF_1_ECX_EMULATED | features::LEAF_1_ECX.mask());
    assert!(ecx & xsave != 0);
    assert_eq!(edx, features::LEAF_1_EDX.mask() | apic);
    let [max, ebx, ecx, edx] = query(7, 0);
    let masks = [&features::LEAF_7_EBX, &features::LEAF_7_ECX, &features::LEAF_7_EDX].map(|r| r.mask());
    assert_eq!((max, [ebx, ecx, edx]), (1, masks));
    assert_eq!(query(7, 1), [features::LEAF_7_1_EAX.mask(), 0, 0, 0]);
    let [_, _, ecx, edx] = query(0x8000_0001, 0);
    assert_eq!(ecx, features::EXTENDED_1_ECX.mask());
    assert_eq!(edx, features::EXTENDED_1_EDX.mask() | apic);
}

const LEAF_1_ECX_EMULATED: u32 = X2APIC | TSC_DEADLINE | HYPERVISOR;

#[test]
fn virtualization_monitor_and_counters_are_hidden() {
    let [_, _, ecx, _] = query(1, 0);
    for (bit, name) in [(3, "MONITOR"), (5, "VMX"), (15, "PDCM")] {
        assert_eq!(ecx >> bit & 1, 0, "{name}");
    }
    assert_eq!(query(0x8000_0001, 0)[2] >> 2 & 1, 0, "SVM");
    for leaf in [5, 0xa, 0x8000_000a, 0x8000_001b, 0x8000_001f] {
        assert_eq!(query(leaf, 0), ZERO, "{leaf:#x}");
    }
    assert_eq!(query(6, 0), [ARAT, 0, 0, 0]);
}

#[test]
fn x2apic_tsc_deadline_and_the_hypervisor_bit_are_shown_on_any_host() {
    let [_, _, ecx, _] = Cpuid::new(bare, &GUEST).query(1, 0, &RESET);
    assert_eq!(ecx & LEAF_1_ECX_EMULATED, LEAF_1_ECX_EMULATED);
    let [last, ..] = Cpuid::new(bare, &GUEST).query(0, 0, &RESET);
    assert_eq!(last, 0xb);
}

#[test]
fn the_kvm_leaves_spell_kvm_and_offer_the_clock_and_quiet_ends_of_interrupts() {
    let [last, ebx, ecx, edx] = query(0x4000_0000, 0);
    let name: String = [ebx, ecx, edx].into_iter().flat_map(u32::to_le_bytes).map(char::from).collect();
    assert_eq!((last, name.as_str()), (0x4000_0010, "KVMKVMKVM\0\0\0"));
    assert_eq!(query(0x4000_0001, 0), [1 << 24 | 1 << 6 | 1 << 3 | 1 << 1, 0, 0, 0]);
    assert_eq!(query(0x4000_0010, 0), [2_400_000, 1_000_000, 0, 0]);
    assert_eq!(query(0x4000_0002, 0), ZERO);
}

#[test]
fn the_clock_is_stable_only_when_that_is_true() {
    let unknown = GuestCpu { tsc_stability: TscStability::Unknown, ..GUEST };
    let view = Cpuid::new(everything, &unknown);
    assert_eq!(view.query(0x4000_0001, 0, &RESET)[0] >> 24, 0);
    assert_eq!(view.query(0x8000_0007, 0, &RESET), ZERO);
    assert_eq!(query(0x8000_0007, 0), [0, 0, 0, 1 << 8]);
}

#[test]
fn the_package_has_one_core_with_one_thread() {
    let guest = GuestCpu { apic_id: ApicId(5), ..GUEST };
    let view = Cpuid::new(everything, &guest);
    let query = |leaf, subleaf| view.query(leaf, subleaf, &RESET);
    let [_, ebx, _, edx] = query(1, 0);
    assert_eq!((ebx >> 24, ebx >> 16 & 0xff, edx >> 28 & 1), (5, 1, 0));
    for subleaf in 0..4 {
        assert_eq!(query(4, subleaf)[0] >> 14, 0, "nobody shares a cache");
        assert_eq!(query(0x8000_001d, subleaf)[0] >> 14, 0);
    }
    assert_eq!(query(4, 4), ZERO);
    assert_eq!(query(0xb, 0), [0, 1, 0x100, 5]);
    assert_eq!(query(0xb, 1), [0, 1, 0x201, 5]);
    assert_eq!(query(0xb, 2), [0, 0, 2, 5]);
    assert_eq!(query(0x1f, 0), ZERO);
    assert_eq!(query(0x8000_001e, 0), [5, 0, 0, 0]);
    assert_eq!(query(0x8000_0008, 0)[2], 0);
}

#[test]
fn addresses_are_at_most_48_bits_wide() {
    assert_eq!(query(0x8000_0008, 0)[0], 0x3030);
    assert_eq!(view().allowed().physical_bits, 48);
    assert_eq!(Cpuid::new(bare, &GUEST).allowed().physical_bits, 40);
}

#[test]
fn the_registers_of_the_guest_show_through() {
    let view = view();
    let dynamic = Dynamic { cr4: cr4::OSXSAVE | cr4::PKE, xcr0: 7, apic_enabled: false };
    let [_, _, ecx, edx] = view.query(1, 0, &dynamic);
    assert_eq!((ecx >> 27 & 1, edx >> 9 & 1), (1, 0));
    assert_eq!(view.query(7, 0, &dynamic)[2] >> 4 & 1, 1);
    assert_eq!(view.query(0x8000_0001, 0, &dynamic)[3] >> 9 & 1, 0);
    let [_, _, ecx, edx] = view.query(1, 0, &RESET);
    assert_eq!((ecx >> 27 & 1, edx >> 9 & 1), (0, 1));
}

#[test]
fn the_xsave_area_is_as_large_as_its_last_component() {
    let view = view();
    let size = |xcr0| view.query(0xd, 0, &Dynamic { xcr0, ..RESET })[1];
    assert_eq!((size(1), size(3), size(7), size(0xe7), size(0x2e7)), (576, 576, 832, 2688, 2696));
    assert_eq!(view.query(0xd, 0, &RESET), [0x2e7, 576, 2696, 0]);
    assert_eq!(view.query(0xd, 6, &RESET), [512, 1152, 2, 0]);
    for hidden in [3, 4, 8, 10, 17, 18, 62, u32::MAX] {
        assert_eq!(view.query(0xd, hidden, &RESET), ZERO);
    }
}

#[test]
fn the_compacted_area_packs_and_aligns_its_components() {
    let view = view();
    let size = |xcr0| view.query(0xd, 1, &Dynamic { xcr0, ..RESET })[1];
    assert_eq!(view.query(0xd, 1, &RESET)[0], 7, "without XSAVES");
    assert_eq!((size(3), size(7), size(0x203)), (576, 832, 584));
    // 832 + 64 = 896, + 512 = 1408, + 1024 = 2432, + 8
    assert_eq!((size(0xe7), size(0x2e7)), (2432, 2440));
}

#[test]
fn without_xsave_nothing_that_needs_it_is_shown() {
    let without = |leaf, subleaf| {
        let [a, b, c, d] = everything(leaf, subleaf);
        if leaf == 1 { [a, b, c & !(1 << 26), d] } else { [a, b, c, d] }
    };
    let view = Cpuid::new(without, &GUEST);
    assert_eq!(view.query(0xd, 0, &RESET), ZERO);
    assert_eq!(view.query(1, 0, &RESET)[2] & (1 << 12 | 1 << 26 | 1 << 28 | 1 << 29), 0);
    let [_, ebx, ecx, edx] = view.query(7, 0, &RESET);
    assert_eq!(ebx & (1 << 5 | 1 << 16), 0, "AVX2, AVX512F");
    assert_eq!(ecx & (1 << 3 | 1 << 11), 0, "PKU, AVX512_VNNI");
    assert_eq!(edx >> 23 & 1, 0, "AVX512_FP16");
    assert_eq!((view.allowed().xcr0, view.allowed().cr4 & (cr4::OSXSAVE | cr4::PKE)), (0, 0));
}

#[test]
fn control_registers_may_hold_what_cpuid_shows() {
    let allowed = *view().allowed();
    assert_eq!(allowed.cr4 & (cr4::VMXE | cr4::LA57 | cr4::CET), 0);
    assert_ne!(allowed.cr4 & cr4::SMAP, 0);
    assert_eq!(allowed.efer, efer::SCE | efer::LME | efer::LMA | efer::NXE | efer::FFXSR);
    assert_eq!(allowed.xcr0, 0x2e7);
    let long = crate::control::Current {
        cr0: 0x8000_0011,
        cr3: 0,
        cr4: cr4::PAE,
        efer: efer::LME | efer::LMA,
        cs_long: true,
    };
    assert!(check_cr4(cr4::PAE | cr4::SMEP | cr4::OSXSAVE, &long, &allowed).is_ok());
    assert!(check_xcr0(0, 0x2e7, 0, cr4::OSXSAVE, &allowed).is_ok());
}

proptest! {
    #[test]
    fn any_host_and_any_query_give_an_answer(
        seed: u32, leaf: u32, subleaf: u32, cr4: u64, xcr0: u64, apic_enabled: bool,
    ) {
        let host = |leaf: u32, subleaf: u32| {
            let mixed = (leaf ^ subleaf.rotate_left(16)).wrapping_mul(0x9e37_79b9) ^ seed;
            [mixed, mixed.rotate_left(7), mixed.rotate_left(13), mixed.rotate_left(21)]
        };
        let view = Cpuid::new(host, &GUEST);
        let dynamic = Dynamic { cr4, xcr0, apic_enabled };
        view.query(leaf, subleaf, &dynamic);
        for leaf in (0..0x30).chain(0x4000_0000..0x4000_0020).chain(0x8000_0000..0x8000_0030) {
            view.query(leaf, subleaf & 0x1f, &dynamic);
        }
    }
}
