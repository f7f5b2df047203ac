//! What a guest may touch of the model-specific registers and the I/O ports: one table each, closed by default.
//!
//! The vendor halves build their bitmaps from these tables, and `vmm` emulates just what they name. A register is
//! passed through only when the hardware (or entry code) switches it with the guest; a register that Linux reads or
//! writes without expecting a fault is emulated; everything else faults as an absent register does.
//!
//! Sources: Intel SDM, volume 4, chapter 2; AMD APM 24593, volume 2, appendix A; KVM's `Documentation/virt/kvm/x86/msr.rst`.

/// What happens when a guest accesses a register or port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The access reaches the hardware without an exit.
    Pass,
    /// The access exits, and `vmm` answers it.
    Emulate,
    /// The access faults, as on a processor without that register.
    GeneralProtection,
}

/// A rule for a range of model-specific registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsrRule {
    /// The first index.
    pub first: u32,
    /// The last index.
    pub last: u32,
    /// What RDMSR does.
    pub read: Permission,
    /// What WRMSR does.
    pub write: Permission,
    /// Why.
    pub reason: &'static str,
}

impl MsrRule {
    /// Whether the rule speaks about register `index`.
    pub const fn covers(&self, index: u32) -> bool {
        self.first <= index && index <= self.last
    }
}

/// A rule for a range of I/O ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRule {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
    /// What IN, OUT, INS and OUTS do; a port never faults by itself, so this is `Pass` or `Emulate`.
    pub access: Permission,
    /// Why.
    pub reason: &'static str,
}

/// The rule for every register that [`MSRS`] does not name.
pub const DENIED: MsrRule = MsrRule {
    first: 0,
    last: u32::MAX,
    read: Permission::GeneralProtection,
    write: Permission::GeneralProtection,
    reason: "not named: absent on the virtual processor",
};

const fn pass(first: u32, last: u32, reason: &'static str) -> MsrRule {
    MsrRule { first, last, read: Permission::Pass, write: Permission::Pass, reason }
}

const fn emulate(first: u32, last: u32, reason: &'static str) -> MsrRule {
    MsrRule { first, last, read: Permission::Emulate, write: Permission::Emulate, reason }
}

const fn read_only(first: u32, last: u32, reason: &'static str) -> MsrRule {
    MsrRule { first, last, read: Permission::Emulate, write: Permission::GeneralProtection, reason }
}

/// The policy for model-specific registers: ascending, without overlap (checked when this is compiled).
pub const MSRS: &[MsrRule] = &[
    emulate(msr::TSC, msr::TSC, "the guest's own counter: a write moves the offset"),
    read_only(msr::PLATFORM_ID, msr::PLATFORM_ID, "Linux's microcode driver reads it unchecked"),
    emulate(msr::APIC_BASE, msr::APIC_BASE, "the mode of the virtual local APIC"),
    emulate(msr::BIOS_SIGN_ID, msr::BIOS_SIGN_ID, "microcode revision: read after a write of zero"),
    read_only(msr::MTRR_CAP, msr::MTRR_CAP, "virtual MTRRs"),
    pass(msr::SYSENTER_CS, msr::SYSENTER_EIP, "switched with the guest"),
    read_only(msr::MCG_CAP, msr::MCG_CAP, "machine-check architecture with no banks"),
    emulate(msr::MCG_STATUS, msr::MCG_STATUS, "machine-check architecture with no banks"),
    emulate(msr::MISC_ENABLE, msr::MISC_ENABLE, "Linux reads it unchecked; fast strings on"),
    emulate(msr::DEBUG_CONTROL, msr::DEBUG_CONTROL, "reads as zero; branch tracing is not offered"),
    emulate(msr::MTRR_PHYS_FIRST, msr::MTRR_PHYS_LAST, "virtual MTRRs: kept, without effect"),
    emulate(msr::MTRR_FIX_64K, msr::MTRR_FIX_64K, "virtual MTRRs: kept, without effect"),
    emulate(msr::MTRR_FIX_16K_FIRST, msr::MTRR_FIX_16K_LAST, "virtual MTRRs: kept, without effect"),
    emulate(msr::MTRR_FIX_4K_FIRST, msr::MTRR_FIX_4K_LAST, "virtual MTRRs: kept, without effect"),
    emulate(msr::PAT, msr::PAT, "checked: QEMU's processor takes any value, and switches none"),
    emulate(msr::MTRR_DEF_TYPE, msr::MTRR_DEF_TYPE, "virtual MTRRs: kept, without effect"),
    emulate(msr::TSC_DEADLINE, msr::TSC_DEADLINE, "the virtual local APIC's timer"),
    emulate(msr::X2APIC_FIRST, msr::X2APIC_LAST, "the virtual local APIC's registers"),
    emulate(msr::KVM_WALL_CLOCK, msr::KVM_SYSTEM_TIME, "kvmclock: where the guest wants its clock written"),
    emulate(msr::KVM_PV_EOI, msr::KVM_PV_EOI, "where the guest ends interrupts without an exit"),
    emulate(msr::EFER, msr::EFER, "modes change by rule"),
    pass(msr::STAR, msr::SFMASK, "SYSCALL state, switched with the guest"),
    pass(msr::FS_BASE, msr::KERNEL_GS_BASE, "switched with the guest"),
    emulate(msr::SYSCFG, msr::SYSCFG, "Linux's MTRR code reads it unchecked on AMD family 0Fh and up"),
    emulate(msr::HWCR, msr::HWCR, "Linux reads TscFreqSel and sets errata bits unchecked on AMD"),
    emulate(msr::NB_CFG, msr::NB_CFG, "Linux switches extended PCI access on unchecked on AMD"),
    emulate(msr::INT_PENDING, msr::INT_PENDING, "Linux looks for C1E unchecked on AMD family 0Fh and 10h"),
    read_only(msr::VM_CR, msr::VM_CR, "says that SVM is disabled"),
    emulate(msr::DC_CFG, msr::TW_CFG, "AMD errata bits that kernels set"),
    emulate(msr::DE_CFG, msr::BU_CFG2, "AMD: LFENCE serializes, and errata bits that kernels set"),
];

