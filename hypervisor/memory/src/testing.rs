//! A machine for tests: its "physical" memory is one buffer on the host's heap.
//!
//! Unsafe because frames are reached through raw pointers into the buffer.

extern crate std;

use crate::direct::Direct;
use crate::frames::BLOCK_BYTES;
use crate::host::HostMemory;
use crate::host::tests::take_over;
use crate::layout::DIRECT_BYTES;
use base::{Hpa, PAGE_BYTES, PhysRange};
use handoff::{EntropySource, Handoff, Image, MemoryRegion, Protection, RegionKind, Segment};
use std::alloc::{Layout, alloc};
use std::vec::Vec;

/// `bytes` from `start` on.
pub fn range(start: u64, bytes: u64) -> PhysRange {
    PhysRange::new(Hpa::new(start).unwrap(), bytes).unwrap()
}

/// A handoff whose memory map is `regions`: each a start, an end and a kind. One page of the image is in the first
/// region of its kind.
pub fn handoff(regions: &[(u64, u64, RegionKind)]) -> Handoff {
    let memory_map: Vec<_> = regions
        .iter()
        .map(|&(start, end, kind)| MemoryRegion { range: range(start, end - start), kind })
        .collect();
    let image = memory_map.iter().find(|region| region.kind == RegionKind::HypervisorImage).unwrap().range;
    let text = Segment { offset_bytes: 0, len_bytes: PAGE_BYTES, protection: Protection::ReadExecute };
    let data = Segment { offset_bytes: PAGE_BYTES, len_bytes: PAGE_BYTES, protection: Protection::ReadWrite };
    Handoff {
        memory_map,
        rsdp: None,
        smbios: None,
        entropy: [1; 64],
        entropy_source: EntropySource::Timing,
        wall_clock_s: None,
        files: Vec::new(),
        boot_build_id: "test".into(),
        image: Image {
            range: image,
            virtual_start: handoff::IMAGE_AREA_START + BLOCK_BYTES,
            segments: std::vec![text, data],
            sha256: [0; 32],
        },
        boot_stack: range(0, 0),
        boot_tables: range(0, 0),
        overrides: "".into(),
        preserved: Vec::new(),
        tsc_at_start: 0,
        tsc_at_exit: 0,
    }
}

/// The default map: pieces at both ends of blocks, firmware in the middle, 64 MiB in all.
pub fn usual_handoff() -> Handoff {
    const M: u64 = 1 << 20;
    handoff(&[
        (0, 0x9_f000, RegionKind::Usable),
        (M, M + 0x2000, RegionKind::HypervisorImage),
        (M + 0x2000, 30 * M + 0x3000, RegionKind::Usable),
        (30 * M + 0x3000, 31 * M, RegionKind::AcpiReclaim),
        (31 * M, 33 * M, RegionKind::Files),
        (33 * M, 62 * M, RegionKind::BootServices),
        (62 * M, 63 * M, RegionKind::Reserved),
        (63 * M, 64 * M, RegionKind::Usable),
    ])
}

/// A buffer that stands for the physical memory of `handoff`, filled with a pattern, never freed.
pub fn buffer(handoff: &Handoff) -> Direct {
    let top = handoff.memory_map.iter().map(|region| region.range.end_u64()).max().unwrap();
    assert!(top < DIRECT_BYTES);
    let layout = Layout::from_size_align(top as usize, BLOCK_BYTES as usize).unwrap();
    // SAFETY: the layout has a size.
    let start = unsafe { alloc(layout) };
    // SAFETY: the buffer is that long.
    unsafe { start.write_bytes(0xa5, top as usize) }
    // SAFETY: all frames that the tests' maps name are in the buffer, which is never freed.
    unsafe { Direct::new(start.expose_provenance()) }
}

/// The memory of a machine with `handoff`'s map.
pub fn machine_with(handoff: &Handoff) -> HostMemory {
    take_over(handoff, buffer(handoff)).unwrap()
}

/// The memory of the usual machine.
pub fn machine() -> HostMemory {
    machine_with(&usual_handoff())
}

/// Whether all of `range` is zero.
pub fn is_zero(direct: Direct, range: PhysRange) -> bool {
    let start = direct.pointer(range.start());
    // SAFETY: the range is in the buffer, and nobody writes to it meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), range.len_bytes() as usize) };
    bytes.iter().all(|byte| *byte == 0)
}

/// The memory of a machine, locked, for as long as the tests run.
pub fn shared(memory: HostMemory) -> &'static crate::SharedMemory {
    std::boxed::Box::leak(std::boxed::Box::new(crate::SharedMemory::new(sync::Rank::Frames, memory)))
}
