//! Checks on segment registers (SDM 325462, volume 3, section 27.3.1.2).

use super::super::bits::{rights, secondary, selector};
use super::super::{Field, Refusal, View, reject_if};
use vcpu::control::cr0;

/// The fields of one register.
#[derive(Clone, Copy)]
struct Register {
    selector: Field,
    base: Field,
    limit: Field,
    rights: Field,
}

macro_rules! register {
    ($selector:ident $base:ident $limit:ident $rights:ident) => {
        Register {
            selector: Field::$selector,
            base: Field::$base,
            limit: Field::$limit,
            rights: Field::$rights,
        }
    };
}

const CS: Register = register!(GUEST_CS_SELECTOR GUEST_CS_BASE GUEST_CS_LIMIT GUEST_CS_RIGHTS);
const SS: Register = register!(GUEST_SS_SELECTOR GUEST_SS_BASE GUEST_SS_LIMIT GUEST_SS_RIGHTS);
const DS: Register = register!(GUEST_DS_SELECTOR GUEST_DS_BASE GUEST_DS_LIMIT GUEST_DS_RIGHTS);
const ES: Register = register!(GUEST_ES_SELECTOR GUEST_ES_BASE GUEST_ES_LIMIT GUEST_ES_RIGHTS);
const FS: Register = register!(GUEST_FS_SELECTOR GUEST_FS_BASE GUEST_FS_LIMIT GUEST_FS_RIGHTS);
const GS: Register = register!(GUEST_GS_SELECTOR GUEST_GS_BASE GUEST_GS_LIMIT GUEST_GS_RIGHTS);
const TR: Register = register!(GUEST_TR_SELECTOR GUEST_TR_BASE GUEST_TR_LIMIT GUEST_TR_RIGHTS);
const LDTR: Register = register!(GUEST_LDTR_SELECTOR GUEST_LDTR_BASE GUEST_LDTR_LIMIT GUEST_LDTR_RIGHTS);

/// Those of code and data, in the manual's order.
const CODE_AND_DATA: [Register; 6] = [CS, SS, DS, ES, FS, GS];
const DATA: [Register; 4] = [DS, ES, FS, GS];

/// The access rights that virtual-8086 mode wants: a writable, accessed data segment of privilege level 3.
const VIRTUAL_8086_RIGHTS: u64 = 0xf3;
/// Type of a writable, accessed data segment.
const TYPE_DATA: u64 = 3;
/// Type of a writable, accessed data segment that grows down.
const TYPE_DATA_DOWN: u64 = 7;
/// The first type of a conforming code segment.
const TYPE_CONFORMING: u64 = 12;
const TYPE_LDT: u64 = 2;
const TYPE_TSS_16: u64 = 3;
const TYPE_TSS: u64 = 11;

pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    selectors(view)?;
    bases(view)?;
    if view.is_virtual_8086() {
        virtual_8086(view)?;
    } else {
        types(view)?;
        privilege(view)?;
        for register in CODE_AND_DATA {
            if register == CS || view.is_usable(register) {
                common(view, register, rights::CODE_OR_DATA)?;
            }
        }
        let cs = view.read(CS.rights);
        reject_if(
            view.is_ia32e() && cs & rights::LONG != 0 && cs & rights::DEFAULT_BIG != 0,
            "guest CS.L and CS.D are both set in IA-32e mode (SDM 27.3.1.2)",
            &[CS.rights],
        )?;
    }
    task(view)?;
    local_table(view)
}

impl PartialEq for Register {
    fn eq(&self, other: &Self) -> bool {
        self.rights == other.rights
    }
}

impl View<'_> {
    fn is_usable(&self, register: Register) -> bool {
        !self.has(register.rights, rights::UNUSABLE)
    }

    fn kind(&self, register: Register) -> u64 {
        self.read(register.rights) & rights::TYPE
    }

    fn dpl(&self, register: Register) -> u64 {
        self.read(register.rights) >> 5 & 3
    }

    fn rpl(&self, register: Register) -> u64 {
        self.read(register.selector) & selector::RPL
    }

    fn is_unrestricted(&self) -> bool {
        self.secondary(secondary::UNRESTRICTED)
    }
}

