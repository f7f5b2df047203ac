//! What CPUID tells a guest: the host's answers, cut down to an allow-list, for a package of one core and one thread.
//!
//! The tables are computed when the VM is made. A query indexes them and patches in the few bits that follow the
//! guest's own registers. A leaf that is not listed in [`Cpuid::query`] answers zeros.
//!
//! Sources: Intel SDM, volume 2, CPUID; AMD APM 24594, volume 3, appendix E; for 0x4000_0000 and up KVM's
//! `Documentation/virt/kvm/x86/cpuid.rst`.

pub mod features;
mod xsave;

use crate::control::{Allowed, cr4, efer, xcr0};
use base::{ApicId, TscScale};
use features as f;
use xsave::Xsave;

/// The four registers of an answer: EAX, EBX, ECX, EDX.
pub type Registers = [u32; 4];

const ZERO: Registers = [0; 4];

/// Whether the guest may take its TSC for steady across frequency and sleep states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TscStability {
    /// The host's is invariant.
    Invariant,
    /// It is not, or nobody knows.
    Unknown,
}

/// The virtual CPU to describe.
#[derive(Clone, Copy, Debug)]
pub struct GuestCpu {
    /// Its local APIC's id.
    pub apic_id: ApicId,
    /// The frequency of its local APIC's timer before division, in hertz.
    pub apic_timer_hz: u64,
    /// Its TSC's frequency.
    pub tsc: TscScale,
    /// Whether that is steady.
    pub tsc_stability: TscStability,
}

/// What of the vCPU's registers an answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Dynamic {
    /// CR4.
    pub cr4: u64,
    /// XCR0.
    pub xcr0: u64,
    /// Whether IA32_APIC_BASE has the local APIC enabled.
    pub apic_enabled: bool,
}

/// The highest basic leaf shown, if the host has it: what lies above is topology, tracing and enclaves.
const LAST_BASIC: u32 = 0xd;
const BASIC_LEAVES: usize = LAST_BASIC as usize + 1;
const FIRST_HYPERVISOR: u32 = 0x4000_0000;
const FIRST_EXTENDED: u32 = 0x8000_0000;
/// The highest extended leaf shown, if the host has it.
const LAST_EXTENDED: u32 = 0x8000_0021;
const EXTENDED_LEAVES: usize = (LAST_EXTENDED - FIRST_EXTENDED) as usize + 1;
/// Subleaves of the cache leaves: four levels and the empty one that ends the list.
const CACHES: u32 = 5;

/// The widest guest-physical address that four levels of nested tables translate, in bits.
const MAX_PHYSICAL_BITS: u32 = 48;

const OSXSAVE: u32 = 1 << 27;
const APIC: u32 = 1 << 9;
const OSPKE: u32 = 1 << 4;
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 6, EAX: the APIC's timer runs in every idle state.
const ARAT: u32 = 1 << 2;
/// Leaf 0x8000_0007, EDX.
const INVARIANT_TSC: u32 = 1 << 8;

/// "KVMKVMKVM": it makes Linux take kvmclock, and x2APIC without interrupt remapping.
const KVM_SIGNATURE: [u32; 3] = [0x4b4d_564b, 0x564b_4d56, 0x0000_004d];
const KVM_LAST: u32 = 0x4000_0010;
/// Writes to port 0x80 are no longer needed to pass time.
const KVM_NOP_IO_DELAY: u32 = 1 << 1;
/// kvmclock by MSRs 0x4B56_4D00 and 0x4B56_4D01.
const KVM_CLOCKSOURCE2: u32 = 1 << 3;
/// MSR 0x4B56_4D04: ends of interrupts by a flag in memory.
const KVM_PV_EOI: u32 = 1 << 6;
/// kvmclock's stable flag can be trusted.
const KVM_CLOCKSOURCE_STABLE: u32 = 1 << 24;

/// The answers, computed once.
#[derive(Clone, Debug)]
pub struct Cpuid {
    basic: [Registers; BASIC_LEAVES],
    extended: [Registers; EXTENDED_LEAVES],
    /// Leaf 4 (Intel) by subleaf.
    caches: [Registers; CACHES as usize],
    /// Leaf 0x8000_001D (AMD) by subleaf.
    amd_caches: [Registers; CACHES as usize],
    leaf_7_1: Registers,
    xsave: Option<Xsave>,
    kvm_features: u32,
    kvm_frequencies: [u32; 2],
    apic_id: u32,
    allowed: Allowed,
}

