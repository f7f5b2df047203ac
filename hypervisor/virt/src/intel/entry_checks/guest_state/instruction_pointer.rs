//! Checks on RIP and RFLAGS (SDM 325462, volume 3, section 27.3.1.4).

use super::super::bits::{event, rflags, rights};
use super::super::{Field, Refusal, View, reject_if};
use vcpu::control::cr0;

const RFLAGS: Field = Field::GUEST_RFLAGS;

pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    let rip = view.read(Field::GUEST_RIP);
    let long = view.is_ia32e() && view.has(Field::GUEST_CS_RIGHTS, rights::LONG);
    let fits = if long { view.is_canonical(rip) } else { rip >> 32 == 0 };
    reject_if(
        !fits,
        "guest RIP is not an address of the guest's mode (SDM 27.3.1.4)",
        &[Field::GUEST_RIP, Field::GUEST_CS_RIGHTS, Field::ENTRY_CONTROLS],
    )?;
    let flags = view.read(RFLAGS);
    reject_if(
        flags & rflags::RESERVED != 0 || flags & rflags::FIXED == 0,
        "guest RFLAGS has a reserved bit set, or bit 1 clear (SDM 27.3.1.4)",
        &[RFLAGS],
    )?;
    reject_if(
        view.is_virtual_8086() && (view.is_ia32e() || !view.has(Field::GUEST_CR0, cr0::PE)),
        "guest RFLAGS.VM is set in IA-32e or real mode (SDM 27.3.1.4)",
        &[RFLAGS, Field::ENTRY_CONTROLS, Field::GUEST_CR0],
    )?;
    let interrupts = view.injected().is_some_and(|event| event.kind == event::EXTERNAL_INTERRUPT);
    reject_if(
        interrupts && flags & rflags::IF == 0,
        "an external interrupt is injected while guest RFLAGS.IF is clear (SDM 27.3.1.4)",
        &[RFLAGS, Field::ENTRY_INTERRUPTION_INFO],
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Case, each_is_named};
    use super::*;

    #[test]
    fn each_broken_pointer_or_flag_is_named() {
        let cases: [Case; 6] = [
            (|v| v.set(Field::GUEST_RIP, 1 << 47), "guest RIP"),
            (
                |v| {
                    v.toggle(Field::GUEST_CS_RIGHTS, rights::LONG | rights::DEFAULT_BIG);
                    v.set(Field::GUEST_RIP, 1 << 32);
                },
                "guest RIP",
            ),
            (|v| v.toggle(RFLAGS, 1 << 15), "reserved bit set, or bit 1"),
            (|v| v.toggle(RFLAGS, rflags::FIXED), "reserved bit set, or bit 1"),
            (|v| v.set(Field::ENTRY_INTERRUPTION_INFO, event::VALID | 0x30), "RFLAGS.IF is clear"),
            (
                |v| {
                    v.toggle(RFLAGS, rflags::IF);
                    v.set(Field::ENTRY_INTERRUPTION_INFO, event::VALID | 0x30);
                },
                "",
            ),
        ];
        each_is_named(&cases, super::super::check);
    }

    #[test]
    fn virtual_8086_mode_is_refused_inside_ia_32e_mode() {
        // The segments of a 64-bit guest are refused first, so that only this check is asked.
        let inside: Case = (|v| v.toggle(RFLAGS, rflags::VM), "RFLAGS.VM");
        each_is_named(&[inside], check);
    }
}
