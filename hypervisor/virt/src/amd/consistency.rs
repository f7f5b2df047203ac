//! Why VMRUN refuses a VMCB: the processor's checks, in the manual's order (APM 24593, volume 2, section 15.5.1, and
//! 15.20 for injection, 15.25.3 for nested paging).
//!
//! The processor says only that something is wrong, and QEMU 10.0 overwrites the save area then. So registers are
//! judged when the hypervisor sets them, which is seldom: a running guest cannot make them inconsistent. The control
//! area is judged after the fact, on the way to ending the VM.

use super::capabilities::Capabilities;
use super::intercepts::Intercepts2;
use super::vmcb::{ControlArea, SaveArea};
use vcpu::control::{cr0, cr4, efer};
use vcpu::{FieldValue, OffendingFields, Segment};

/// The CR4 bits that some processor has; the rest must be zero.
const CR4_DEFINED: u64 = cr4::VME
    | cr4::PVI
    | cr4::TSD
    | cr4::DE
    | cr4::PSE
    | cr4::PAE
    | cr4::MCE
    | cr4::PGE
    | cr4::PCE
    | cr4::OSFXSR
    | cr4::OSXMMEXCPT
    | cr4::UMIP
    | cr4::LA57
    | cr4::FSGSBASE
    | cr4::PCIDE
    | cr4::OSXSAVE
    | cr4::SMEP
    | cr4::SMAP
    | cr4::PKE
    | cr4::CET;

/// SCE, LME, LMA, NXE, SVME, LMSLE, FFXSR, TCE, MCOMMIT, INTWB, UAIE, AIBRSE.
const EFER_DEFINED: u64 = 0x36_fd01;

/// What a refusal is put down to when no check fails.
const UNKNOWN: &str = "VMRUN refused the VMCB for a reason that none of the documented checks explains";

/// What a refusal is put down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check that failed.
    pub reason: &'static str,
    /// What failed it.
    pub fields: OffendingFields,
}

/// Why VMRUN refused: what [`registers`] had found, or what is wrong with `control`.
pub fn explain(registers: Option<Finding>, control: &ControlArea, capabilities: &Capabilities) -> Finding {
    registers
        .or_else(|| control_area(control, capabilities))
        .or_else(|| injection(control.event_injection))
        .unwrap_or(Finding { reason: UNKNOWN, fields: OffendingFields::default() })
}

/// A check: whether it fails, what it says then, and of what.
type Check<'a> = (bool, &'static str, &'a [(&'static str, u64)]);

