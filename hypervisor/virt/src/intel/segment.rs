//! Segment registers as the VMCS holds them: four fields each (SDM 25.4.1).
//!
//! ```text
//!   access rights   16 unusable   15 G   14 D/B   13 L   12 AVL   11..8 zero   7 P   6..5 DPL   4 S   3..0 type
//!   vcpu::Segment                 11     10       9      8                     7     6..5       4     3..0
//! ```
//! The processor's checks at entry (SDM 27.3.1.2) are stricter than what a segment register can be given: what the guest
//! itself loads passes them, and what `vmm` loads is brought into that form here.

use super::vmcs::{Field, Vmcs};
use vcpu::{DescriptorTable, Segment, SegmentName};

/// The access-rights bit of a register that must not be used for memory.
const UNUSABLE: u64 = 1 << 16;
/// A code or data segment, not a system segment.
const S: u16 = 1 << 4;
const ACCESSED: u16 = 1;
/// A busy 32-bit or 64-bit TSS.
const BUSY_TSS: u16 = 0xb;
/// A busy 16-bit TSS, which only a guest outside IA-32e mode may have.
const BUSY_TSS_16: u16 = 0x3;

/// The fields of a segment register.
struct Fields {
    selector: Field,
    base: Field,
    limit: Field,
    rights: Field,
}

macro_rules! fields_of {
    ($name:expr, $($register:ident: $selector:ident $base:ident $limit:ident $rights:ident,)*) => {
        match $name {
            $(SegmentName::$register => Fields {
                selector: Field::$selector,
                base: Field::$base,
                limit: Field::$limit,
                rights: Field::$rights,
            },)*
        }
    };
}

const fn fields(name: SegmentName) -> Fields {
    fields_of! { name,
        Es: EsSelector EsBase EsLimit EsRights,
        Cs: CsSelector CsBase CsLimit CsRights,
        Ss: SsSelector SsBase SsLimit SsRights,
        Ds: DsSelector DsBase DsLimit DsRights,
        Fs: FsSelector FsBase FsLimit FsRights,
        Gs: GsSelector GsBase GsLimit GsRights,
        Ldtr: LdtrSelector LdtrBase LdtrLimit LdtrRights,
        Tr: TrSelector TrBase TrLimit TrRights,
    }
}

/// Which mode the guest's TSS must suit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TssMode {
    /// EFER.LMA is set.
    Long,
    /// It is clear.
    Legacy,
}

/// The register `name`.
pub fn read(vmcs: &Vmcs, name: SegmentName) -> Segment {
    let Fields { selector, base, limit, rights } = fields(name);
    Segment {
        selector: vmcs.read(selector) as u16,
        attributes: attributes(vmcs.read(rights)),
        limit: vmcs.read(limit) as u32,
        base: vmcs.read(base),
    }
}

/// Makes the register `name` `segment`, as nearly as an entry takes it.
pub fn write(vmcs: &mut Vmcs, name: SegmentName, segment: &Segment, tss: TssMode) {
    let Fields { selector, base, limit, rights } = fields(name);
    vmcs.write(selector, segment.selector.into());
    vmcs.write(base, segment.base);
    vmcs.write(limit, segment.limit.into());
    vmcs.write(rights, rights_of(name, segment, tss));
}

/// GDTR, whose fields come as a pair.
pub const GDTR: (Field, Field) = (Field::GdtrBase, Field::GdtrLimit);
/// IDTR.
pub const IDTR: (Field, Field) = (Field::IdtrBase, Field::IdtrLimit);

/// The descriptor-table register whose fields are `register`.
pub fn read_table(vmcs: &Vmcs, register: (Field, Field)) -> DescriptorTable {
    DescriptorTable { base: vmcs.read(register.0), limit: vmcs.read(register.1) as u16 }
}

/// Replaces the descriptor-table register whose fields are `register`.
pub fn write_table(vmcs: &mut Vmcs, register: (Field, Field), table: DescriptorTable) {
    vmcs.write(register.0, table.base);
    vmcs.write(register.1, table.limit.into());
}

