//! Checks on page-directory-pointer-table entries (SDM 325462, volume 3, section 27.3.1.6).

use super::super::bits::secondary;
use super::super::{Field, Refusal, View, reject_if};
use vcpu::control::{cr0, cr4};

/// The entry is in use.
const PRESENT: u64 = 1 << 0;
/// Bits 2:1 and 8:5.
const RESERVED: u64 = 3 << 1 | 0xf << 5;

pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    let pae = view.has(Field::GUEST_CR0, cr0::PG) && view.has(Field::GUEST_CR4, cr4::PAE) && !view.is_ia32e();
    // Without EPT they come from memory, which is not read here.
    if !pae || !view.secondary(secondary::EPT) {
        return Ok(());
    }
    for entry in [Field::GUEST_PDPTE_0, Field::GUEST_PDPTE_1, Field::GUEST_PDPTE_2, Field::GUEST_PDPTE_3] {
        let value = view.read(entry);
        reject_if(
            value & PRESENT != 0 && (value & RESERVED != 0 || !view.is_physical(value)),
            "a guest PDPTE has a reserved bit set (SDM 27.3.1.6)",
            &[entry],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::bits::{entry, rights};
    use super::super::super::testing::{Case, Vmcs, each_is_named};
    use super::*;
    use vcpu::control::efer;

    /// A 32-bit guest with PAE paging.
    fn pae_guest(v: &mut Vmcs) {
        v.toggle(Field::ENTRY_CONTROLS, entry::IA32E_MODE_GUEST);
        v.toggle(Field::GUEST_EFER, efer::LMA | efer::LME);
        v.toggle(Field::GUEST_CS_RIGHTS, rights::LONG | rights::DEFAULT_BIG);
        v.set(Field::GUEST_RIP, 0x1000);
    }

    #[test]
    fn each_broken_entry_is_named() {
        let cases: [Case; 4] = [
            (pae_guest, ""),
            (
                |v| {
                    pae_guest(v);
                    v.set(Field::GUEST_PDPTE_0, PRESENT | 1 << 5);
                },
                "PDPTE",
            ),
            (
                |v| {
                    pae_guest(v);
                    v.set(Field::GUEST_PDPTE_3, PRESENT | 1 << 40);
                },
                "PDPTE",
            ),
            (
                |v| {
                    pae_guest(v);
                    v.set(Field::GUEST_PDPTE_2, 1 << 5);
                },
                "",
            ),
        ];
        each_is_named(&cases, super::super::check);
    }
}