fn first_failure(checks: &[Check<'_>]) -> Option<Finding> {
    let (_, reason, named) = checks.iter().find(|(fails, ..)| *fails)?;
    let mut fields = [None; OffendingFields::MAX];
    for (slot, (name, value)) in fields.iter_mut().zip(*named) {
        *slot = Some(FieldValue { name, value: *value });
    }
    Some(Finding { reason, fields: OffendingFields::new(fields) })
}

/// The first check that the registers in `save` fail.
pub fn registers(save: &SaveArea, capabilities: &Capabilities) -> Option<Finding> {
    let long_mode_paging = save.efer & efer::LME != 0 && save.cr0 & cr0::PG != 0;
    let long = save.cs.attributes() & Segment::LONG != 0;
    let big = save.cs.attributes() & Segment::DEFAULT_BIG != 0;
    let (cr0_field, cr4_field, efer_field) = (("CR0", save.cr0), ("CR4", save.cr4), ("EFER", save.efer));
    let code = ("CS attributes", u64::from(save.cs.attributes()));
    first_failure(&[
        (save.efer & efer::SVME == 0, "EFER.SVME is clear (APM 15.5.1)", &[efer_field]),
        (
            save.cr0 & cr0::CD == 0 && save.cr0 & cr0::NW != 0,
            "CR0.NW is set while CR0.CD is clear (APM 15.5.1)",
            &[cr0_field],
        ),
        (save.cr0 >> 32 != 0, "CR0 bits 63:32 are not zero (APM 15.5.1)", &[cr0_field]),
        (
            long_mode_paging && save.cr3 >> capabilities.physical_bits.min(52) != 0,
            "CR3 has a reserved bit set (APM 15.5.1)",
            &[("CR3", save.cr3)],
        ),
        (save.cr4 & !CR4_DEFINED != 0, "CR4 has a reserved bit set (APM 15.5.1)", &[cr4_field]),
        (save.dr6 >> 32 != 0, "DR6 bits 63:32 are not zero (APM 15.5.1)", &[("DR6", save.dr6)]),
        (save.dr7 >> 32 != 0, "DR7 bits 63:32 are not zero (APM 15.5.1)", &[("DR7", save.dr7)]),
        (save.efer & !EFER_DEFINED != 0, "EFER has a reserved bit set (APM 15.5.1)", &[efer_field]),
        (
            long_mode_paging && save.cr4 & cr4::PAE == 0,
            "EFER.LME and CR0.PG are set while CR4.PAE is clear (APM 15.5.1)",
            &[efer_field, cr0_field, cr4_field],
        ),
        (
            long_mode_paging && save.cr0 & cr0::PE == 0,
            "EFER.LME and CR0.PG are set while CR0.PE is clear (APM 15.5.1)",
            &[efer_field, cr0_field],
        ),
        (
            long_mode_paging && long && big,
            "CS.L and CS.D are both set in long mode (APM 15.5.1)",
            &[efer_field, cr0_field, code],
        ),
        (
            save.cr4 & cr4::CET != 0 && save.cr0 & cr0::WP == 0,
            "CR4.CET is set while CR0.WP is clear (APM 15.5.1)",
            &[cr0_field, cr4_field],
        ),
        (
            !valid_pat(save.g_pat),
            "G_PAT has a type that does not exist (APM 15.25.3)",
            &[("G_PAT", save.g_pat)],
        ),
    ])
}

fn control_area(control: &ControlArea, capabilities: &Capabilities) -> Option<Finding> {
    let reach = 1_u64 << capabilities.physical_bits.clamp(32, 52);
    let past_end = |base: u64, frames: u64| base >= reach || reach - base < frames * base::PAGE_BYTES;
    let asid = ("ASID", u64::from(control.asid));
    first_failure(&[
        (
            control.intercepts2 & Intercepts2::VMRUN.bits() == 0,
            "VMRUN is not intercepted (APM 15.5.1)",
            &[("intercepts at 0x10", u64::from(control.intercepts2))],
        ),
        (
            past_end(control.msrpm_base, 2),
            "the MSR permission map lies past physical memory (APM 15.5.1)",
            &[("MSRPM_BASE_PA", control.msrpm_base)],
        ),
        (
            past_end(control.iopm_base, 3),
            "the I/O permission map lies past physical memory (APM 15.5.1)",
            &[("IOPM_BASE_PA", control.iopm_base)],
        ),
        (control.asid == 0, "the ASID is zero (APM 15.5.1)", &[asid]),
        (
            control.asid >= capabilities.asids,
            "the ASID is one that this CPU does not have (APM 15.5.1)",
            &[asid],
        ),
        (
            past_end(control.nested_cr3, 1),
            "the nested page tables' root has a reserved bit set (APM 15.25.3)",
            &[("N_CR3", control.nested_cr3)],
        ),
    ])
}

/// Whether each of the eight fields is UC, WC, WT, WP, WB or UC- (APM, volume 2, table 7-9).
fn valid_pat(pat: u64) -> bool {
    pat.to_le_bytes().iter().all(|field| matches!(field, 0 | 1 | 4..=7))
}

/// APM, volume 2, section 15.20: the combinations that are illegal to inject.
fn injection(field: u64) -> Option<Finding> {
    const TYPE_EXCEPTION: u64 = 3;
    if !super::event::is_valid(field) {
        return None;
    }
    let kind = field >> 8 & 7;
    let vector = field & 0xff;
    let event = &[("EVENTINJ", field)];
    first_failure(&[
        (!matches!(kind, 0 | 2 | 3 | 4), "EVENTINJ has a reserved type (APM 15.20)", event),
        (
            kind == TYPE_EXCEPTION && vector == 2,
            "EVENTINJ names vector 2, the NMI, as an exception (APM 15.20)",
            event,
        ),
        (
            kind == TYPE_EXCEPTION && vector >= 32,
            "EVENTINJ names an exception that does not exist (APM 15.20)",
            event,
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amd::capabilities::capabilities;
    use crate::amd::vcpu::Vcpu;
    use crate::amd::vcpu::tests::vcpu;
    use crate::amd::vmcb::Vmcb;
    use std::vec::Vec;

    const LIMITS: Capabilities = capabilities(16, 1);

    fn finding_after(spoil: impl FnOnce(&mut Vmcb)) -> Finding {
        let mut vcpu: Vcpu = vcpu();
        spoil(vcpu.vmcb_mut());
        let vmcb = vcpu.vmcb();
        explain(registers(&vmcb.save, &LIMITS), &vmcb.control, &LIMITS)
    }

    #[test]
    fn a_vcpu_after_reset_passes_every_check() {
        assert_eq!(finding_after(|_| ()).reason, UNKNOWN);
    }

    #[test]
    fn each_spoilt_field_is_named() {
        type Spoil = fn(&mut Vmcb);
        let cases: [(Spoil, &str, &str); 12] = [
            (|v| v.save.efer = 0, "EFER.SVME", "EFER"),
            (|v| v.save.cr0 = cr0::NW, "CR0.NW", "CR0"),
            (|v| v.save.cr0 |= 1 << 32, "CR0 bits", "CR0"),
            (|v| v.save.cr4 = 1 << 31, "CR4", "CR4"),
            (|v| v.save.dr7 = 1 << 32, "DR7", "DR7"),
            (|v| v.save.efer |= 1 << 1, "EFER has", "EFER"),
            (
                |v| (v.save.efer, v.save.cr0) = (v.save.efer | efer::LME, cr0::PG | cr0::PE),
                "CR4.PAE",
                "EFER CR0 CR4",
            ),
            (|v| v.control.intercepts2 = 0, "VMRUN", "intercepts at 0x10"),
            (|v| v.control.asid = 0, "ASID is zero", "ASID"),
            (|v| v.control.msrpm_base = (1 << 40) - 4096, "MSR permission map", "MSRPM_BASE_PA"),
            (|v| v.save.g_pat = 2, "G_PAT", "G_PAT"),
            (|v| v.control.event_injection = 1 << 31 | 3 << 8 | 2, "vector 2", "EVENTINJ"),
        ];
        for (spoil, named, fields) in cases {
            let Finding { reason, fields: found } = finding_after(spoil);
            assert!(reason.contains(named), "{reason} does not name {named}");
            let found: Vec<_> = found.iter().map(|field| field.name).collect();
            assert_eq!(found.join(" "), fields, "{reason}");
        }
    }

    #[test]
    fn a_field_at_fault_comes_with_its_value() {
        let finding = finding_after(|v| v.save.dr7 = 0xa5 << 32);
        assert!(finding.fields.iter().eq([&FieldValue { name: "DR7", value: 0xa5 << 32 }]));
    }
}