const fn read_only_pass(first: u32, last: u32, reason: &'static str) -> MsrRule {
    MsrRule { read: Permission::Pass, ..emulate(first, last, reason) }
}

const fn write_only_pass(first: u32, last: u32, reason: &'static str) -> MsrRule {
    MsrRule { write: Permission::Pass, ..emulate(first, last, reason) }
}

/// What goes before [`MSRS`] while the processor runs the local APIC in x2APIC mode ([`crate::apic`]): "pass" means the
/// APIC's page and the processor's own rules for it, never a register of the machine. A register that is not named exits:
/// the processor would let the guest read it, though there is none (Intel SDM, volume 3, section 30.5).
pub const X2APIC_MSRS: &[MsrRule] = &[
    read_only_pass(0x802, 0x803, "id and version"),
    pass(0x808, 0x808, "the task priority, which the processor checks and follows"),
    read_only_pass(0x80a, 0x80a, "the processor priority"),
    write_only_pass(0x80b, 0x80b, "the end of an interrupt, which the processor checks and carries out"),
    read_only_pass(0x80d, 0x80d, "the logical id"),
    read_only_pass(0x80f, 0x80f, "the spurious-interrupt vector"),
    read_only_pass(0x810, 0x828, "ISR, TMR, IRR and errors"),
    read_only_pass(0x830, 0x830, "the interrupt command"),
    read_only_pass(0x832, 0x838, "the local vector table and the initial count"),
    read_only_pass(0x83e, 0x83e, "the divide configuration"),
    write_only_pass(0x83f, 0x83f, "an interrupt to itself, which the processor checks and carries out"),
];

/// The policy for I/O ports.
pub const PORTS: &[PortRule] = &[PortRule {
    first: 0,
    last: u16::MAX,
    access: Permission::Emulate,
    reason: "no port of the machine is a guest's; ports without a device read as ones",
}];

/// The rule for register `index`. Meant for building bitmaps and for registers that are seldom used: it searches.
pub fn msr_rule(index: u32) -> &'static MsrRule {
    let after = MSRS.partition_point(|rule| rule.first <= index);
    let candidate = after.checked_sub(1).and_then(|i| MSRS.get(i));
    candidate.filter(|rule| rule.covers(index)).unwrap_or(&DENIED)
}

/// The indices of the registers that [`MSRS`] names.
pub mod msr {
    #![allow(missing_docs)] // the names are the manuals'

