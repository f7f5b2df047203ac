//! The architectural state of a vCPU, as it stands between two instructions.
//!
//! Segment attributes use AMD's packed form (APM 24593, volume 2, section 15.5.1): bits 0-3 type,
//! 4 S, 5-6 DPL, 7 P, 8 AVL, 9 L, 10 D/B, 11 G. The VT-x half converts.

/// A general-purpose register, numbered as instructions encode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Gpr {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rsp = 4,
    Rbp = 5,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
    R11 = 11,
    R12 = 12,
    R13 = 13,
    R14 = 14,
    R15 = 15,
}

impl Gpr {
    /// All of them, in encoding order.
    pub const ALL: [Self; 16] = [
        Self::Rax,
        Self::Rcx,
        Self::Rdx,
        Self::Rbx,
        Self::Rsp,
        Self::Rbp,
        Self::Rsi,
        Self::Rdi,
        Self::R8,
        Self::R9,
        Self::R10,
        Self::R11,
        Self::R12,
        Self::R13,
        Self::R14,
        Self::R15,
    ];
}

/// The sixteen general-purpose registers in encoding order. The layout is fixed: entry code addresses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Gprs(pub [u64; 16]);

impl Gprs {
    /// All 64 bits of `register`.
    #[inline(always)]
    pub fn get(&self, register: Gpr) -> u64 {
        // A register's number is below 16, so neither branch remains.
        self.0.get(register as usize).copied().unwrap_or_default()
    }

    /// Replaces all 64 bits of `register`.
    #[inline(always)]
    pub fn set(&mut self, register: Gpr, value: u64) {
        if let Some(slot) = self.0.get_mut(register as usize) {
            *slot = value;
        }
    }
}

/// What a vector register gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorValue {
    /// Bits 127:0; all above stay (legacy SSE).
    Xmm([u8; 16]),
    /// Bits 255:0; all above become zero (VEX).
    Ymm([u8; 32]),
}

impl VectorValue {
    /// What bits 255:0 of a register are after it got this, and were before it did.
    pub fn over(self, before: [u8; 32]) -> [u8; 32] {
        match self {
            Self::Xmm(low) => {
                let mut after = before;
                after.iter_mut().zip(low).for_each(|(byte, new)| *byte = new);
                after
            }
            Self::Ymm(whole) => whole,
        }
    }
}

/// A segment register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SegmentName {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    Ldtr,
    Tr,
}

impl SegmentName {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Es, Self::Cs, Self::Ss, Self::Ds, Self::Fs, Self::Gs, Self::Ldtr, Self::Tr];
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// The attributes in AMD's packed form (see the module).
    pub attributes: u16,
    /// The limit in bytes, granularity applied.
    pub limit: u32,
    /// The linear base.
    pub base: u64,
}

impl Segment {
    /// The attribute bit "present".
    pub const PRESENT: u16 = 1 << 7;
    /// The attribute bit L: 64-bit code.
    pub const LONG: u16 = 1 << 9;
    /// The attribute bit D/B: 32-bit default size.
    pub const DEFAULT_BIG: u16 = 1 << 10;
    /// The attribute bit G: the limit counts pages.
    pub const GRANULAR: u16 = 1 << 11;

    /// The descriptor privilege level, 0-3.
    pub const fn dpl(&self) -> u8 {
        ((self.attributes >> 5) & 3) as u8
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorTable {
    /// The linear base.
    pub base: u64,
    /// The limit in bytes, minus one.
    pub limit: u16,
}

/// How the CPU interprets instructions now (Intel SDM, volume 3, section 2.2; AMD APM, volume 2, section 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuMode {
    /// CR0.PE clear.
    Real,
    /// RFLAGS.VM set.
    Virtual8086,
    /// Protected or compatibility mode with 16-bit code.
    Protected16,
    /// Protected or compatibility mode with 32-bit code.
    Protected32,
    /// 64-bit mode.
    Long64,
}

/// The state that a vCPU starts from, and that is shown when it ends: everything but the FPU area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the registers of their names
pub struct VcpuState {
    pub gprs: Gprs,
    pub rip: u64,
    pub rflags: u64,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    /// The task priority, bits 3:0.
    pub cr8: u64,
    pub efer: u64,
    pub xcr0: u64,
    pub dr6: u64,
    pub dr7: u64,
    pub dr0_to_3: [u64; 4],
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ldtr: Segment,
    pub tr: Segment,
    pub gdtr: DescriptorTable,
    pub idtr: DescriptorTable,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
}

/// PAT after reset: WB, WT, UC-, UC, twice (Intel SDM, volume 3, table 12-12).
pub const PAT_RESET: u64 = 0x0007_0406_0007_0406;

impl VcpuState {
    /// The state after a processor reset (Intel SDM, volume 3, table 10-1; AMD APM, volume 2, table 14-1).
    pub const fn reset() -> Self {
        // Type 3 (read/write, accessed) or 0xB (execute/read, accessed), S, present.
        const DATA: Segment = Segment { selector: 0, attributes: 0x93, limit: 0xffff, base: 0 };
        const CODE: Segment =
            Segment { selector: 0xf000, attributes: 0x9b, limit: 0xffff, base: 0xffff_0000 };
        const LDT: Segment = Segment { selector: 0, attributes: 0x82, limit: 0xffff, base: 0 };
        const TSS: Segment = Segment { selector: 0, attributes: 0x8b, limit: 0xffff, base: 0 };
        const TABLE: DescriptorTable = DescriptorTable { base: 0, limit: 0xffff };
        Self {
            gprs: Gprs([0; 16]),
            rip: 0xfff0,
            rflags: 0x2,
            cr0: 0x6000_0010,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            cr8: 0,
            efer: 0,
            xcr0: 1,
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            dr0_to_3: [0; 4],
            es: DATA,
            cs: CODE,
            ss: DATA,
            ds: DATA,
            fs: DATA,
            gs: DATA,
            ldtr: LDT,
            tr: TSS,
            gdtr: TABLE,
            idtr: TABLE,
            star: 0,
            lstar: 0,
            cstar: 0,
            sfmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            pat: PAT_RESET,
        }
    }

    /// The segment register of this name.
    pub const fn segment(&self, name: SegmentName) -> &Segment {
        match name {
            SegmentName::Es => &self.es,
            SegmentName::Cs => &self.cs,
            SegmentName::Ss => &self.ss,
            SegmentName::Ds => &self.ds,
            SegmentName::Fs => &self.fs,
            SegmentName::Gs => &self.gs,
            SegmentName::Ldtr => &self.ldtr,
            SegmentName::Tr => &self.tr,
        }
    }
}
