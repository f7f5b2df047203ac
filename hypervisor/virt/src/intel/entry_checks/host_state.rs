//! Checks on the host-state area (SDM 325462, volume 3, sections 27.2.2 to 27.2.4).
//!
//! The host is a 64-bit one; what else a processor would accept is refused by the first check of section 27.2.4.

use super::bits::{exit, selector};
use super::rules::{is_pat, obeys_fixed};
use super::{Field, Refusal, View, reject_if};
use vcpu::control::{cr0, cr4, efer};

/// All of them, in the manual's order.
pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    registers(view)?;
    segments(view)?;
    address_space(view)
}

fn registers(view: &View<'_>) -> Result<(), Refusal> {
    let (host_cr0, host_cr4) = (Field::HOST_CR0, Field::HOST_CR4);
    reject_if(
        !obeys_fixed(view.read(host_cr0), view.limits.cr0),
        "host CR0 differs from what IA32_VMX_CR0_FIXED0 and 1 permit (SDM 27.2.2)",
        &[host_cr0],
    )?;
    reject_if(
        !obeys_fixed(view.read(host_cr4), view.limits.cr4),
        "host CR4 differs from what IA32_VMX_CR4_FIXED0 and 1 permit (SDM 27.2.2)",
        &[host_cr4],
    )?;
    reject_if(
        view.has(host_cr4, cr4::CET) && !view.has(host_cr0, cr0::WP),
        "host CR4.CET is set while CR0.WP is clear (SDM 27.2.2)",
        &[host_cr0, host_cr4],
    )?;
    reject_if(
        !view.is_physical(view.read(Field::HOST_CR3)),
        "host CR3 has a bit beyond the physical-address width (SDM 27.2.2)",
        &[Field::HOST_CR3],
    )?;
    for entry in [Field::HOST_SYSENTER_ESP, Field::HOST_SYSENTER_EIP] {
        reject_if(
            !view.is_canonical(view.read(entry)),
            "a SYSENTER address of the host is not canonical (SDM 27.2.2)",
            &[entry],
        )?;
    }
    let controls = Field::EXIT_CONTROLS;
    reject_if(
        view.has(controls, exit::LOAD_PAT) && !is_pat(view.read(Field::HOST_PAT)),
        "host IA32_PAT has a type that does not exist (SDM 27.2.2)",
        &[Field::HOST_PAT],
    )?;
    let modes = view.read(Field::HOST_EFER) & (efer::LMA | efer::LME);
    let expected = if view.has(controls, exit::HOST_ADDRESS_SPACE) { efer::LMA | efer::LME } else { 0 };
    reject_if(
        view.has(controls, exit::LOAD_EFER)
            && (view.has(Field::HOST_EFER, !view.limits.efer) || modes != expected),
        "host IA32_EFER has a reserved bit set, or LMA or LME are not those of the host's mode (SDM 27.2.2)",
        &[Field::HOST_EFER, controls],
    )
}

fn segments(view: &View<'_>) -> Result<(), Refusal> {
    let selectors = [
        Field::HOST_ES_SELECTOR,
        Field::HOST_CS_SELECTOR,
        Field::HOST_SS_SELECTOR,
        Field::HOST_DS_SELECTOR,
        Field::HOST_FS_SELECTOR,
        Field::HOST_GS_SELECTOR,
        Field::HOST_TR_SELECTOR,
    ];
    for field in selectors {
        reject_if(
            view.has(field, selector::RPL | selector::TABLE_INDICATOR),
            "a selector of the host has RPL or TI bits set (SDM 27.2.3)",
            &[field],
        )?;
    }
    for field in [Field::HOST_CS_SELECTOR, Field::HOST_TR_SELECTOR] {
        reject_if(view.read(field) == 0, "the host's CS or TR is null (SDM 27.2.3)", &[field])?;
    }
    let bases = [
        Field::HOST_FS_BASE,
        Field::HOST_GS_BASE,
        Field::HOST_GDTR_BASE,
        Field::HOST_IDTR_BASE,
        Field::HOST_TR_BASE,
    ];
    for field in bases {
        reject_if(
            !view.is_canonical(view.read(field)),
            "a base address of the host is not canonical (SDM 27.2.3)",
            &[field],
        )?;
    }
    Ok(())
}

fn address_space(view: &View<'_>) -> Result<(), Refusal> {
    let controls = Field::EXIT_CONTROLS;
    reject_if(
        !view.has(controls, exit::HOST_ADDRESS_SPACE),
        "exits would lead a 64-bit host out of 64-bit mode (SDM 27.2.4)",
        &[controls],
    )?;
    reject_if(
        !view.has(Field::HOST_CR4, cr4::PAE),
        "host CR4.PAE is clear (SDM 27.2.4)",
        &[Field::HOST_CR4],
    )?;
    reject_if(
        !view.is_canonical(view.read(Field::HOST_RIP)),
        "host RIP is not canonical (SDM 27.2.4)",
        &[Field::HOST_RIP],
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, each_is_named};
    use super::*;

    #[test]
    fn each_broken_field_of_the_host_is_named() {
        let cases: [Case; 16] = [
            (|v| v.toggle(Field::HOST_CR0, cr0::PG), "host CR0 differs"),
            (|v| v.toggle(Field::HOST_CR4, cr4::VMXE), "host CR4 differs"),
            (
                |v| {
                    v.toggle(Field::HOST_CR4, cr4::CET);
                    v.toggle(Field::HOST_CR0, cr0::WP);
                },
                "host CR4.CET",
            ),
            (|v| v.set(Field::HOST_CR3, 1 << 40), "host CR3"),
            (|v| v.set(Field::HOST_SYSENTER_EIP, 1 << 63), "SYSENTER"),
            (|v| v.set(Field::HOST_PAT, 2), "host IA32_PAT"),
            (|v| v.set(Field::HOST_EFER, 0), "host IA32_EFER"),
            (|v| v.toggle(Field::HOST_EFER, 1 << 63), "host IA32_EFER"),
            (|v| v.set(Field::HOST_DS_SELECTOR, 3), "RPL or TI"),
            (|v| v.set(Field::HOST_CS_SELECTOR, 0), "CS or TR is null"),
            (|v| v.set(Field::HOST_TR_SELECTOR, 0), "CS or TR is null"),
            (|v| v.set(Field::HOST_GS_BASE, 1 << 47), "base address of the host"),
            (|v| v.set(Field::HOST_TR_BASE, 1 << 47), "base address of the host"),
            (
                |v| {
                    v.toggle(Field::EXIT_CONTROLS, exit::HOST_ADDRESS_SPACE | exit::LOAD_EFER);
                },
                "out of 64-bit mode",
            ),
            (|v| v.toggle(Field::HOST_CR4, cr4::PAE), "host CR4.PAE"),
            (|v| v.set(Field::HOST_RIP, 1 << 47), "host RIP"),
        ];
        each_is_named(&cases, check);
    }
}