    pub const TSC: u32 = 0x10;
    pub const PLATFORM_ID: u32 = 0x17;
    pub const APIC_BASE: u32 = 0x1b;
    pub const BIOS_SIGN_ID: u32 = 0x8b;
    pub const MTRR_CAP: u32 = 0xfe;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const MCG_CAP: u32 = 0x179;
    pub const MCG_STATUS: u32 = 0x17a;
    pub const MISC_ENABLE: u32 = 0x1a0;
    pub const DEBUG_CONTROL: u32 = 0x1d9;
    /// The base of variable range 0; base and mask alternate.
    pub const MTRR_PHYS_FIRST: u32 = 0x200;
    /// The mask of variable range 7.
    pub const MTRR_PHYS_LAST: u32 = 0x20f;
    pub const MTRR_FIX_64K: u32 = 0x250;
    pub const MTRR_FIX_16K_FIRST: u32 = 0x258;
    pub const MTRR_FIX_16K_LAST: u32 = 0x259;
    pub const MTRR_FIX_4K_FIRST: u32 = 0x268;
    pub const MTRR_FIX_4K_LAST: u32 = 0x26f;
    pub const PAT: u32 = 0x277;
    pub const MTRR_DEF_TYPE: u32 = 0x2ff;
    pub const TSC_DEADLINE: u32 = 0x6e0;
    pub const X2APIC_FIRST: u32 = 0x800;
    pub const X2APIC_LAST: u32 = 0x8ff;
    pub const KVM_WALL_CLOCK: u32 = 0x4b56_4d00;
    pub const KVM_SYSTEM_TIME: u32 = 0x4b56_4d01;
    pub const KVM_PV_EOI: u32 = 0x4b56_4d04;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const SFMASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const SYSCFG: u32 = 0xc001_0010;
    pub const HWCR: u32 = 0xc001_0015;
    pub const NB_CFG: u32 = 0xc001_001f;
    pub const INT_PENDING: u32 = 0xc001_0055;
    pub const VM_CR: u32 = 0xc001_0114;
    pub const DC_CFG: u32 = 0xc001_1022;
    pub const TW_CFG: u32 = 0xc001_1023;
    pub const DE_CFG: u32 = 0xc001_1029;
    pub const BU_CFG2: u32 = 0xc001_102a;
}

/// Whether the rules ascend without overlap, as the search needs.
const fn ascends(rules: &[MsrRule]) -> bool {
    let mut rest = rules;
    while let [rule, tail @ ..] = rest {
        if rule.first > rule.last {
            return false;
        }
        if let [next, ..] = tail
            && rule.last >= next.first
        {
            return false;
        }
        rest = tail;
    }
    true
}

const _: () = assert!(ascends(MSRS));
const _: () = assert!(ascends(X2APIC_MSRS));

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_named_faults() {
        for index in [0, 0x3a, 0x48, 0x49, 0x10a, 0x480, 0x1000, 0xc000_0103, 0xc001_0117, u32::MAX] {
            assert_eq!(msr_rule(index), &DENIED, "{index:#x}");
        }
    }

    #[test]
    fn what_the_hardware_switches_passes_both_ways() {
        for index in [msr::FS_BASE, msr::GS_BASE, msr::KERNEL_GS_BASE, msr::LSTAR, msr::SYSENTER_ESP] {
            let rule = msr_rule(index);
            assert_eq!((rule.read, rule.write), (Permission::Pass, Permission::Pass), "{index:#x}");
        }
    }

    #[test]
    fn a_register_passes_only_if_reading_and_writing_both_pass() {
        for rule in MSRS {
            assert_eq!(rule.read == Permission::Pass, rule.write == Permission::Pass, "{rule:?}");
        }
    }

    #[test]
    fn every_port_has_just_one_rule_and_none_passes() {
        let mut next = 0;
        for rule in PORTS {
            assert_eq!(u32::from(rule.first), next);
            assert_eq!(rule.access, Permission::Emulate);
            next = u32::from(rule.last) + 1;
        }
        assert_eq!(next, 0x1_0000);
    }

    #[test]
    fn of_the_apic_nothing_passes_that_is_no_register_of_it() {
        for rule in X2APIC_MSRS {
            assert!(rule.first >= msr::X2APIC_FIRST && rule.last <= msr::X2APIC_LAST, "{rule:?}");
        }
        // The current count moves by itself, and the rest of the space is empty.
        let named = |index| X2APIC_MSRS.iter().any(|rule| rule.covers(index));
        assert!(
            [0x800, 0x804, 0x809, 0x80e, 0x829, 0x831, 0x839, 0x83d, 0x840]
                .into_iter()
                .all(|index| !named(index))
        );
    }

    #[test]
    fn every_rule_says_why() {
        assert!(MSRS.iter().chain(X2APIC_MSRS).all(|rule| !rule.reason.is_empty()));
    }

    proptest! {
        #[test]
        fn the_search_finds_what_a_scan_finds(index in prop_oneof![any::<u32>(), 0_u32..0x1000, 0xc000_0000_u32..0xc002_0000]) {
            let scanned = MSRS.iter().find(|rule| rule.covers(index)).unwrap_or(&DENIED);
            prop_assert_eq!(msr_rule(index), scanned);
        }
    }
}
