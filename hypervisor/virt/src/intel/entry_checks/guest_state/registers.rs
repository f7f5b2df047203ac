//! Checks on control registers, debug registers and MSRs (SDM 325462, volume 3, section 27.3.1.1).

use super::super::bits::{debugctl, entry, secondary};
use super::super::rules::{is_pat, obeys_fixed};
use super::super::{Field, Refusal, View, reject_if};
use vcpu::control::{cr0, cr4, efer};

const CR0: Field = Field::GUEST_CR0;
const CR4: Field = Field::GUEST_CR4;
const CONTROLS: Field = Field::ENTRY_CONTROLS;

pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    control_registers(view)?;
    debug_registers(view)?;
    msrs(view)
}

fn control_registers(view: &View<'_>) -> Result<(), Refusal> {
    let (required, allowed) = view.limits.cr0;
    let optional = if view.secondary(secondary::UNRESTRICTED) { cr0::PE | cr0::PG } else { 0 };
    reject_if(
        !obeys_fixed(view.read(CR0), (required & !optional, allowed)),
        "guest CR0 differs from what IA32_VMX_CR0_FIXED0 and 1 permit (SDM 27.3.1.1)",
        &[CR0],
    )?;
    reject_if(
        view.has(CR0, cr0::PG) && !view.has(CR0, cr0::PE),
        "guest CR0.PG is set while CR0.PE is clear (SDM 27.3.1.1)",
        &[CR0],
    )?;
    reject_if(
        !obeys_fixed(view.read(CR4), view.limits.cr4),
        "guest CR4 differs from what IA32_VMX_CR4_FIXED0 and 1 permit (SDM 27.3.1.1)",
        &[CR4],
    )?;
    reject_if(
        view.has(CR4, cr4::CET) && !view.has(CR0, cr0::WP),
        "guest CR4.CET is set while CR0.WP is clear (SDM 27.3.1.1)",
        &[CR0, CR4],
    )?;
    reject_if(
        view.has(CONTROLS, entry::LOAD_DEBUG_CONTROLS) && view.has(Field::GUEST_DEBUGCTL, debugctl::RESERVED),
        "guest IA32_DEBUGCTL has a reserved bit set (SDM 27.3.1.1)",
        &[Field::GUEST_DEBUGCTL],
    )?;
    reject_if(
        view.is_ia32e() && !(view.has(CR0, cr0::PG) && view.has(CR4, cr4::PAE)),
        "the guest is to be in IA-32e mode without CR0.PG or CR4.PAE (SDM 27.3.1.1)",
        &[CONTROLS, CR0, CR4],
    )?;
    reject_if(
        !view.is_ia32e() && view.has(CR4, cr4::PCIDE),
        "guest CR4.PCIDE is set outside IA-32e mode (SDM 27.3.1.1)",
        &[CONTROLS, CR4],
    )?;
    reject_if(
        !view.is_physical(view.read(Field::GUEST_CR3)),
        "guest CR3 has a bit beyond the physical-address width (SDM 27.3.1.1)",
        &[Field::GUEST_CR3],
    )
}

fn debug_registers(view: &View<'_>) -> Result<(), Refusal> {
    reject_if(
        view.has(CONTROLS, entry::LOAD_DEBUG_CONTROLS) && view.read(Field::GUEST_DR7) >> 32 != 0,
        "guest DR7 bits 63:32 are not zero (SDM 27.3.1.1)",
        &[Field::GUEST_DR7],
    )
}

