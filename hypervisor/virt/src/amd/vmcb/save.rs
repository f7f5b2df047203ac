//! The VMCB's state save area (APM 24593, volume 2, table B-2).
//!
//! VMRUN and #VMEXIT switch most of it; VMLOAD and VMSAVE switch FS, GS, TR, LDTR, KERNEL_GS_BASE, the SYSCALL and the
//! SYSENTER registers (volume 3, VMLOAD).

use core::mem::{offset_of, size_of};
use vcpu::{DescriptorTable, Segment};

/// A segment register as the VMCB holds it. The attributes are packed as in [`vcpu::state`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VmcbSegment {
    selector: u16,
    attributes: u16,
    limit: u32,
    base: u64,
}

impl VmcbSegment {
    /// The attributes.
    pub const fn attributes(&self) -> u16 {
        self.attributes
    }
}

impl From<Segment> for VmcbSegment {
    fn from(Segment { selector, attributes, limit, base }: Segment) -> Self {
        Self { selector, attributes: attributes & 0xfff, limit, base }
    }
}

impl From<VmcbSegment> for Segment {
    fn from(VmcbSegment { selector, attributes, limit, base }: VmcbSegment) -> Self {
        Self { selector, attributes: attributes & 0xfff, limit, base }
    }
}

/// GDTR or IDTR as the VMCB holds it: a segment without selector and attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Table {
    reserved: u32,
    limit: u32,
    base: u64,
}

impl From<DescriptorTable> for Table {
    fn from(DescriptorTable { base, limit }: DescriptorTable) -> Self {
        Self { reserved: 0, limit: u32::from(limit), base }
    }
}

impl From<Table> for DescriptorTable {
    fn from(Table { limit, base, .. }: Table) -> Self {
        Self { base, limit: (limit & 0xffff) as u16 }
    }
}

/// Offsets 0x400 and up of the VMCB; the comments count from 0x400.
#[repr(C)]
#[allow(missing_docs)] // the fields are the registers of their names
pub struct SaveArea {
    pub es: VmcbSegment,
    pub cs: VmcbSegment,
    pub ss: VmcbSegment,
    pub ds: VmcbSegment,
    pub fs: VmcbSegment,
    pub gs: VmcbSegment,
    pub gdtr: Table,
    pub ldtr: VmcbSegment,
    pub idtr: Table,
    pub tr: VmcbSegment,
    reserved_0a0: [u8; 0x2b],
    /// 0x0CB: the current privilege level.
    pub cpl: u8,
    reserved_0cc: u32,
    pub efer: u64,
    reserved_0d8: [u64; 14],
    /// 0x148
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    reserved_180: [u64; 11],
    /// 0x1D8
    pub rsp: u64,
    reserved_1e0: [u64; 3],
    /// 0x1F8
    pub rax: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub cr2: u64,
    reserved_248: [u64; 4],
    /// 0x268: the guest's PAT, used with nested paging.
    pub g_pat: u64,
}

const _: () = {
    assert!(size_of::<VmcbSegment>() == 16 && size_of::<Table>() == 16);
    assert!(size_of::<SaveArea>() == 0x270);
    assert!(offset_of!(SaveArea, gdtr) == 0x60);
    assert!(offset_of!(SaveArea, tr) == 0x90);
    assert!(offset_of!(SaveArea, cpl) == 0xcb);
    assert!(offset_of!(SaveArea, efer) == 0xd0);
    assert!(offset_of!(SaveArea, cr4) == 0x148);
    assert!(offset_of!(SaveArea, rflags) == 0x170);
    assert!(offset_of!(SaveArea, rip) == 0x178);
    assert!(offset_of!(SaveArea, rsp) == 0x1d8);
    assert!(offset_of!(SaveArea, rax) == 0x1f8);
    assert!(offset_of!(SaveArea, kernel_gs_base) == 0x220);
    assert!(offset_of!(SaveArea, cr2) == 0x240);
    assert!(offset_of!(SaveArea, g_pat) == 0x268);
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_segment_survives_the_vmcb(selector: u16, attributes in 0_u16..0x1000, limit: u32, base: u64) {
            let segment = Segment { selector, attributes, limit, base };
            prop_assert_eq!(Segment::from(VmcbSegment::from(segment)), segment);
        }

        #[test]
        fn a_descriptor_table_survives_the_vmcb(base: u64, limit: u16) {
            let table = DescriptorTable { base, limit };
            prop_assert_eq!(DescriptorTable::from(Table::from(table)), table);
        }
    }
}