impl Cpuid {
    /// The view of `guest` on a host whose CPUID instruction is `host(leaf, subleaf)`.
    pub fn new(host: impl Fn(u32, u32) -> Registers, guest: &GuestCpu) -> Self {
        let host = Host::new(host);
        let xsave = Xsave::of(&host);
        let mut basic = [ZERO; BASIC_LEAVES];
        for (leaf, answer) in (0..).zip(basic.iter_mut()) {
            *answer = host.basic_leaf(leaf, guest);
        }
        let mut extended = [ZERO; EXTENDED_LEAVES];
        for (leaf, answer) in (FIRST_EXTENDED..).zip(extended.iter_mut()) {
            *answer = host.extended_leaf(leaf, guest);
        }
        let khz = |hz: u64| u32::try_from(hz / 1000).unwrap_or(u32::MAX);
        let stable = match guest.tsc_stability {
            TscStability::Invariant => KVM_CLOCKSOURCE_STABLE,
            TscStability::Unknown => 0,
        };
        let mut this = Self {
            basic,
            extended,
            caches: host.caches(4),
            amd_caches: host.caches(0x8000_001d),
            leaf_7_1: [host.bits(&f::LEAF_7_1_EAX), 0, 0, 0],
            xsave,
            kvm_features: KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE2 | KVM_PV_EOI | stable,
            kvm_frequencies: [khz(guest.tsc.hz()), khz(guest.apic_timer_hz)],
            apic_id: guest.apic_id.0,
            allowed: Allowed { cr4: 0, efer: 0, xcr0: 0, physical_bits: 0 },
        };
        this.hide_what_lacks_state();
        this.allowed = this.register_bits();
        this
    }

    /// The answer to `leaf` and `subleaf`.
    #[inline]
    pub fn query(&self, leaf: u32, subleaf: u32, dynamic: &Dynamic) -> Registers {
        match leaf {
            1 => self.leaf_1(dynamic),
            4 => self.caches.get(subleaf as usize).copied().unwrap_or(ZERO),
            7 => self.leaf_7(subleaf, dynamic),
            0xb => self.topology(subleaf),
            0xd => self.xsave.as_ref().map_or(ZERO, |xsave| xsave.query(subleaf, dynamic.xcr0)),
            0..=LAST_BASIC => self.basic.get(leaf as usize).copied().unwrap_or(ZERO),
            FIRST_HYPERVISOR => {
                let [b, c, d] = KVM_SIGNATURE;
                [KVM_LAST, b, c, d]
            }
            0x4000_0001 => [self.kvm_features, 0, 0, 0],
            KVM_LAST => {
                let [tsc_khz, apic_khz] = self.kvm_frequencies;
                [tsc_khz, apic_khz, 0, 0]
            }
            0x8000_0001 => self.extended_1(dynamic),
            0x8000_001d => self.amd_caches.get(subleaf as usize).copied().unwrap_or(ZERO),
            FIRST_EXTENDED..=LAST_EXTENDED => {
                self.extended.get((leaf - FIRST_EXTENDED) as usize).copied().unwrap_or(ZERO)
            }
            _ => ZERO,
        }
    }

    /// The register bits that go with the features shown.
    pub const fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    fn leaf_1(&self, dynamic: &Dynamic) -> Registers {
        let [_, [a, b, c, d], ..] = self.basic;
        let os_xsave = if dynamic.cr4 & cr4::OSXSAVE != 0 { OSXSAVE } else { 0 };
        let apic = if dynamic.apic_enabled { APIC } else { 0 };
        [a, b, c | os_xsave, d | apic]
    }

    fn leaf_7(&self, subleaf: u32, dynamic: &Dynamic) -> Registers {
        let [_, _, _, _, _, _, _, [a, b, c, d], ..] = self.basic;
        match subleaf {
            0 => {
                let os_pke = if dynamic.cr4 & cr4::PKE != 0 { OSPKE } else { 0 };
                [a, b, c | os_pke, d]
            }
            1 => self.leaf_7_1,
            _ => ZERO,
        }
    }

    /// Leaf 0xB: one thread of one core; the x2APIC id has no part below the package.
    fn topology(&self, subleaf: u32) -> Registers {
        const SMT: u32 = 1;
        const CORE: u32 = 2;
        let level = match subleaf {
            0 => SMT,
            1 => CORE,
            _ => return [0, 0, subleaf & 0xff, self.apic_id],
        };
        [0, 1, level << 8 | subleaf, self.apic_id]
    }