/// Access rights as attributes: what is unusable is not present, and keeps its DPL (SS's is the privilege level).
const fn attributes(rights: u64) -> u16 {
    let packed = (rights & 0xff | rights >> 4 & 0xf00) as u16;
    if rights & UNUSABLE != 0 { packed & !Segment::PRESENT } else { packed }
}

/// Access rights for `segment` in the register `name`.
fn rights_of(name: SegmentName, segment: &Segment, tss: TssMode) -> u64 {
    let mut attributes = segment.attributes & 0xfff;
    match name {
        // A TSS is always there.
        SegmentName::Tr => {
            let is_16_bit = attributes & 0xf == BUSY_TSS_16 && tss == TssMode::Legacy;
            let kind = if is_16_bit { BUSY_TSS_16 } else { BUSY_TSS };
            attributes = attributes & !(0xf | S) | kind | Segment::PRESENT;
        }
        SegmentName::Ldtr => {}
        _ if attributes & Segment::PRESENT != 0 => attributes |= S | ACCESSED,
        _ => {}
    }
    // A limit above 1 MiB has pages as unit, one that is no whole number of pages has bytes.
    if segment.limit >> 20 != 0 {
        attributes |= Segment::GRANULAR;
    } else if segment.limit & 0xfff != 0xfff {
        attributes &= !Segment::GRANULAR;
    }
    let unusable = if attributes & Segment::PRESENT == 0 { UNUSABLE } else { 0 };
    u64::from(attributes & 0xff) | u64::from(attributes & 0xf00) << 4 | unusable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HostFrames;
    use proptest::prelude::*;

    fn rights(name: SegmentName, attributes: u16, limit: u32) -> u64 {
        rights_of(name, &Segment { attributes, limit, ..Segment::default() }, TssMode::Long)
    }

    #[test]
    fn rights_are_the_manuals() {
        assert_eq!(rights(SegmentName::Cs, 0xa9b, u32::MAX), 0xa09b);
        assert_eq!(rights(SegmentName::Ds, 0xc93, u32::MAX), 0xc093);
        assert_eq!(rights(SegmentName::Ldtr, 0x82, 0xffff), 0x82);
    }

    #[test]
    fn what_is_not_present_is_unusable_but_a_tss() {
        assert_eq!(rights(SegmentName::Fs, 0, 0), UNUSABLE);
        assert_eq!(rights(SegmentName::Ldtr, 0, 0), UNUSABLE);
        assert_eq!(rights(SegmentName::Tr, 0, 0), 0x8b);
    }

    #[test]
    fn an_available_tss_becomes_busy_and_a_16_bit_one_stays_only_outside_long_mode() {
        assert_eq!(rights(SegmentName::Tr, 0x89, 0x67), 0x8b);
        assert_eq!(rights(SegmentName::Tr, 0x83, 0x67), 0x8b);
        let tss = Segment { attributes: 0x83, limit: 0x67, ..Segment::default() };
        assert_eq!(rights_of(SegmentName::Tr, &tss, TssMode::Legacy), 0x83);
    }

    #[test]
    fn the_unit_of_a_limit_follows_the_limit() {
        assert_eq!(rights(SegmentName::Ds, 0x93, u32::MAX), 0x8093);
        assert_eq!(rights(SegmentName::Ds, 0x893, 0x1234), 0x93);
    }

    #[test]
    fn an_unusable_stack_segment_keeps_its_privilege_level() {
        assert_eq!(attributes(UNUSABLE | 0xf3), 0x73);
    }

    proptest! {
        #[test]
        fn a_segment_in_its_proper_form_survives_the_vmcs(selector: u16, base: u64, pages: u16, index in 0_usize..6) {
            use SegmentName::{Cs, Ds, Es, Fs, Gs, Ss};
            let name = [Es, Cs, Ss, Ds, Fs, Gs][index];
            let segment = Segment { selector, attributes: 0x893, limit: u32::from(pages) << 12 | 0xfff, base };
            let mut vmcs = Vmcs::new(1, &mut HostFrames).unwrap();
            write(&mut vmcs, name, &segment, TssMode::Long);
            prop_assert_eq!(read(&vmcs, name), segment);
            vmcs.release(&mut HostFrames);
        }
    }
}
