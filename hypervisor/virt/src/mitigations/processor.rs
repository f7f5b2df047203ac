//! Which processor this is, and what it offers against its own vulnerabilities.

use bitflags::bitflags;
use core::fmt;

/// Who made it, as far as the table tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// AMD, and Hygon, whose family 0x18 is Zen 1.
    Amd,
    /// Intel.
    Intel,
    /// Anybody else.
    Other,
}

bitflags! {
    /// What CPUID shows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u32 {
        /// Indirect-branch restricted speculation.
        const IBRS = 1 << 0;
        /// Indirect-branch prediction barrier: PRED_CMD.
        const IBPB = 1 << 1;
        /// VERW overwrites buffers.
        const MD_CLEAR = 1 << 2;
        /// FLUSH_CMD.
        const L1D_FLUSH = 1 << 3;
        /// Transactions.
        const RTM = 1 << 4;
        /// Wide vectors, and with them GATHER.
        const AVX = 1 << 5;
        /// It is itself virtual: registers that only bare hardware has are left alone.
        const VIRTUAL = 1 << 6;
        /// Microcode protects RDRAND.
        const SRBDS_CTRL = 1 << 7;
        /// SPEC_CTRL.RRSBA_DIS_S.
        const RRSBA_CTRL = 1 << 8;
        /// SPEC_CTRL.BHI_DIS_S.
        const BHI_CTRL = 1 << 9;
        /// EFER.AIBRSE.
        const AUTO_IBRS = 1 << 10;
        /// AMD's MD_CLEAR.
        const VERW_CLEAR = 1 << 11;
        /// Not affected by SRSO.
        const SRSO_NO = 1 << 12;
        /// BP_CFG.BP_SPEC_REDUCE.
        const BP_SPEC_REDUCE = 1 << 13;
        /// Not affected by either of both parts of TSA.
        const TSA_SQ_NO = 1 << 14;
        /// See above.
        const TSA_L1_NO = 1 << 15;
        /// Not affected by retbleed.
        const BTC_NO = 1 << 16;
        /// Not affected by speculative store bypass.
        const SSB_NO = 1 << 17;
        /// There is ARCH_CAPABILITIES.
        const ARCH_CAPABILITIES = 1 << 18;
    }
}

/// Where each feature is told: leaf, subleaf, register (EAX is 0), bit.
const PLACES: [((u32, u32, u8), u8, Features); 21] = [
    ((1, 0, 2), 28, Features::AVX),
    ((1, 0, 2), 31, Features::VIRTUAL),
    ((7, 0, 1), 11, Features::RTM),
    ((7, 0, 3), 9, Features::SRBDS_CTRL),
    ((7, 0, 3), 10, Features::MD_CLEAR),
    ((7, 0, 3), 26, Features::IBRS),
    ((7, 0, 3), 26, Features::IBPB),
    ((7, 0, 3), 28, Features::L1D_FLUSH),
    ((7, 0, 3), 29, Features::ARCH_CAPABILITIES),
    ((7, 2, 3), 2, Features::RRSBA_CTRL),
    ((7, 2, 3), 4, Features::BHI_CTRL),
    ((0x8000_0008, 0, 1), 12, Features::IBPB),
    ((0x8000_0008, 0, 1), 14, Features::IBRS),
    ((0x8000_0008, 0, 1), 26, Features::SSB_NO),
    ((0x8000_0008, 0, 1), 29, Features::BTC_NO),
    ((0x8000_0021, 0, 0), 5, Features::VERW_CLEAR),
    ((0x8000_0021, 0, 0), 8, Features::AUTO_IBRS),
    ((0x8000_0021, 0, 0), 29, Features::SRSO_NO),
    ((0x8000_0021, 0, 0), 31, Features::BP_SPEC_REDUCE),
    ((0x8000_0021, 0, 2), 1, Features::TSA_SQ_NO),
    ((0x8000_0021, 0, 2), 2, Features::TSA_L1_NO),
];

/// Bits of IA32_ARCH_CAPABILITIES (SDM, volume 4, table 2-2).
pub mod arch {
    pub const RDCL_NO: u64 = 1 << 0;
    pub const IBRS_ALL: u64 = 1 << 1;
    pub const RSBA: u64 = 1 << 2;
    pub const SKIP_L1DFL: u64 = 1 << 3;
    pub const SSB_NO: u64 = 1 << 4;
    pub const MDS_NO: u64 = 1 << 5;
    pub const PSCHANGE_MC_NO: u64 = 1 << 6;
    pub const TSX_CTRL: u64 = 1 << 7;
    pub const TAA_NO: u64 = 1 << 8;
    pub const SBDR_SSDP_NO: u64 = 1 << 13;
    pub const FBSDP_NO: u64 = 1 << 14;
    pub const PSDP_NO: u64 = 1 << 15;
    pub const FB_CLEAR: u64 = 1 << 17;
    pub const BHI_NO: u64 = 1 << 20;
    pub const PBRSB_NO: u64 = 1 << 24;
    pub const GDS_CTRL: u64 = 1 << 25;
    pub const GDS_NO: u64 = 1 << 26;
    pub const RFDS_NO: u64 = 1 << 27;
    pub const RFDS_CLEAR: u64 = 1 << 28;
    pub const ITS_NO: u64 = 1 << 62;
}

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    pub vendor: Vendor,
    pub family: u16,
    pub model: u8,
    pub stepping: u8,
    pub features: Features,
    /// IA32_ARCH_CAPABILITIES; 0 where there is none.
    pub arch_capabilities: u64,
}

