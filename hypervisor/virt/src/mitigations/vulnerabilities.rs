//! Which processor has which vulnerability.
//!
//! The table says what a processor was born with; what it says of itself takes away from that.

use super::processor::{Features, Processor, Vendor, arch};
use bitflags::bitflags;

bitflags! {
    /// What a processor is vulnerable to.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Vulnerabilities: u32 {
        /// Bounds check bypass.
        const SPECTRE_V1 = 1 << 0;
        /// Branch target injection.
        const SPECTRE_V2 = 1 << 1;
        /// Rogue data cache load.
        const MELTDOWN = 1 << 2;
        /// Speculative store bypass.
        const SSB = 1 << 3;
        /// L1 terminal fault.
        const L1TF = 1 << 4;
        /// Microarchitectural data sampling.
        const MDS = 1 << 5;
        /// Transactional asynchronous abort.
        const TAA = 1 << 6;
        /// Processor MMIO stale data.
        const MMIO = 1 << 7;
        /// Register file data sampling.
        const RFDS = 1 << 8;
        /// Special register buffer data sampling.
        const SRBDS = 1 << 9;
        /// Gather data sampling.
        const GDS = 1 << 10;
        /// Machine check by a change of the page size of code.
        const ITLB_MULTIHIT = 1 << 11;
        /// Branch history injection.
        const BHI = 1 << 12;
        /// Return instructions predicted as branches.
        const RETBLEED = 1 << 13;
        /// Speculative return stack overflow.
        const SRSO = 1 << 14;
        /// Transient scheduler attacks.
        const TSA = 1 << 15;
        /// Cross-process information leak by vector registers.
        const ZENBLEED = 1 << 16;
        /// Stale quotients after a division by zero.
        const DIV0 = 1 << 17;
        /// Indirect target selection.
        const ITS = 1 << 18;
        /// Return predictions after an exit despite enhanced IBRS.
        const PBRSB = 1 << 19;
        /// Exceptions raised by their own delivery, for ever.
        const EXCEPTION_LOOPS = 1 << 20;
    }
}

use Vulnerabilities as V;

/// What every processor that speculates has.
const ALL: V = V::SPECTRE_V1.union(V::SPECTRE_V2).union(V::SSB).union(V::EXCEPTION_LOOPS);
/// Intel's Core until it says otherwise.
const CORE: V =
    ALL.union(V::MELTDOWN).union(V::L1TF).union(V::MDS).union(V::ITLB_MULTIHIT).union(V::BHI).union(V::PBRSB);
const ATOM: V = ALL.union(V::MELTDOWN).union(V::BHI);
const SILVERMONT: V = ATOM.difference(V::SSB).union(V::MDS);
const GOLDMONT: V = ATOM.union(V::RFDS);
const TREMONT: V = GOLDMONT.union(V::MMIO);
const SKYLAKE: V = CORE.union(V::MMIO).union(V::RETBLEED).union(V::GDS);
const SKYLAKE_CLIENT: V = SKYLAKE.union(V::SRBDS);
const ICE_LAKE_SERVER: V = CORE.union(V::MMIO).union(V::GDS).union(V::ITS);
const COMET_LAKE: V = SKYLAKE_CLIENT.union(V::ITS);
const ALDER_LAKE: V = CORE.union(V::RFDS);
const ZEN_1: V = ALL.union(V::RETBLEED).union(V::SRSO).union(V::DIV0);
const ZEN_2: V = ALL.union(V::RETBLEED).union(V::SRSO).union(V::ZENBLEED);
const ZEN_3: V = ALL.union(V::SRSO).union(V::TSA);

/// Models of one family, first to last, with steppings up to one.
struct Row {
    vendor: Vendor,
    family: u16,
    models: (u8, u8),
    last_stepping: u8,
    has: V,
}

const ANY: (u8, u8) = (0, 0xff);
const LATEST: u8 = 0xf;

const fn intel(model: u8, last_stepping: u8, has: V) -> Row {
    Row { vendor: Vendor::Intel, family: 6, models: (model, model), last_stepping, has }
}