    fn extended_1(&self, dynamic: &Dynamic) -> Registers {
        let [_, [a, b, c, d], ..] = self.extended;
        // AMD repeats leaf 1's APIC bit; Intel reserves it, and FPU beside it tells which.
        let repeats = d & 1 != 0 && dynamic.apic_enabled;
        [a, b, c, if repeats { d | APIC } else { d }]
    }

    /// Takes away instructions whose registers XCR0 cannot enable here.
    fn hide_what_lacks_state(&mut self) {
        const AVX_1_ECX: u32 = 1 << 28 | 1 << 29 | 1 << 12;
        const AVX2: u32 = 1 << 5;
        const VAES_VPCLMULQDQ: u32 = 1 << 9 | 1 << 10;
        const XOP_FMA4: u32 = 1 << 11 | 1 << 16;
        const AVX_7_1: u32 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 4 | 1 << 23;
        const AVX512_7_EBX: u32 = 1 << 16 | 1 << 17 | 1 << 21 | 1 << 28 | 1 << 30 | 1 << 31;
        const AVX512_7_ECX: u32 = 1 << 1 | 1 << 6 | 1 << 11 | 1 << 12 | 1 << 14;
        const AVX512_7_EDX: u32 = 1 << 8 | 1 << 23;
        const AVX512_BF16: u32 = 1 << 5;
        const PKU: u32 = 1 << 3;
        const XSAVE: u32 = 1 << 26;

        let available = self.xsave.as_ref().map_or(0, Xsave::components);
        let [_, one, _, _, _, _, _, seven, ..] = &mut self.basic;
        let [_, extended_one, ..] = &mut self.extended;
        if self.xsave.is_none() {
            one[2] &= !XSAVE;
        }
        if available & xcr0::AVX == 0 {
            one[2] &= !AVX_1_ECX;
            seven[1] &= !AVX2;
            seven[2] &= !VAES_VPCLMULQDQ;
            self.leaf_7_1[0] &= !AVX_7_1;
            extended_one[2] &= !XOP_FMA4;
        }
        if available & xcr0::AVX512 != xcr0::AVX512 {
            seven[1] &= !AVX512_7_EBX;
            seven[2] &= !AVX512_7_ECX;
            seven[3] &= !AVX512_7_EDX;
            self.leaf_7_1[0] &= !AVX512_BF16;
        }
        if available & xcr0::PKRU == 0 {
            seven[2] &= !PKU;
        }
    }

    /// The bits of CR4, EFER and XCR0 that the shown features come with.
    fn register_bits(&self) -> Allowed {
        let [_, [_, _, c1, d1], _, _, _, _, _, [_, b7, c7, _], ..] = self.basic;
        let [_, [_, _, _, d81], ..] = self.extended;
        let pick = |register: u32, pairs: &[(u32, u64)]| {
            let present = pairs.iter().filter(|(bit, _)| register >> bit & 1 != 0);
            present.fold(0, |bits, (_, control)| bits | control)
        };
        // PCE has no bit in CPUID.
        let cr4 = cr4::PCE
            | pick(
                d1,
                &[(1, cr4::VME | cr4::PVI), (2, cr4::DE), (3, cr4::PSE), (4, cr4::TSD), (6, cr4::PAE)],
            )
            | pick(d1, &[(7, cr4::MCE), (13, cr4::PGE), (24, cr4::OSFXSR), (25, cr4::OSXMMEXCPT)])
            | pick(c1, &[(17, cr4::PCIDE), (26, cr4::OSXSAVE)])
            | pick(b7, &[(0, cr4::FSGSBASE), (7, cr4::SMEP), (20, cr4::SMAP)])
            | pick(c7, &[(2, cr4::UMIP), (3, cr4::PKE)]);
        let long_mode = efer::LME | efer::LMA;
        let efer = pick(d81, &[(11, efer::SCE), (20, efer::NXE), (25, efer::FFXSR), (29, long_mode)]);
        let xcr0 = self.xsave.as_ref().map_or(0, Xsave::components);
        let [_, _, _, _, _, _, _, _, [a88, ..], ..] = self.extended;
        Allowed { cr4, efer, xcr0, physical_bits: a88 & 0xff }
    }
}

/// The host's CPUID instruction, with its limits.
struct Host<F> {
    cpuid: F,
    last_basic: u32,
    last_extended: u32,
}