impl Processor {
    /// The one whose CPUID instruction is `cpuid(leaf, subleaf)`; ARCH_CAPABILITIES is read where there is one.
    pub fn detect(cpuid: impl Fn(u32, u32) -> [u32; 4], arch_capabilities: impl FnOnce() -> u64) -> Self {
        let [last_basic, b, c, d] = cpuid(0, 0);
        let [last_extended, ..] = cpuid(0x8000_0000, 0);
        let vendor = match [b, d, c].map(u32::to_le_bytes).as_flattened() {
            b"AuthenticAMD" | b"HygonGenuine" => Vendor::Amd,
            b"GenuineIntel" => Vendor::Intel,
            _ => Vendor::Other,
        };
        let mut features = Features::empty();
        for ((leaf, subleaf, register), bit, feature) in PLACES {
            let last = if leaf >= 0x8000_0000 { last_extended } else { last_basic };
            let has_subleaf = subleaf == 0 || cpuid(leaf, 0).first().is_some_and(|most| *most >= subleaf);
            if leaf <= last && has_subleaf {
                let value = cpuid(leaf, subleaf).get(usize::from(register)).copied().unwrap_or_default();
                features.set(feature, features.contains(feature) || value >> bit & 1 != 0);
            }
        }
        let [signature, ..] = cpuid(1, 0);
        let told = features.contains(Features::ARCH_CAPABILITIES);
        Self::from_signature(vendor, signature, features, if told { arch_capabilities() } else { 0 })
    }

    /// The one that CPUID leaf 1, EAX calls `signature` (SDM, volume 2, CPUID; APM, volume 3, appendix E.3.2).
    pub const fn from_signature(
        vendor: Vendor,
        signature: u32,
        features: Features,
        arch_capabilities: u64,
    ) -> Self {
        let base = (signature >> 8 & 0xf) as u16;
        let extended = if base == 6 || base == 0xf { (signature >> 12 & 0xf0) as u8 } else { 0 };
        Self {
            vendor,
            family: if base == 0xf { base + (signature >> 20 & 0xff) as u16 } else { base },
            model: extended | (signature >> 4 & 0xf) as u8,
            stepping: (signature & 0xf) as u8,
            features,
            arch_capabilities,
        }
    }

    /// Whether ARCH_CAPABILITIES has all of `bits`.
    pub const fn says(&self, bits: u64) -> bool {
        self.arch_capabilities & bits == bits
    }

    /// Whether it has one of both ways by which branch predictions made in a guest do not steer the host.
    pub const fn has_lasting_ibrs(&self) -> bool {
        self.says(arch::IBRS_ALL) || self.features.contains(Features::AUTO_IBRS)
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vendor = match self.vendor {
            Vendor::Amd => "AMD",
            Vendor::Intel => "Intel",
            Vendor::Other => "other",
        };
        write!(f, "{vendor} family {:#x} model {:#x} stepping {}", self.family, self.model, self.stepping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn families_and_models_are_put_together_as_the_manuals_say() {
        let of = |signature| {
            let p = Processor::from_signature(Vendor::Other, signature, Features::empty(), 0);
            (p.family, p.model, p.stepping)
        };
        assert_eq!(of(0x0005_0657), (6, 0x55, 7));
        assert_eq!(of(0x00a2_0f12), (0x19, 0x21, 2));
        assert_eq!(of(0x0006_0fb1), (0xf, 0x6b, 1));
        assert_eq!(of(0x0000_0543), (5, 4, 3));
    }

    #[test]
    fn features_come_from_either_vendors_place() {
        let amd = |leaf, _| match leaf {
            0 => [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
            0x8000_0000 => [0x8000_0021, 0, 0, 0],
            0x8000_0008 => [0, 1 << 12, 0, 0],
            0x8000_0021 => [1 << 8, 0, 0, 0],
            _ => [0; 4],
        };
        let zen = Processor::detect(amd, || unreachable!());
        assert_eq!((zen.vendor, zen.features), (Vendor::Amd, Features::IBPB | Features::AUTO_IBRS));
        let intel = |leaf, subleaf| match (leaf, subleaf) {
            (0, _) => [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
            (7, 0) => [2, 0, 0, 1 << 26 | 1 << 29],
            (7, 2) => [0, 0, 0, 1 << 4],
            _ => [0; 4],
        };
        let lake = Processor::detect(intel, || 0x2b);
        let expected = Features::IBRS | Features::IBPB | Features::ARCH_CAPABILITIES | Features::BHI_CTRL;
        assert_eq!((lake.vendor, lake.features, lake.arch_capabilities), (Vendor::Intel, expected, 0x2b));
    }

    proptest! {
        #[test]
        fn any_processor_gets_a_plan(registers: [u32; 4], arch_capabilities: u64) {
            let processor = Processor::detect(|_, _| registers, || arch_capabilities);
            let plan = std::string::ToString::to_string(&super::super::Mitigations::of(processor));
            prop_assert!(plan.contains("Spectre v1"));
        }
    }
}
