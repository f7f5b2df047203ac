//! How a vCPU enters Linux in 64-bit mode: paging on with an identity map, flat segments, interrupts off, RSI at the
//! zero page (Linux, `Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol").

use crate::loader::Problem;
use crate::loader::low::{self, CODE_SELECTOR, Code, DATA_SELECTOR};
use base::{GIB, Gpa, MIB, PAGE_BYTES};
use seams::GuestMemory;
use vcpu::control::{cr0, cr4, efer};
use vcpu::{DescriptorTable, Segment, VcpuState};

const PML4: u64 = low::PAGE_TABLES;
const PDPT: u64 = PML4 + PAGE_BYTES;
/// One page directory for each GiB that is mapped, one after the other.
const DIRECTORIES: u64 = PDPT + PAGE_BYTES;
const MAPPED_GIB: u64 = 4;
const _: () = assert!(DIRECTORIES + MAPPED_GIB * PAGE_BYTES <= low::STRINGS);

/// Page-table entries: present, writable, and for the last level large (Intel SDM, volume 3, section 4.5.4).
const TABLE: u64 = 0x3;
const LARGE_PAGE: u64 = 0x83;

/// Writes GDT and page tables to low memory; the state to enter `entry` with, all general-purpose registers zero.
pub(super) fn prepare(entry: u64, memory: &impl GuestMemory) -> Result<VcpuState, Problem> {
    let gdtr = low::write_gdt(Code::Long, memory)?;
    write_identity_map(memory)?;
    Ok(state(entry, gdtr))
}

/// Maps the first [`MAPPED_GIB`] GiB to themselves by pages of 2 MiB, which every 64-bit processor has.
fn write_identity_map(memory: &impl GuestMemory) -> Result<(), Problem> {
    let mut table = [0; PAGE_BYTES as usize];
    fill_table(&mut table, [PDPT | TABLE].into_iter());
    memory.write(Gpa::from_low_bits(PML4), &table)?;
    let directories = (0..MAPPED_GIB).map(|n| DIRECTORIES + n * PAGE_BYTES);
    fill_table(&mut table, directories.clone().map(|directory| directory | TABLE));
    memory.write(Gpa::from_low_bits(PDPT), &table)?;
    for (n, directory) in (0..).zip(directories) {
        fill_table(&mut table, (0..512).map(|page| (n * GIB + page * 2 * MIB) | LARGE_PAGE));
        memory.write(Gpa::from_low_bits(directory), &table)?;
    }
    Ok(())
}

/// Makes `table` hold `entries`, and zeros behind them.
fn fill_table(table: &mut [u8; PAGE_BYTES as usize], entries: impl Iterator<Item = u64>) {
    let entries = entries.chain(core::iter::repeat(0));
    table
        .chunks_exact_mut(8)
        .zip(entries)
        .for_each(|(slot, entry)| slot.copy_from_slice(&entry.to_le_bytes()));
}

fn state(entry: u64, gdtr: DescriptorTable) -> VcpuState {
    // Present, accessed, execute/read with L, or read/write with D/B; G.
    let code = Segment { selector: CODE_SELECTOR, attributes: 0xa9b, limit: u32::MAX, base: 0 };
    let data = Segment { selector: DATA_SELECTOR, attributes: 0xc93, limit: u32::MAX, base: 0 };
    VcpuState {
        rip: entry,
        cr0: cr0::PE | cr0::MP | cr0::ET | cr0::NE | cr0::WP | cr0::PG,
        cr3: PML4,
        cr4: cr4::PAE,
        efer: efer::LME | efer::LMA,
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        gdtr,
        // No handler: an exception before the kernel has its own table is a triple fault.
        idtr: DescriptorTable { base: 0, limit: 0 },
        ..VcpuState::reset()
    }
}