impl<F: Fn(u32, u32) -> Registers> Host<F> {
    fn new(cpuid: F) -> Self {
        let [last_basic, ..] = cpuid(0, 0);
        let [last_extended, ..] = cpuid(FIRST_EXTENDED, 0);
        Self { cpuid, last_basic, last_extended }
    }

    /// The host's answer; zeros beyond its last leaf.
    fn ask(&self, leaf: u32, subleaf: u32) -> Registers {
        let last = if leaf >= FIRST_EXTENDED { self.last_extended } else { self.last_basic };
        if leaf > last { ZERO } else { (self.cpuid)(leaf, subleaf) }
    }

    /// The bits of `register` that the host has and a guest may see.
    fn bits(&self, register: &f::FeatureRegister) -> u32 {
        let (leaf, subleaf, index) = register.place;
        let value = self.ask(leaf, subleaf).get(usize::from(index)).copied().unwrap_or_default();
        value & register.mask()
    }

    fn basic_leaf(&self, leaf: u32, guest: &GuestCpu) -> Registers {
        let [a, b, c, d] = self.ask(leaf, 0);
        match leaf {
            // x2APIC needs leaf 0xB, whatever the host has.
            0 => [self.last_basic.clamp(0xb, LAST_BASIC), b, c, d],
            1 => {
                let clflush_size = b & 0xff00;
                let ids = guest.apic_id.0 << 24 | 1 << 16 | clflush_size;
                let emulated = X2APIC | TSC_DEADLINE | HYPERVISOR;
                [a, ids, self.bits(&f::LEAF_1_ECX) | emulated, self.bits(&f::LEAF_1_EDX)]
            }
            2 => [a, b, c, d],
            6 => [ARAT, 0, 0, 0],
            7 => {
                let (ebx, ecx) = (self.bits(&f::LEAF_7_EBX), self.bits(&f::LEAF_7_ECX));
                [a.min(1), ebx, ecx, self.bits(&f::LEAF_7_EDX)]
            }
            // 4, 0xB and 0xD have subleaves; 3, 5, 8, 9, 0xA and 0xC describe what no guest has.
            _ => ZERO,
        }
    }

    fn extended_leaf(&self, leaf: u32, guest: &GuestCpu) -> Registers {
        let [a, b, c, d] = self.ask(leaf, 0);
        match leaf {
            FIRST_EXTENDED => [self.last_extended.clamp(0x8000_0008, LAST_EXTENDED), b, c, d],
            0x8000_0001 => [a, b, self.bits(&f::EXTENDED_1_ECX), self.bits(&f::EXTENDED_1_EDX)],
            // The name; cache and TLB geometry; speed hints.
            0x8000_0002..=0x8000_0006 | 0x8000_0019 | 0x8000_001a => [a, b, c, d],
            0x8000_0007 if guest.tsc_stability == TscStability::Invariant => [0, 0, 0, d & INVARIANT_TSC],
            0x8000_0008 => [self.address_sizes(a), self.bits(&f::EXTENDED_8_EBX), 0, 0],
            0x8000_001e if self.bits(&f::EXTENDED_1_ECX) >> 22 & 1 != 0 => [guest.apic_id.0, 0, 0, 0],
            0x8000_0021 => [self.bits(&f::EXTENDED_21_EAX), 0, 0, 0],
            _ => ZERO,
        }
    }

    /// Widths of physical and linear addresses, where a guest is given less than the host may have.
    fn address_sizes(&self, host: u32) -> u32 {
        // A processor without the leaf has 36 and 32 bits; none that runs guests lacks it.
        let physical = match host & 0xff {
            0 => 36,
            bits => bits.min(MAX_PHYSICAL_BITS),
        };
        let linear = (host >> 8 & 0xff).min(48);
        linear << 8 | physical
    }

    /// The caches that `leaf` describes, shared with nobody.
    fn caches(&self, leaf: u32) -> [Registers; CACHES as usize] {
        const SHARING_AND_CORES: u32 = 0xffff_c000;
        let mut caches = [ZERO; CACHES as usize];
        for (subleaf, cache) in (0..CACHES).zip(caches.iter_mut()) {
            let [a, b, c, d] = self.ask(leaf, subleaf);
            if a & 0x1f == 0 {
                break;
            }
            *cache = [a & !SHARING_AND_CORES, b, c, d];
        }
        caches
    }
}

#[cfg(test)]
mod tests;
