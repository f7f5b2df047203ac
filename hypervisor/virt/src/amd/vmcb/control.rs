//! The VMCB's control area (APM 24593, volume 2, table B-1).

use bitflags::bitflags;
use core::mem::{offset_of, size_of};

/// Offsets 0x000 to 0x3FF of the VMCB. Fields that the hypervisor leaves zero are in the reserved gaps.
#[repr(C)]
pub struct ControlArea {
    /// 0x000: intercepts of control-register reads (bits 15:0) and writes (31:16).
    pub intercept_cr: u32,
    /// 0x004: intercepts of debug-register reads and writes.
    pub intercept_dr: u32,
    /// 0x008: intercepts of exceptions, by vector.
    pub intercept_exceptions: u32,
    /// 0x00C: [`super::super::intercepts::Intercepts1`].
    pub intercepts1: u32,
    /// 0x010: [`super::super::intercepts::Intercepts2`].
    pub intercepts2: u32,
    /// 0x014: intercepts of newer instructions.
    pub intercepts3: u32,
    reserved_018: [u32; 9],
    /// 0x03C: PAUSEs further apart than this many cycles reload the count.
    pub pause_filter_threshold: u16,
    /// 0x03E: how many PAUSEs pass before one exits.
    pub pause_filter_count: u16,
    /// 0x040: physical address of the I/O permission map.
    pub iopm_base: u64,
    /// 0x048: physical address of the MSR permission map.
    pub msrpm_base: u64,
    /// 0x050: added to the TSC in guest mode.
    pub tsc_offset: u64,
    /// 0x058: the address-space id.
    pub asid: u32,
    /// 0x05C: [`TlbControl`].
    pub tlb_control: u32,
    /// 0x060: [`InterruptControl`], with V_TPR in bits 7:0 and V_INTR_VECTOR in 39:32.
    pub interrupt_control: u64,
    /// 0x068: bit 0, the guest is in an interrupt shadow.
    pub interrupt_shadow: u64,
    /// 0x070: why the guest stopped.
    pub exit_code: u64,
    /// 0x078: about the exit.
    pub exit_info1: u64,
    /// 0x080: about the exit.
    pub exit_info2: u64,
    /// 0x088: the event whose delivery the exit interrupted; stale unless its valid bit is set.
    pub exit_int_info: u64,
    /// 0x090: bit 0, nested paging.
    pub nested_control: u64,
    reserved_098: [u64; 2],
    /// 0x0A8: the event to deliver at entry.
    pub event_injection: u64,
    /// 0x0B0: physical address of the nested page tables' root.
    pub nested_cr3: u64,
    /// 0x0B8: last-branch and VMSAVE virtualization; unused.
    pub virtualization_extensions: u64,
    /// 0x0C0: [`CleanBits`].
    pub clean: u32,
    reserved_0c4: u32,
    /// 0x0C8: the address after the instruction that exited, with NRIPS; else 0.
    pub next_rip: u64,
    /// 0x0D0: how many of the bytes that follow are valid, with decode assists; else 0.
    pub instruction_bytes_count: u8,
    /// 0x0D1: the instruction's bytes as far as fetched.
    pub instruction_bytes: [u8; 15],
    reserved_0e0: [u8; 0x320],
}

/// Bit 0 of [`ControlArea::nested_control`].
pub const NESTED_PAGING: u64 = 1;

/// What happens to cached translations at entry (APM, volume 2, section 15.16.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TlbControl {
    /// All stay.
    Keep = 0,
    /// All go, of every ASID.
    FlushAll = 1,
    /// This guest's go; needs flush-by-ASID.
    FlushGuest = 3,
}

bitflags! {
    /// Fields of [`ControlArea::interrupt_control`] that are single bits or constants.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InterruptControl: u64 {
        /// V_TPR: the guest's CR8.
        const TASK_PRIORITY = 0xf;
        /// V_IRQ: a virtual interrupt is pending.
        const PENDING = 1 << 8;
        /// V_INTR_PRIO: the highest priority.
        const HIGHEST_PRIORITY = 0xf << 16;
        /// V_IGN_TPR: the pending interrupt is taken whatever CR8 says.
        const IGNORE_TASK_PRIORITY = 1 << 20;
        /// V_INTR_MASKING: the guest's RFLAGS.IF and CR8 do not govern the host's interrupts.
        const MASKING = 1 << 24;
    }
}

bitflags! {
    /// Groups of VMCB fields that have not changed since the last exit, so that the processor may use its own copy
    /// (APM, volume 2, section 15.15.3). Zero is always right.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CleanBits: u32 {
        /// Intercepts, TSC offset, pause filter.
        const INTERCEPTS = 1 << 0;
        /// The permission maps' addresses.
        const PERMISSION_MAPS = 1 << 1;
        /// The ASID.
        const ASID = 1 << 2;
        /// Virtual interrupts.
        const INTERRUPTS = 1 << 3;
        /// Nested paging: N_CR3 and G_PAT.
        const NESTED = 1 << 4;
        /// CR0, CR3, CR4, EFER.
        const CONTROL_REGISTERS = 1 << 5;
        /// DR6, DR7.
        const DEBUG_REGISTERS = 1 << 6;
        /// GDTR, IDTR.
        const DESCRIPTOR_TABLES = 1 << 7;
        /// CS, DS, SS, ES, CPL.
        const SEGMENTS = 1 << 8;
        /// CR2.
        const CR2 = 1 << 9;
        /// Last-branch records.
        const LAST_BRANCH = 1 << 10;
    }
}

const _: () = {
    assert!(size_of::<ControlArea>() == 0x400);
    assert!(offset_of!(ControlArea, pause_filter_threshold) == 0x3c);
    assert!(offset_of!(ControlArea, iopm_base) == 0x40);
    assert!(offset_of!(ControlArea, tsc_offset) == 0x50);
    assert!(offset_of!(ControlArea, asid) == 0x58);
    assert!(offset_of!(ControlArea, tlb_control) == 0x5c);
    assert!(offset_of!(ControlArea, interrupt_control) == 0x60);
    assert!(offset_of!(ControlArea, exit_code) == 0x70);
    assert!(offset_of!(ControlArea, exit_int_info) == 0x88);
    assert!(offset_of!(ControlArea, nested_control) == 0x90);
    assert!(offset_of!(ControlArea, event_injection) == 0xa8);
    assert!(offset_of!(ControlArea, nested_cr3) == 0xb0);
    assert!(offset_of!(ControlArea, clean) == 0xc0);
    assert!(offset_of!(ControlArea, next_rip) == 0xc8);
    assert!(offset_of!(ControlArea, instruction_bytes_count) == 0xd0);
    assert!(offset_of!(ControlArea, instruction_bytes) == 0xd1);
};
