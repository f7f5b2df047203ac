//! PVH: an ELF file with a note of its 32-bit entry, which gets a `hvm_start_info` in EBX.
//!
//! ```text
//! 0   magic, version 1      24  command line      48  number of memory-map entries
//! 8   flags, modules        32  RSDP              52  reserved
//! 16  list of modules       40  memory map        56  memory map, then list of modules
//! ```
//!
//! Sources: Xen, `docs/misc/pvh.pandoc` and `include/public/arch-x86/hvm/start_info.h`. The list of modules begins with
//! the initial RAM disk, if there is one.

use crate::layout::RamLayout;
use crate::loader::elf::Elf;
use crate::loader::given::FILES_MAX;
use crate::loader::memory_map::MAX_ENTRIES as MEMORY_MAP_MAX_ENTRIES;
use crate::loader::{Given, Kernel, Problem, Protocol, low, memory_map, protected_mode, record::Record};
use base::Gpa;
use seams::GuestMemory;
use vcpu::{Gpr, VcpuState};

const MAGIC: u32 = 0x336e_c578;
/// The first version with a memory map.
const VERSION: u32 = 1;
const START_INFO_BYTES: u64 = 56;
const MEMORY_MAP_ENTRY_BYTES: u64 = 24;
const MODULE_ENTRY_BYTES: u64 = 32;

const _: () = assert!(
    START_INFO_BYTES
        + MEMORY_MAP_MAX_ENTRIES as u64 * MEMORY_MAP_ENTRY_BYTES
        + FILES_MAX as u64 * MODULE_ENTRY_BYTES
        <= low::INFO_MAX_BYTES
);

/// Loads the ELF file `bytes`.
pub(super) fn load(bytes: &[u8], ram: RamLayout, memory: &impl GuestMemory) -> Result<Kernel, Problem> {
    let elf = Elf::parse(bytes)?;
    let entry = elf.notes()?.pvh_entry.ok_or(Problem::Malformed("it has no PVH note"))?;
    Ok(Kernel {
        entry,
        extent: elf.load(entry, ram, memory)?,
        protocol: Protocol::Pvh,
        cmdline_max_bytes: u64::MAX,
        files_last: u32::MAX.into(),
    })
}

/// Writes what the kernel is told; the state to enter it with.
pub(super) fn prepare(
    entry: u64,
    given: &Given,
    ram: RamLayout,
    rsdp: Gpa,
    memory: &impl GuestMemory,
) -> Result<VcpuState, Problem> {
    let map = memory_map(ram);
    let map_start = low::INFO + START_INFO_BYTES;
    let list_start = map_start + map.len() as u64 * MEMORY_MAP_ENTRY_BYTES;
    let mut info = Record::default();
    info.u32(MAGIC).u32(VERSION).u32(0).low_half(given.files().count() as u64);
    info.u64(list_start).u64(given.command_line).u64(rsdp.as_u64());
    info.u64(map_start).low_half(map.len() as u64).u32(0);
    for entry in &map {
        info.u64(entry.start).u64(entry.len_bytes).u32(entry.usage as u32).u32(0);
    }
    for file in given.files() {
        info.u64(file.extent.start).u64(file.extent.len_bytes()).u64(file.arguments).u64(0);
    }
    memory.write(Gpa::from_low_bits(low::INFO), info.bytes())?;
    let mut state = protected_mode::prepare(entry, memory)?;
    state.gprs.set(Gpr::Rbx, low::INFO);
    Ok(state)
}
