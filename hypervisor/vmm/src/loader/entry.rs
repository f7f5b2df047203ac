//! How a vCPU enters Linux in 64-bit mode: paging on with an identity map, flat segments, RSI at the zero page,
//! interrupts off (Linux, `Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol").

use crate::loader::{Problem, zero_page::ZeroPage};
use base::{GIB, Gpa, MIB, PAGE_BYTES};
use seams::GuestMemory;
use vcpu::control::{cr0, cr4, efer};
use vcpu::{DescriptorTable, Gpr, Segment, VcpuState};

const GDT: u64 = 0x1000;
const ZERO_PAGE: u64 = 0x2000;
const PML4: u64 = 0x3000;
const PDPT: u64 = 0x4000;
/// One page directory for each GiB that is mapped, one after the other.
const DIRECTORIES: u64 = 0x5000;
/// The end of the directories must stay below [`COMMAND_LINE`].
const MAPPED_GIB: u64 = 4;

/// Where the command line is put.
pub(super) const COMMAND_LINE: u64 = 0x1_0000;
/// The longest command line in bytes, without its final NUL.
pub(super) const COMMAND_LINE_MAX_BYTES: u64 = 0xffff;

/// Page-table entries: present, writable, and for the last level large (Intel SDM, volume 3, section 4.5.4).
const TABLE: u64 = 0x3;
const LARGE_PAGE: u64 = 0x83;

/// `__BOOT_CS` and `__BOOT_DS`, which the protocol demands, and what their descriptors hold.
const BOOT_CS: u16 = 0x10;
const BOOT_DS: u16 = 0x18;
const CODE_DESCRIPTOR: u64 = 0x00af_9b00_0000_ffff;
const DATA_DESCRIPTOR: u64 = 0x00cf_9300_0000_ffff;

/// Writes the zero page, GDT and page tables to low memory; the state to enter `entry` with.
pub(super) fn prepare(
    entry: u64,
    zero_page: &ZeroPage,
    memory: &impl GuestMemory,
) -> Result<VcpuState, Problem> {
    memory.write(Gpa::from_low_bits(ZERO_PAGE), zero_page.bytes())?;
    let gdt_limit = write_gdt(memory)?;
    write_identity_map(memory)?;
    Ok(state(entry, gdt_limit))
}

fn write_gdt(memory: &impl GuestMemory) -> Result<u16, Problem> {
    let descriptors = [0, 0, CODE_DESCRIPTOR, DATA_DESCRIPTOR];
    for (at, descriptor) in (GDT..).step_by(8).zip(descriptors) {
        memory.write(Gpa::from_low_bits(at), &u64::to_le_bytes(descriptor))?;
    }
    Ok(size_of_val(&descriptors) as u16 - 1)
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

fn state(entry: u64, gdt_limit: u16) -> VcpuState {
    // Present, accessed, execute/read with L, or read/write with D/B; G.
    let code = Segment { selector: BOOT_CS, attributes: 0xa9b, limit: u32::MAX, base: 0 };
    let data = Segment { selector: BOOT_DS, attributes: 0xc93, limit: u32::MAX, base: 0 };
    let mut state = VcpuState {
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
        gdtr: DescriptorTable { base: GDT, limit: gdt_limit },
        // No handler: an exception before the kernel has its own table is a triple fault.
        idtr: DescriptorTable { base: 0, limit: 0 },
        ..VcpuState::reset()
    };
    state.gprs.set(Gpr::Rsi, ZERO_PAGE);
    state
}
