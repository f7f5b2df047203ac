//! What is done about a processor's vulnerabilities.

use super::processor::{Features, Processor, Vendor, arch};
use super::vulnerabilities::Vulnerabilities as V;
use bitflags::bitflags;

bitflags! {
    /// Bits 7:0 are what the world switch tests, 15:8 happen when a CPU turns to a vCPU, the others once.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Actions: u32 {
        /// VERW before each entry.
        const CLEAR_BUFFERS = 1 << 0;
        /// The return stack filled after each exit.
        const FILL_RETURN_STACK = 1 << 1;
        /// SPEC_CTRL.IBRS on after each exit, off before each entry.
        const SWITCH_IBRS = 1 << 2;
        /// PRED_CMD.IBPB.
        const BRANCH_BARRIER = 1 << 8;
        /// FLUSH_CMD.L1D_FLUSH.
        const FLUSH_L1D = 1 << 9;
        /// A division, whose quotient replaces one of the last guest.
        const CLEAR_DIVIDER = 1 << 10;
        /// SPEC_CTRL.IBRS for ever.
        const KEEP_IBRS = 1 << 16;
        /// EFER.AIBRSE.
        const AUTO_IBRS = 1 << 17;
        /// SPEC_CTRL.RRSBA_DIS_S.
        const NO_RETURN_ALTERNATIVES = 1 << 18;
        /// SPEC_CTRL.BHI_DIS_S.
        const NO_GUEST_HISTORY = 1 << 19;
        /// DE_CFG bit 9.
        const NO_ZENBLEED = 1 << 20;
        /// BP_CFG.BP_SPEC_REDUCE.
        const REDUCE_SPECULATION = 1 << 21;
        /// Guests execute from 4 KiB pages only.
        const SMALL_EXECUTABLE_PAGES = 1 << 24;
    }
}

impl Actions {
    /// What `processor` can do about `vulnerabilities`.
    pub fn of(processor: &Processor, vulnerabilities: V) -> Self {
        let has = |feature| processor.features.contains(feature);
        let says = |bits| processor.says(bits);
        let suffers = |any: V| vulnerabilities.intersects(any);
        let intel = processor.vendor == Vendor::Intel;
        let bare = !has(Features::VIRTUAL);
        let lasting = processor.has_lasting_ibrs();
        let clears = suffers(V::MDS | V::TAA | V::MMIO) && has(Features::MD_CLEAR)
            || suffers(V::MMIO) && says(arch::FB_CLEAR)
            || suffers(V::RFDS) && says(arch::RFDS_CLEAR)
            || suffers(V::TSA) && has(Features::VERW_CLEAR);
        // Without microcode that restricts branches, a clean return stack would be one open door of many.
        let fills = suffers(V::PBRSB)
            || suffers(V::SPECTRE_V2)
                && !lasting
                && processor.features.intersects(Features::IBRS | Features::IBPB);
        let wanted = [
            (Self::CLEAR_BUFFERS, clears),
            (Self::FILL_RETURN_STACK, fills),
            (Self::SWITCH_IBRS, intel && suffers(V::SPECTRE_V2) && has(Features::IBRS) && !lasting),
            (Self::BRANCH_BARRIER, has(Features::IBPB)),
            (Self::FLUSH_L1D, suffers(V::L1TF) && has(Features::L1D_FLUSH) && !says(arch::SKIP_L1DFL)),
            (Self::CLEAR_DIVIDER, suffers(V::DIV0)),
            (Self::KEEP_IBRS, intel && suffers(V::SPECTRE_V2) && says(arch::IBRS_ALL) && has(Features::IBRS)),
            (Self::AUTO_IBRS, has(Features::AUTO_IBRS)),
            (Self::NO_RETURN_ALTERNATIVES, has(Features::RRSBA_CTRL)),
            (Self::NO_GUEST_HISTORY, suffers(V::BHI) && has(Features::BHI_CTRL)),
            (Self::NO_ZENBLEED, suffers(V::ZENBLEED) && bare),
            (Self::REDUCE_SPECULATION, suffers(V::SRSO) && has(Features::BP_SPEC_REDUCE) && bare),
            (Self::SMALL_EXECUTABLE_PAGES, suffers(V::ITLB_MULTIHIT)),
        ];
        wanted.iter().filter(|(_, wanted)| *wanted).fold(Self::empty(), |all, (one, _)| all | *one)
    }
}