const fn amd(family: u16, models: (u8, u8), has: V) -> Row {
    Row { vendor: Vendor::Amd, family, models, last_stepping: LATEST, has }
}

/// The first row that fits counts.
const TABLE: [Row; 63] = [
    // Ivy Bridge, Haswell, Broadwell.
    intel(0x3a, LATEST, CORE.union(V::SRBDS)),
    intel(0x3c, LATEST, CORE.union(V::SRBDS)),
    intel(0x45, LATEST, CORE.union(V::SRBDS)),
    intel(0x46, LATEST, CORE.union(V::SRBDS)),
    intel(0x3f, LATEST, CORE.union(V::MMIO)),
    intel(0x3d, LATEST, CORE.union(V::SRBDS)),
    intel(0x47, LATEST, CORE.union(V::SRBDS)),
    intel(0x4f, LATEST, CORE.union(V::MMIO)),
    intel(0x56, LATEST, CORE.union(V::MMIO)),
    // Skylake-SP; Cascade Lake and Cooper Lake; Skylake, Kaby Lake and Coffee Lake.
    intel(0x55, 5, SKYLAKE),
    intel(0x55, LATEST, SKYLAKE.union(V::ITS)),
    intel(0x4e, LATEST, SKYLAKE_CLIENT),
    intel(0x5e, LATEST, SKYLAKE_CLIENT),
    intel(0x8e, 0xb, SKYLAKE_CLIENT),
    intel(0x8e, LATEST, COMET_LAKE),
    intel(0x9e, 0xc, SKYLAKE_CLIENT),
    intel(0x9e, LATEST, COMET_LAKE),
    // Cannon, Ice, Comet, Tiger, Rocket Lake, Lakefield.
    intel(0x66, LATEST, CORE.union(V::RETBLEED)),
    intel(0x7e, LATEST, COMET_LAKE),
    intel(0x6a, LATEST, ICE_LAKE_SERVER),
    intel(0x6c, LATEST, ICE_LAKE_SERVER),
    intel(0xa5, LATEST, COMET_LAKE),
    intel(0xa6, 0, SKYLAKE.difference(V::GDS).union(V::ITS)),
    intel(0xa6, LATEST, COMET_LAKE),
    intel(0x8c, LATEST, CORE.union(V::GDS).union(V::ITS)),
    intel(0x8d, LATEST, CORE.union(V::GDS).union(V::ITS)),
    intel(0xa7, LATEST, SKYLAKE.union(V::ITS)),
    intel(0x8a, LATEST, CORE.union(V::MMIO).union(V::SRBDS).union(V::RETBLEED)),
    // Alder and Raptor Lake, and Alder Lake N, whose cores are Gracemont.
    intel(0x97, LATEST, ALDER_LAKE),
    intel(0x9a, LATEST, ALDER_LAKE),
    intel(0xb7, LATEST, ALDER_LAKE),
    intel(0xba, LATEST, ALDER_LAKE),
    intel(0xbf, LATEST, ALDER_LAKE),
    intel(0xbe, LATEST, GOLDMONT.union(V::PBRSB)),
    // Silvermont and Airmont.
    intel(0x37, LATEST, SILVERMONT),
    intel(0x4a, LATEST, SILVERMONT),
    intel(0x4c, LATEST, SILVERMONT),
    intel(0x4d, LATEST, SILVERMONT),
    intel(0x5a, LATEST, SILVERMONT),
    intel(0x5d, LATEST, SILVERMONT),
    intel(0x75, LATEST, SILVERMONT.difference(V::MDS)),
    // Goldmont, Tremont, and the first Atoms, which do not speculate.
    intel(0x5c, LATEST, GOLDMONT),
    intel(0x5f, LATEST, GOLDMONT),
    intel(0x7a, LATEST, GOLDMONT),
    intel(0x86, LATEST, TREMONT),
    intel(0x96, LATEST, TREMONT.union(V::SRBDS)),
    intel(0x9c, LATEST, TREMONT.union(V::SRBDS)),
    intel(0x1c, LATEST, V::EXCEPTION_LOOPS),
    intel(0x26, LATEST, V::EXCEPTION_LOOPS),
    intel(0x36, LATEST, V::EXCEPTION_LOOPS),
    // Bulldozer to Excavator, Jaguar.
    amd(0x15, ANY, ALL.union(V::RETBLEED)),
    amd(0x16, ANY, ALL.union(V::RETBLEED)),
    amd(0x17, (0x00, 0x2f), ZEN_1),
    amd(0x17, (0x50, 0x5f), ZEN_1),
    amd(0x17, ANY, ZEN_2),
    amd(0x18, ANY, ZEN_1),
    amd(0x19, ANY, ZEN_3),
    // Zen 5.
    amd(0x1a, ANY, ALL.union(V::SRSO)),
    // Before Bulldozer stores are not bypassed.
    amd(0x0f, ANY, ALL.difference(V::SSB)),
    amd(0x10, ANY, ALL.difference(V::SSB)),
    amd(0x11, ANY, ALL.difference(V::SSB)),
    amd(0x12, ANY, ALL.difference(V::SSB)),
    amd(0x14, ANY, ALL),
];