fn selectors(view: &View<'_>) -> Result<(), Refusal> {
    for register in [TR, LDTR] {
        reject_if(
            view.has(register.selector, selector::TABLE_INDICATOR)
                && (register == TR || view.is_usable(register)),
            "guest TR or LDTR is selected from the LDT (SDM 27.3.1.2)",
            &[register.selector],
        )?;
    }
    reject_if(
        !view.is_virtual_8086() && !view.is_unrestricted() && view.rpl(SS) != view.rpl(CS),
        "guest SS and CS have different RPLs (SDM 27.3.1.2)",
        &[SS.selector, CS.selector],
    )
}

fn bases(view: &View<'_>) -> Result<(), Refusal> {
    for register in [TR, FS, GS, LDTR] {
        reject_if(
            !view.is_canonical(view.read(register.base)) && (register != LDTR || view.is_usable(LDTR)),
            "a base address of the guest is not canonical (SDM 27.3.1.2)",
            &[register.base],
        )?;
    }
    for register in [CS, SS, DS, ES] {
        reject_if(
            view.read(register.base) >> 32 != 0 && (register == CS || view.is_usable(register)),
            "bits 63:32 of a base address of the guest are not zero (SDM 27.3.1.2)",
            &[register.base],
        )?;
    }
    Ok(())
}

fn virtual_8086(view: &View<'_>) -> Result<(), Refusal> {
    for register in CODE_AND_DATA {
        reject_if(
            view.read(register.base) != view.read(register.selector) << 4,
            "in virtual-8086 mode a base is not 16 times the selector (SDM 27.3.1.2)",
            &[register.base, register.selector],
        )?;
        reject_if(
            view.read(register.limit) != 0xffff,
            "in virtual-8086 mode a limit is not 0xffff (SDM 27.3.1.2)",
            &[register.limit],
        )?;
        reject_if(
            view.read(register.rights) != VIRTUAL_8086_RIGHTS,
            "in virtual-8086 mode access rights are not 0xf3 (SDM 27.3.1.2)",
            &[register.rights],
        )?;
    }
    Ok(())
}

fn types(view: &View<'_>) -> Result<(), Refusal> {
    let cs = view.kind(CS);
    let code = cs & (rights::CODE | rights::ACCESSED) == rights::CODE | rights::ACCESSED;
    reject_if(
        !(code || cs == TYPE_DATA && view.is_unrestricted()),
        "guest CS is not an accessed code segment (SDM 27.3.1.2)",
        &[CS.rights],
    )?;
    reject_if(
        view.is_usable(SS) && !matches!(view.kind(SS), TYPE_DATA | TYPE_DATA_DOWN),
        "guest SS is not a writable, accessed data segment (SDM 27.3.1.2)",
        &[SS.rights],
    )?;
    for register in DATA {
        let kind = view.kind(register);
        let readable = kind & rights::CODE == 0 || kind & rights::READABLE != 0;
        reject_if(
            view.is_usable(register) && (kind & rights::ACCESSED == 0 || !readable),
            "guest DS, ES, FS or GS is not accessed, or code that cannot be read (SDM 27.3.1.2)",
            &[register.rights],
        )?;
    }
    Ok(())
}