fn msrs(view: &View<'_>) -> Result<(), Refusal> {
    for address in [Field::GUEST_SYSENTER_ESP, Field::GUEST_SYSENTER_EIP] {
        reject_if(
            !view.is_canonical(view.read(address)),
            "a SYSENTER address of the guest is not canonical (SDM 27.3.1.1)",
            &[address],
        )?;
    }
    reject_if(
        view.has(CONTROLS, entry::LOAD_PAT) && !is_pat(view.read(Field::GUEST_PAT)),
        "guest IA32_PAT has a type that does not exist (SDM 27.3.1.1)",
        &[Field::GUEST_PAT],
    )?;
    if view.has(CONTROLS, entry::LOAD_EFER) {
        mode_bits(view)?;
    }
    let bounds = view.read(Field::GUEST_BNDCFGS);
    reject_if(
        view.has(CONTROLS, entry::LOAD_BNDCFGS)
            && (bounds & 0xffc != 0 || !view.is_canonical(bounds & !0xfff)),
        "guest IA32_BNDCFGS has a reserved bit set or no canonical address (SDM 27.3.1.1)",
        &[Field::GUEST_BNDCFGS],
    )
}

fn mode_bits(view: &View<'_>) -> Result<(), Refusal> {
    const EFER: Field = Field::GUEST_EFER;
    reject_if(
        view.has(EFER, !view.limits.efer),
        "guest IA32_EFER has a reserved bit set (SDM 27.3.1.1)",
        &[EFER],
    )?;
    reject_if(
        view.has(EFER, efer::LMA) != view.is_ia32e(),
        "guest IA32_EFER.LMA is not the control \"IA-32e mode guest\" (SDM 27.3.1.1)",
        &[EFER, CONTROLS],
    )?;
    reject_if(
        view.has(CR0, cr0::PG) && view.has(EFER, efer::LMA) != view.has(EFER, efer::LME),
        "guest IA32_EFER.LMA is not LME while CR0.PG is set (SDM 27.3.1.1)",
        &[EFER, CR0],
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Case, each_is_named};
    use super::*;

    #[test]
    fn each_broken_register_is_named() {
        let cases: [Case; 16] = [
            (|v| v.toggle(CR0, cr0::NE), "guest CR0 differs"),
            (|v| v.toggle(CR0, 1 << 32), "guest CR0 differs"),
            (|v| v.toggle(CR0, cr0::PE), "CR0.PG is set while CR0.PE"),
            (|v| v.toggle(CR4, cr4::VMXE), "guest CR4 differs"),
            (
                |v| {
                    v.toggle(CR4, cr4::CET);
                    v.toggle(CR0, cr0::WP);
                },
                "guest CR4.CET",
            ),
            (|v| v.set(Field::GUEST_DEBUGCTL, 1 << 3), "IA32_DEBUGCTL"),
            (|v| v.toggle(CR4, cr4::PAE), "without CR0.PG or CR4.PAE"),
            (
                |v| {
                    v.toggle(CONTROLS, entry::IA32E_MODE_GUEST);
                    v.toggle(CR4, cr4::PCIDE);
                },
                "CR4.PCIDE",
            ),
            (|v| v.set(Field::GUEST_CR3, 1 << 40), "guest CR3"),
            (|v| v.set(Field::GUEST_DR7, 1 << 32), "guest DR7"),
            (|v| v.set(Field::GUEST_SYSENTER_ESP, 1 << 47), "SYSENTER"),
            (|v| v.set(Field::GUEST_PAT, 3 << 56), "guest IA32_PAT"),
            (|v| v.toggle(Field::GUEST_EFER, 1 << 12), "IA32_EFER has a reserved bit"),
            (|v| v.toggle(Field::GUEST_EFER, efer::LMA), "LMA is not the control"),
            (|v| v.toggle(Field::GUEST_EFER, efer::LME), "LMA is not LME"),
            (
                |v| {
                    v.toggle(CONTROLS, entry::LOAD_BNDCFGS);
                    v.set(Field::GUEST_BNDCFGS, 4);
                },
                "IA32_BNDCFGS",
            ),
        ];
        each_is_named(&cases, super::super::check);
    }

    #[test]
    fn a_restricted_guest_must_have_paging() {
        let unpaged: Case = (
            |v| {
                v.toggle(Field::SECONDARY_CONTROLS, secondary::UNRESTRICTED);
                v.set(CR0, cr0::PE | cr0::NE);
            },
            "guest CR0 differs",
        );
        each_is_named(&[unpaged], super::super::check);
    }
}
