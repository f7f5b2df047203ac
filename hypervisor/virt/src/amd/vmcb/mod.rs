//! The virtual machine control block: one page that says what to intercept and holds the guest's state
//! (APM 24593, volume 2, appendix B).
//!
//! ```text
//!   0x000  control area   intercepts, permission maps, ASID, TLB, virtual interrupts, exit, injection, nested paging
//!   0x400  state save     segments, control and debug registers, RIP, RSP, RAX, system-call registers, CR2, PAT
//!   0xfff
//! ```
//!
//! While the processor runs the guest, the page is the processor's; between exit and entry it is the vCPU's.

mod control;
mod save;

pub use control::{CleanBits, ControlArea, InterruptControl, NESTED_PAGING, TlbControl};
pub use save::SaveArea;

use core::mem::{offset_of, size_of};

/// A VMCB.
#[repr(C, align(4096))]
pub struct Vmcb {
    /// What the hypervisor asks for, and why the guest stopped.
    pub control: ControlArea,
    /// The guest's registers, but for most general-purpose ones.
    pub save: SaveArea,
    reserved: [u8; 0x1000 - 0x400 - size_of::<SaveArea>()],
}

const _: () = {
    assert!(size_of::<Vmcb>() == 0x1000);
    assert!(offset_of!(Vmcb, control) == 0);
    assert!(offset_of!(Vmcb, save) == 0x400);
};