impl Row {
    fn fits(&self, processor: &Processor) -> bool {
        let (first, last) = self.models;
        self.vendor == processor.vendor
            && self.family == processor.family
            && (first..=last).contains(&processor.model)
            && processor.stepping <= self.last_stepping
    }
}

impl Vulnerabilities {
    /// Those of `processor`.
    pub fn of(processor: &Processor) -> Self {
        let unlisted = if processor.vendor == Vendor::Intel { CORE } else { ALL };
        let mut has = TABLE.iter().find(|row| row.fits(processor)).map_or(unlisted, |row| row.has);
        if processor.vendor == Vendor::Intel {
            has |= Self::by_enumeration(processor);
        }
        has - Self::denied(processor)
    }

    /// What no table tells, but the processor itself.
    fn by_enumeration(processor: &Processor) -> Self {
        let mut has = Self::empty();
        let transactions = processor.features.contains(Features::RTM) || processor.says(arch::TSX_CTRL);
        has.set(V::TAA, transactions && !processor.says(arch::TAA_NO));
        has.set(V::RETBLEED, processor.says(arch::RSBA));
        has.set(V::RFDS, processor.says(arch::RFDS_CLEAR));
        has
    }

    /// What the processor says that it does not have.
    fn denied(processor: &Processor) -> Self {
        let has = |feature| processor.features.contains(feature);
        let says = |bits| processor.says(bits);
        let buffers = arch::SBDR_SSDP_NO | arch::FBSDP_NO | arch::PSDP_NO;
        let denials = [
            (V::MELTDOWN.union(V::L1TF), says(arch::RDCL_NO)),
            (V::SSB, says(arch::SSB_NO) || has(Features::SSB_NO)),
            (V::MDS, says(arch::MDS_NO)),
            (V::ITLB_MULTIHIT, says(arch::PSCHANGE_MC_NO)),
            (V::MMIO, says(buffers)),
            (V::RFDS, says(arch::RFDS_NO)),
            (V::GDS, says(arch::GDS_NO) || !has(Features::AVX)),
            // History matters where targets are kept apart, that is with enhanced IBRS.
            (V::BHI, says(arch::BHI_NO) || !says(arch::IBRS_ALL)),
            (V::PBRSB, says(arch::PBRSB_NO) || !says(arch::IBRS_ALL)),
            (V::ITS, says(arch::ITS_NO)),
            (V::RETBLEED, has(Features::BTC_NO)),
            (V::SRSO, has(Features::SRSO_NO)),
            (V::TSA, has(Features::TSA_SQ_NO) && has(Features::TSA_L1_NO)),
        ];
        denials.iter().filter(|(_, denied)| *denied).fold(Self::empty(), |all, (one, _)| all | *one)
    }
}