fn privilege(view: &View<'_>) -> Result<(), Refusal> {
    let (cs, ss) = (view.dpl(CS), view.dpl(SS));
    let fits = match view.kind(CS) {
        TYPE_DATA => cs == 0,
        TYPE_CONFORMING.. => cs <= ss,
        _ => cs == ss,
    };
    reject_if(
        !fits,
        "guest CS.DPL does not fit CS's type and SS.DPL (SDM 27.3.1.2)",
        &[CS.rights, SS.rights],
    )?;
    reject_if(
        !view.is_unrestricted() && ss != view.rpl(SS),
        "guest SS.DPL is not SS's RPL (SDM 27.3.1.2)",
        &[SS.rights, SS.selector],
    )?;
    let real = !view.has(Field::GUEST_CR0, cr0::PE) || view.kind(CS) == TYPE_DATA;
    reject_if(
        real && ss != 0,
        "guest SS.DPL is not 0 in real mode, or with CS as in real mode (SDM 27.3.1.2)",
        &[SS.rights, CS.rights, Field::GUEST_CR0],
    )?;
    for register in DATA {
        let judged =
            view.is_usable(register) && !view.is_unrestricted() && view.kind(register) < TYPE_CONFORMING;
        reject_if(
            judged && view.dpl(register) < view.rpl(register),
            "the DPL of guest DS, ES, FS or GS is below its RPL (SDM 27.3.1.2)",
            &[register.rights, register.selector],
        )?;
    }
    Ok(())
}

/// What a register in use must obey, whose bit S is to be `s`.
fn common(view: &View<'_>, register: Register, s: u64) -> Result<(), Refusal> {
    let value = view.read(register.rights);
    let fields = [register.rights, register.limit];
    let [only_rights, _] = fields;
    reject_if(
        value & rights::CODE_OR_DATA != s,
        "bit S of a guest segment register is wrong for it (SDM 27.3.1.2)",
        &[only_rights],
    )?;
    reject_if(
        value & rights::PRESENT == 0,
        "a guest segment register in use is not present (SDM 27.3.1.2)",
        &[only_rights],
    )?;
    reject_if(
        value & rights::RESERVED != 0,
        "access rights of a guest segment register have a reserved bit set (SDM 27.3.1.2)",
        &[only_rights],
    )?;
    let limit = view.read(register.limit);
    let fits = if value & rights::GRANULARITY != 0 { limit & 0xfff == 0xfff } else { limit >> 20 == 0 };
    reject_if(!fits, "a guest segment's limit does not fit its granularity (SDM 27.3.1.2)", &fields)
}

fn task(view: &View<'_>) -> Result<(), Refusal> {
    let kind = view.kind(TR);
    reject_if(
        !(kind == TYPE_TSS || kind == TYPE_TSS_16 && !view.is_ia32e()),
        "guest TR is not a busy TSS of the guest's mode (SDM 27.3.1.2)",
        &[TR.rights],
    )?;
    common(view, TR, 0)?;
    reject_if(!view.is_usable(TR), "guest TR is unusable (SDM 27.3.1.2)", &[TR.rights])
}

