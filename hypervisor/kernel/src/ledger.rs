//! Who has the machine's memory, down to what firmware keeps: `host mem`.
//!
//! Everything that is neither free memory nor a VM's is overhead, whoever has it: the hypervisor's image, its frames in
//! use, files that VMs may be loaded from again, the first MiB, and what boot should have given back. What firmware
//! keeps for itself it never gave away: it is told, but no overhead of ours. Free memory in pieces is what lies beside
//! other memory within 2 MiB: the hypervisor's own structures can use it, VMs cannot.

use crate::bring_up::PER_CPU_STACK_BYTES;
use base::{GIB, KIB, MIB, PAGE_BYTES};
use core::fmt::{self, Write};
use handoff::{Handoff, MemoryRegion, RegionKind};
use memory::{HostMemory, Usage};

/// The memory that no allocator gives out.
pub struct FixedMemory {
    ram_bytes: u64,
    image_bytes: u64,
    firmware_bytes: u64,
    low_bytes: u64,
}

impl FixedMemory {
    /// What `handoff` tells of it.
    pub fn of(handoff: &Handoff) -> Self {
        let map = &handoff.memory_map;
        let len = |region: &MemoryRegion| region.range.len_bytes();
        let is_firmwares =
            |kind| matches!(kind, RegionKind::AcpiNvs | RegionKind::RuntimeServices | RegionKind::Reserved);
        // What firmware reserves above its last RAM below 4 GiB is no RAM but device registers.
        let low_ram = map.iter().filter(|region| region.kind.is_ram() && region.range.end_u64() <= 4 * GIB);
        let low_ram_end = low_ram.map(|region| region.range.end_u64()).max().unwrap_or(0);
        let is_reserved_ram = |region: &MemoryRegion| {
            region.kind == RegionKind::Reserved && region.range.end_u64() <= low_ram_end
        };
        let ram = || map.iter().filter(|region| region.kind.is_ram() || is_reserved_ram(region));
        let is_low = |region: &&MemoryRegion| region.range.end_u64() <= MIB;
        Self {
            ram_bytes: ram().map(len).sum(),
            image_bytes: handoff.image.range.len_bytes().next_multiple_of(PAGE_BYTES),
            firmware_bytes: ram().filter(|region| is_firmwares(region.kind)).map(len).sum(),
            low_bytes: ram().filter(|region| !is_firmwares(region.kind)).filter(is_low).map(len).sum(),
        }
    }

    /// Writes the account: `usage` is what the allocator gives out, `file_bytes` what VMs' files have.
    pub fn tell(&self, out: &mut dyn Write, usage: &Usage, file_bytes: u64) -> fmt::Result {
        let Self { ram_bytes, image_bytes, firmware_bytes, low_bytes } = *self;
        let free = usage.free_clean_bytes + usage.free_dirty_bytes;
        let pieces = usage.hypervisor_spare_bytes;
        let guests = usage.private_bytes + usage.shared_bytes;
        let others = [free, pieces, guests, firmware_bytes];
        let overhead = others.into_iter().fold(ram_bytes, u64::saturating_sub);
        let named = image_bytes + usage.hypervisor_bytes + file_bytes + low_bytes + usage.poisoned_bytes;
        let kib = |bytes: u64| bytes / KIB;
        writeln!(out, "RAM {} KiB", kib(ram_bytes))?;
        writeln!(out, "free {} KiB, {} KiB to be scrubbed", kib(free), kib(usage.free_dirty_bytes))?;
        writeln!(out, "free in pieces {} KiB", kib(pieces))?;
        writeln!(out, "VMs {} KiB", kib(guests))?;
        writeln!(out, "firmware {} KiB", kib(firmware_bytes))?;
        writeln!(out, "overhead {} KiB:", kib(overhead))?;
        writeln!(out, "  hypervisor's image {} KiB", kib(image_bytes))?;
        writeln!(out, "  hypervisor's frames in use {} KiB", kib(usage.hypervisor_bytes))?;
        writeln!(out, "  files kept for VMs {} KiB", kib(file_bytes))?;
        writeln!(out, "  below 1 MiB {} KiB", kib(low_bytes))?;
        writeln!(out, "  errors {} KiB", kib(usage.poisoned_bytes))?;
        writeln!(out, "  left by boot {} KiB", kib(overhead.saturating_sub(named)))?;
        let (gib, cpu) = (HostMemory::metadata_bytes_per_gib(), PER_CPU_STACK_BYTES);
        writeln!(out, "growth {gib} bytes a GiB of RAM, {} KiB of stacks a CPU", kib(cpu))
    }
}
