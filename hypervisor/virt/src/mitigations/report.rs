//! What `host cpus` says of each vulnerability.

use super::Mitigations;
use super::actions::Actions;
use super::processor::{Features, Processor, arch};
use super::vulnerabilities::Vulnerabilities as V;
use core::fmt;

/// What has become of a vulnerability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    NotAffected,
    /// By what.
    Mitigated(&'static str),
    /// Why.
    Vulnerable(&'static str),
}

use Verdict::{Mitigated, NotAffected, Vulnerable};

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAffected => f.write_str("not affected"),
            Mitigated(by) => f.write_str(by),
            Vulnerable(why) => write!(f, "vulnerable: {why}"),
        }
    }
}

/// A judge of one vulnerability in those that have it.
type Judge = fn(&Processor, Actions) -> Verdict;

const NO_MICROCODE: Verdict = Vulnerable("the microcode offers nothing against it: update the firmware");
/// What speculation in the hypervisor can reach when nothing stops it.
const OWN_MEMORY_ONLY: &str = "not stopped; no other VM's memory is mapped while a VM is served";

/// What clears buffers does so for all that leak from them.
fn by_verw(_: &Processor, actions: Actions) -> Verdict {
    if actions.contains(Actions::CLEAR_BUFFERS) { Mitigated("VERW before entries") } else { NO_MICROCODE }
}

fn by(action: Actions, actions: Actions, text: &'static str, otherwise: Verdict) -> Verdict {
    if actions.contains(action) { Mitigated(text) } else { otherwise }
}

/// Names and judges, in the order of the output.
pub(super) const VULNERABILITIES: [(V, &str, Judge); 21] = [
    (V::SPECTRE_V1, "Spectre v1 (CVE-2017-5753)", |_, _| Vulnerable(OWN_MEMORY_ONLY)),
    (V::SPECTRE_V2, "Spectre v2 (CVE-2017-5715)", spectre_v2),
    (V::MELTDOWN, "Meltdown (CVE-2017-5754)", |_, _| {
        Mitigated("guests' tables map nothing of the hypervisor")
    }),
    (V::SSB, "SSB (CVE-2018-3639)", |_, _| {
        Vulnerable("inside of guests, which are given no SSBD; the hypervisor runs no code of others")
    }),
    (V::L1TF, "L1TF (CVE-2018-3646)", |_, actions| {
        by(Actions::FLUSH_L1D, actions, "L1D flushed between VMs", NO_MICROCODE)
    }),
    (V::MDS, "MDS (CVE-2018-12126)", by_verw),
    (V::TAA, "TAA (CVE-2019-11135)", by_verw),
    (V::MMIO, "MMIO stale data (CVE-2022-21123)", by_verw),
    (V::RFDS, "RFDS (CVE-2023-28746)", by_verw),
    (V::SRBDS, "SRBDS (CVE-2020-0543)", |processor, _| {
        let patched = processor.features.contains(Features::SRBDS_CTRL);
        if patched { Mitigated("microcode") } else { NO_MICROCODE }
    }),
    (V::GDS, "GDS (CVE-2022-40982)", |processor, _| {
        if processor.says(arch::GDS_CTRL) { Mitigated("microcode") } else { NO_MICROCODE }
    }),
    (V::ITLB_MULTIHIT, "iTLB multihit (CVE-2018-12207)", |_, actions| {
        let hidden = Vulnerable("guests execute from large pages");
        by(Actions::SMALL_EXECUTABLE_PAGES, actions, "guests execute from 4 KiB pages", hidden)
    }),
    (V::BHI, "BHI (CVE-2022-0001)", |_, actions| {
        by(Actions::NO_GUEST_HISTORY, actions, "BHI_DIS_S", Vulnerable(OWN_MEMORY_ONLY))
    }),
    (V::RETBLEED, "Retbleed (CVE-2022-29900)", retbleed),
    (V::SRSO, "SRSO (CVE-2023-20569)", |_, actions| {
        by(Actions::REDUCE_SPECULATION, actions, "BP_SPEC_REDUCE", Vulnerable(OWN_MEMORY_ONLY))
    }),
    (V::TSA, "TSA (CVE-2024-36350)", by_verw),
    (V::ZENBLEED, "Zenbleed (CVE-2023-20593)", |_, actions| {
        let virtual_host = Vulnerable("the hypervisor below has to act, as this CPU is virtual");
        by(Actions::NO_ZENBLEED, actions, "DE_CFG bit 9", virtual_host)
    }),
    (V::DIV0, "DIV0 (CVE-2023-20588)", |_, _| Mitigated("a division between VMs")),
    (V::ITS, "ITS (CVE-2024-28956)", |_, _| Vulnerable(OWN_MEMORY_ONLY)),
    (V::PBRSB, "PBRSB (CVE-2022-26373)", |_, actions| {
        by(Actions::FILL_RETURN_STACK, actions, "return stack filled after exits", NO_MICROCODE)
    }),
    (V::EXCEPTION_LOOPS, "#AC, #DB loops (CVE-2015-5307, -8104)", |_, _| {
        Mitigated("both exceptions leave the guest")
    }),
];

fn spectre_v2(processor: &Processor, actions: Actions) -> Verdict {
    if !actions.contains(Actions::BRANCH_BARRIER) {
        return NO_MICROCODE;
    }
    if processor.has_lasting_ibrs() && actions.intersects(Actions::KEEP_IBRS | Actions::AUTO_IBRS) {
        return Mitigated("lasting IBRS, IBPB between VMs");
    }
    if actions.contains(Actions::SWITCH_IBRS) {
        return Mitigated("IBRS and a filled return stack after exits, IBPB between VMs");
    }
    Vulnerable("IBPB between VMs only; no other VM's memory is mapped while a VM is served")
}

fn retbleed(processor: &Processor, actions: Actions) -> Verdict {
    if actions.contains(Actions::SWITCH_IBRS) {
        return Mitigated("IBRS after exits");
    }
    if actions.contains(Actions::KEEP_IBRS) && processor.says(arch::IBRS_ALL) {
        return Mitigated("lasting IBRS");
    }
    Vulnerable(OWN_MEMORY_ONLY)
}

impl Mitigations {
    /// What has become of `vulnerability`.
    pub(super) fn verdict(&self, vulnerability: V, judge: Judge) -> Verdict {
        if self.vulnerabilities.contains(vulnerability) {
            judge(&self.processor, self.actions)
        } else {
            NotAffected
        }
    }
}

/// The processor, then a line for each vulnerability.
impl fmt::Display for Mitigations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.processor)?;
        VULNERABILITIES.iter().try_for_each(|(vulnerability, name, judge)| {
            write!(f, "\n  {name:<38} {}", self.verdict(*vulnerability, *judge))
        })
    }
}
