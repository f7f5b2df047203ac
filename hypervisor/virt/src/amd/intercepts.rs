//! What leaves the guest (APM 24593, volume 2, section 15.7 and table B-1).
//!
//! Reads of control registers are never intercepted: nested paging does not need it. Reads and writes of debug
//! registers are not either: the guest's are in hardware while its vCPU is loaded.

use bitflags::bitflags;

bitflags! {
    /// The vector at offset 0x00C of the VMCB.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)] // the names are the manual's
    pub struct Intercepts1: u32 {
        const INTR = 1 << 0;
        const NMI = 1 << 1;
        const INIT = 1 << 3;
        const VINTR = 1 << 4;
        /// Writes of CR0 that change more than TS and MP.
        const CR0_SELECTIVE_WRITE = 1 << 5;
        const RDPMC = 1 << 15;
        const CPUID = 1 << 18;
        const RSM = 1 << 19;
        const IRET = 1 << 20;
        const INVD = 1 << 22;
        const PAUSE = 1 << 23;
        const HLT = 1 << 24;
        const INVLPGA = 1 << 26;
        const IOIO_PROT = 1 << 27;
        const MSR_PROT = 1 << 28;
        const TASK_SWITCH = 1 << 29;
        const SHUTDOWN = 1 << 31;
    }
}

bitflags! {
    /// The vector at offset 0x010 of the VMCB.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)] // the names are the manual's
    pub struct Intercepts2: u32 {
        /// VMRUN refuses to run a guest without it.
        const VMRUN = 1 << 0;
        const VMMCALL = 1 << 1;
        const VMLOAD = 1 << 2;
        const VMSAVE = 1 << 3;
        const STGI = 1 << 4;
        const CLGI = 1 << 5;
        const SKINIT = 1 << 6;
        const WBINVD = 1 << 9;
        const MONITOR = 1 << 10;
        const MWAIT = 1 << 11;
        const XSETBV = 1 << 13;
        const RDPRU = 1 << 14;
    }
}

/// What leaves a guest always. PAUSE is added where the processor can count, VINTR and IRET while a window is wanted.
pub const ALWAYS1: Intercepts1 = Intercepts1::INTR
    .union(Intercepts1::NMI)
    .union(Intercepts1::INIT)
    .union(Intercepts1::CR0_SELECTIVE_WRITE)
    .union(Intercepts1::RDPMC)
    .union(Intercepts1::CPUID)
    .union(Intercepts1::RSM)
    .union(Intercepts1::INVD)
    .union(Intercepts1::HLT)
    .union(Intercepts1::INVLPGA)
    .union(Intercepts1::IOIO_PROT)
    .union(Intercepts1::MSR_PROT)
    .union(Intercepts1::TASK_SWITCH)
    .union(Intercepts1::SHUTDOWN);

/// What leaves a guest always, second vector.
pub const ALWAYS2: Intercepts2 = Intercepts2::all();

/// CR4 writes: which of its bits a guest may set is `vmm`'s to say. Bit 16 + n is the write of CRn.
pub const CR_WRITES: u32 = 1 << (16 + 4);

/// CR8 writes: intercepted while a lower task priority would let an interrupt through. V_INTR_PRIO with V_TPR could say
/// the same, but whether QEMU compares the two as the manual says has not been measured.
pub const CR8_WRITES: u32 = 1 << (16 + 8);

/// Exceptions that leave a guest always, by vector.
///
/// `#DB` and `#AC` can be raised by their own delivery, by a breakpoint on or a misaligned handler's stack: without an
/// exit a guest could keep the processor in microcode for ever, where no host interrupt ends it (CVE-2015-8104 and
/// CVE-2015-5307). A machine check (`#MC`) is the host's business.
pub const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;
