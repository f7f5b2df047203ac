//! What this CPU can do, and which of its protections are on.
//!
//! Unsafe because control registers, EFER and XCR0 are changed. Every bit set here only forbids more than before, or
//! makes more registers usable; none loosens a protection.

use bitflags::bitflags;
use core::arch::asm;
use core::fmt;
use raw_cpuid::{CpuId, CpuIdReader, CpuIdReaderNative};

/// Who made the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// AMD, or Hygon, which follows AMD's manuals.
    Amd,
    /// Intel, or one that follows Intel's manuals (Centaur, Zhaoxin).
    Intel,
    /// Somebody else.
    Other,
}

bitflags! {
    /// Features that the host makes use of where they are present.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u32 {
        /// AMD-V.
        const SVM = 1 << 0;
        /// VT-x.
        const VMX = 1 << 1;
        /// No-execute pages.
        const NX = 1 << 2;
        /// The kernel does not execute user pages.
        const SMEP = 1 << 3;
        /// The kernel does not touch user pages.
        const SMAP = 1 << 4;
        /// User mode cannot read descriptor-table registers.
        const UMIP = 1 << 5;
        /// Pages of 1 GiB.
        const PAGES_1G = 1 << 6;
        /// The local APIC has an MSR interface.
        const X2APIC = 1 << 7;
        /// The TSC runs at one rate in all states.
        const INVARIANT_TSC = 1 << 8;
        /// The local APIC's timer can fire at a TSC value.
        const TSC_DEADLINE = 1 << 9;
        /// XSAVE and XCR0.
        const XSAVE = 1 << 10;
        /// RDGSBASE and its kind.
        const FSGSBASE = 1 << 11;
        /// Process-context ids.
        const PCID = 1 << 12;
        /// RDTSCP.
        const RDTSCP = 1 << 13;
        /// The CPU is itself virtualized.
        const HYPERVISOR = 1 << 14;
    }
}

/// What CPUID says of the CPU that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Who made it.
    pub vendor: Vendor,
    /// What it can do.
    pub features: Features,
    /// The width of its physical addresses in bits.
    pub physical_address_bits: u8,
    /// The TSC's frequency as CPUID leaf 0x15 claims it, in hertz. A claim: emulators lie here.
    pub claimed_tsc_hz: Option<u64>,
}

impl Cpu {
    /// Asks the CPU that runs this.
    pub fn detect() -> Self {
        Self::from_cpuid(&CpuId::with_cpuid_reader(CpuIdReaderNative))
    }

    fn from_cpuid<R: CpuIdReader>(cpuid: &CpuId<R>) -> Self {
        let vendor = match cpuid.get_vendor_info().as_ref().map(raw_cpuid::VendorInfo::as_str) {
            Some("AuthenticAMD" | "HygonGenuine") => Vendor::Amd,
            Some("GenuineIntel" | "CentaurHauls" | "  Shanghai  ") => Vendor::Intel,
            _ => Vendor::Other,
        };
        let mut features = Features::empty();
        if let Some(basic) = cpuid.get_feature_info() {
            features.set(Features::VMX, basic.has_vmx());
            features.set(Features::X2APIC, basic.has_x2apic());
            features.set(Features::TSC_DEADLINE, basic.has_tsc_deadline());
            features.set(Features::XSAVE, basic.has_xsave());
            features.set(Features::PCID, basic.has_pcid());
            features.set(Features::HYPERVISOR, basic.has_hypervisor());
        }
        if let Some(extended) = cpuid.get_extended_feature_info() {
            features.set(Features::SMEP, extended.has_smep());
            features.set(Features::SMAP, extended.has_smap());
            features.set(Features::UMIP, extended.has_umip());
            features.set(Features::FSGSBASE, extended.has_fsgsbase());
        }
        if let Some(identifiers) = cpuid.get_extended_processor_and_feature_identifiers() {
            features.set(Features::SVM, identifiers.has_svm());
            features.set(Features::NX, identifiers.has_execute_disable());
            features.set(Features::PAGES_1G, identifiers.has_1gib_pages());
            features.set(Features::RDTSCP, identifiers.has_rdtscp());
        }
        if let Some(power) = cpuid.get_advanced_power_mgmt_info() {
            features.set(Features::INVARIANT_TSC, power.has_invariant_tsc());
        }
        let capacity = cpuid.get_processor_capacity_feature_info();
        Self {
            vendor,
            features,
            // 36 bits where the leaf is missing (Intel SDM, volume 3, section 4.1.4).
            physical_address_bits: capacity.map_or(36, |c| c.physical_address_bits()).clamp(32, 52),
            claimed_tsc_hz: cpuid.get_tsc_info().and_then(|tsc| tsc.tsc_frequency()),
        }
    }

    /// Whether the CPU has all of `features`.
    pub const fn has(&self, features: Features) -> bool {
        self.features.contains(features)
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} address bits:", self.vendor, self.physical_address_bits)?;
        self.features.iter_names().try_for_each(|(name, _)| write!(f, " {name}"))
    }
}

/// The CPUID instruction: EAX, EBX, ECX, EDX of `leaf` and `subleaf`.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// CR0: monitor coprocessor, emulation, task switched, numeric error, write protect (Intel SDM, volume 3, section 2.5).
mod cr0 {
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
}