fn local_table(view: &View<'_>) -> Result<(), Refusal> {
    if !view.is_usable(LDTR) {
        return Ok(());
    }
    reject_if(view.kind(LDTR) != TYPE_LDT, "guest LDTR is not an LDT (SDM 27.3.1.2)", &[LDTR.rights])?;
    common(view, LDTR, 0)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Case, Vmcs, each_is_named};
    use super::*;

    const RESTRICT: fn(&mut Vmcs) = |v| v.toggle(Field::SECONDARY_CONTROLS, secondary::UNRESTRICTED);

    fn virtual_8086_guest(v: &mut Vmcs) {
        use super::super::super::bits::{entry, rflags};
        use vcpu::control::efer;
        v.toggle(Field::ENTRY_CONTROLS, entry::IA32E_MODE_GUEST);
        v.toggle(Field::GUEST_EFER, efer::LMA | efer::LME);
        v.toggle(Field::GUEST_RFLAGS, rflags::VM);
        v.set(Field::GUEST_RIP, 0x1000);
        for register in CODE_AND_DATA {
            v.set(register.selector, 0x100);
            v.set(register.base, 0x1000);
            v.set(register.limit, 0xffff);
            v.set(register.rights, VIRTUAL_8086_RIGHTS);
        }
    }

    #[test]
    fn each_broken_segment_is_named() {
        let cases: [Case; 27] = [
            (|v| v.set(TR.selector, 4), "from the LDT"),
            (|v| v.set(LDTR.selector, 4), "from the LDT"),
            (
                |v| {
                    RESTRICT(v);
                    v.set(CS.selector, 0x9);
                },
                "different RPLs",
            ),
            (|v| v.set(FS.base, 1 << 47), "is not canonical"),
            (|v| v.set(LDTR.base, 1 << 47), "is not canonical"),
            (|v| v.set(DS.base, 1 << 32), "bits 63:32"),
            (|v| v.toggle(CS.rights, rights::ACCESSED), "CS is not an accessed code"),
            (
                |v| {
                    RESTRICT(v);
                    v.set(CS.rights, 0x93);
                },
                "CS is not an accessed code",
            ),
            (|v| v.toggle(SS.rights, 1 << 1), "SS is not a writable"),
            (|v| v.toggle(GS.rights, rights::ACCESSED), "DS, ES, FS or GS is not accessed"),
            (|v| v.set(DS.rights, 0x99), "DS, ES, FS or GS is not accessed"),
            (|v| v.toggle(CS.rights, 3 << 5), "CS.DPL does not fit"),
            (|v| v.set(CS.rights, 0xa0fd), "CS.DPL does not fit"),
            (
                |v| {
                    RESTRICT(v);
                    v.set(SS.selector, 0x13);
                    v.set(CS.selector, 0xb);
                },
                "SS.DPL is not SS's RPL",
            ),
            (
                |v| {
                    v.set(CS.rights, 0x93);
                    v.set(SS.rights, 0xf3);
                },
                "SS.DPL is not 0",
            ),
            (
                |v| {
                    RESTRICT(v);
                    v.set(ES.selector, 0x13);
                },
                "DPL of guest DS, ES, FS or GS",
            ),
            (|v| v.toggle(DS.rights, rights::CODE_OR_DATA), "bit S"),
            (|v| v.toggle(SS.rights, rights::PRESENT), "not present"),
            (|v| v.toggle(ES.rights, 1 << 8), "reserved bit"),
            (|v| v.set(SS.limit, 0xffff_f0ff), "granularity"),
            (|v| v.toggle(CS.rights, rights::GRANULARITY), "granularity"),
            (|v| v.toggle(CS.rights, rights::DEFAULT_BIG), "CS.L and CS.D"),
            (|v| v.set(TR.rights, 0x83), "TR is not a busy TSS"),
            (|v| v.toggle(TR.rights, rights::PRESENT), "not present"),
            (|v| v.toggle(TR.rights, rights::UNUSABLE), "TR is unusable"),
            (|v| v.toggle(LDTR.rights, 1), "LDTR is not an LDT"),
            (|v| v.set(LDTR.limit, 1 << 20), "granularity"),
        ];
        each_is_named(&cases, super::super::check);
    }

    #[test]
    fn each_broken_segment_of_virtual_8086_mode_is_named() {
        let cases: [Case; 4] = [
            (virtual_8086_guest, ""),
            (
                |v| {
                    virtual_8086_guest(v);
                    v.set(SS.base, 0x1010);
                },
                "16 times",
            ),
            (
                |v| {
                    virtual_8086_guest(v);
                    v.set(GS.limit, 0xfffff);
                },
                "0xffff",
            ),
            (
                |v| {
                    virtual_8086_guest(v);
                    v.set(DS.rights, 0x93);
                },
                "0xf3",
            ),
        ];
        each_is_named(&cases, super::super::check);
    }

    #[test]
    fn what_is_unusable_is_not_judged() {
        let unused: Case = (
            |v| {
                for register in [DS, ES, FS, GS, LDTR] {
                    v.set(register.rights, rights::UNUSABLE);
                    v.set(register.limit, 1 << 31);
                }
            },
            "",
        );
        each_is_named(&[unused], super::super::check);
    }
}
