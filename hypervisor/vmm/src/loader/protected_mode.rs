//! How a vCPU enters a kernel in 32-bit protected mode: paging off, flat segments, interrupts off.
//!
//! One state serves three protocols, which differ in general-purpose registers only:
//!
//! | | EAX | EBX | ESI |
//! |---|---|---|---|
//! | Linux (`boot.rst`, "32-bit Boot Protocol") | | 0 | zero page |
//! | PVH (Xen, `docs/misc/pvh.pandoc`) | | start info | |
//! | Multiboot (0.6.96, section 3.2) | 0x2BADB002 | information | |

use crate::loader::Problem;
use crate::loader::low::{self, CODE_SELECTOR, Code, DATA_SELECTOR};
use seams::GuestMemory;
use vcpu::control::cr0;
use vcpu::{DescriptorTable, Segment, VcpuState};

/// Writes a GDT to low memory; the state to enter `entry` with, all general-purpose registers zero.
pub(super) fn prepare(entry: u64, memory: &impl GuestMemory) -> Result<VcpuState, Problem> {
    let gdtr = low::write_gdt(Code::Protected, memory)?;
    // Present, accessed, execute/read or read/write, D/B, G.
    let code = Segment { selector: CODE_SELECTOR, attributes: 0xc9b, limit: u32::MAX, base: 0 };
    let data = Segment { selector: DATA_SELECTOR, attributes: 0xc93, limit: u32::MAX, base: 0 };
    Ok(VcpuState {
        rip: entry,
        // PVH wants every other bit that can be written clear.
        cr0: cr0::PE | cr0::ET,
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        // PVH: a busy 32-bit TSS of the least size, at 0. Nothing uses it before the kernel has its own.
        tr: Segment { selector: 0, attributes: 0x8b, limit: 0x67, base: 0 },
        gdtr,
        // No handler: an exception before the kernel has its own table is a triple fault.
        idtr: DescriptorTable { base: 0, limit: 0 },
        ..VcpuState::reset()
    })
}