/// CR4 (Intel SDM, volume 3, section 2.5).
mod cr4 {
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
}

/// XCR0: x87 and SSE state, which every CPU with XSAVE has (Intel SDM, volume 1, section 13.3).
pub const XCR0_X87_SSE: u64 = 0b11;

/// Turns on what protects the hypervisor from itself: write protection, no-execute, SMEP, SMAP, UMIP; and makes the
/// x87, SSE and XSAVE instructions usable, with which guests' registers are switched. Returns what is on.
///
/// On an AMD or Intel CPU of the last decade all of them are; what a CPU lacks is left out and missing in the answer.
pub fn protect(cpu: &Cpu) -> Features {
    let mut control4 = cr4::OSFXSR | cr4::OSXMMEXCPT;
    for (feature, bit) in [
        (Features::SMEP, cr4::SMEP),
        (Features::SMAP, cr4::SMAP),
        (Features::UMIP, cr4::UMIP),
        (Features::FSGSBASE, cr4::FSGSBASE),
        (Features::XSAVE, cr4::OSXSAVE),
    ] {
        if cpu.has(feature) {
            control4 |= bit;
        }
    }
    // SAFETY: the bits are set only where CPUID shows them, and keep running code's mappings usable: the hypervisor
    // has no user pages, and writes to no page that is mapped read-only.
    unsafe {
        let mut control0: u64;
        asm!("mov {}, cr0", out(reg) control0, options(nomem, nostack, preserves_flags));
        control0 = control0 & !(cr0::EM | cr0::TS) | cr0::MP | cr0::NE | cr0::WP;
        asm!("mov cr0, {}", in(reg) control0, options(nostack, preserves_flags));
        asm!(
            "mov {old}, cr4", "or {old}, {new}", "mov cr4, {old}",
            old = out(reg) _, new = in(reg) control4, options(nostack)
        );
        if cpu.has(Features::NX) {
            let efer = crate::msr::read(crate::msr::EFER);
            crate::msr::write(crate::msr::EFER, efer | crate::msr::EFER_NXE);
        }
        if cpu.has(Features::XSAVE) {
            asm!("xsetbv", in("ecx") 0, in("eax") XCR0_X87_SSE as u32, in("edx") 0, options(nostack, preserves_flags));
        }
    }
    let used = Features::NX
        | Features::SMEP
        | Features::SMAP
        | Features::UMIP
        | Features::XSAVE
        | Features::FSGSBASE;
    cpu.features & used
}

#[cfg(test)]
mod tests {
    use super::*;
    use raw_cpuid::CpuIdResult;
    use std::string::ToString;

    fn answer(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuIdResult {
        CpuIdResult { eax, ebx, ecx, edx }
    }

    /// As much of an AMD CPU as the detection looks at.
    #[derive(Clone)]
    struct Epyc;
    impl CpuIdReader for Epyc {
        fn cpuid2(&self, leaf: u32, _subleaf: u32) -> CpuIdResult {
            match leaf {
                0 => answer(0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
                1 => answer(0x0080_0f12, 0, 1 << 21 | 1 << 26, 0),
                7 => answer(0, 1 << 0 | 1 << 7 | 1 << 20, 1 << 2, 0),
                0x8000_0000 => answer(0x8000_001f, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
                0x8000_0001 => answer(0x0080_0f12, 0, 1 << 2, 1 << 20 | 1 << 26 | 1 << 27),
                0x8000_0008 => answer(48 | 48 << 8, 0, 0, 0),
                _ => answer(0, 0, 0, 0),
            }
        }
    }

    #[test]
    fn features_are_read_from_their_leaves() {
        let cpu = Cpu::from_cpuid(&CpuId::with_cpuid_reader(Epyc));
        assert_eq!(cpu.vendor, Vendor::Amd);
        assert_eq!(cpu.physical_address_bits, 48);
        assert_eq!(cpu.claimed_tsc_hz, None);
        assert!(cpu.has(Features::SVM | Features::NX | Features::SMEP | Features::SMAP | Features::UMIP));
        assert!(!cpu.features.intersects(Features::VMX | Features::TSC_DEADLINE | Features::INVARIANT_TSC));
        assert!(cpu.to_string().starts_with("Amd, 48 address bits: SVM NX"));
    }

    #[test]
    fn cpuid_gives_the_registers_in_order() {
        let [highest, b, c, d] = cpuid(0, 0);
        let name = [b, d, c].map(u32::to_le_bytes).concat();
        assert!(highest >= 1 && name.is_ascii(), "{name:?}");
    }

    #[test]
    fn a_cpu_without_any_leaf_has_no_features() {
        #[derive(Clone)]
        struct Nothing;
        impl CpuIdReader for Nothing {
            fn cpuid2(&self, _: u32, _: u32) -> CpuIdResult {
                answer(0, 0, 0, 0)
            }
        }
        let cpu = Cpu::from_cpuid(&CpuId::with_cpuid_reader(Nothing));
        assert_eq!(
            (cpu.vendor, cpu.features, cpu.physical_address_bits),
            (Vendor::Other, Features::empty(), 36)
        );
    }
}
