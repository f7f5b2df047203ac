//! From boot's tables to ours, and the memory's one global.
//!
//! Unsafe because the metadata's memory becomes slices here, once, and because the tables change under the program.

use super::early::{free_ranges, without};
use super::{HostMemory, HostSpace, SharedMemory, cpu};
use crate::direct::Direct;
use crate::error::HostMemoryError;
use crate::frames::{BLOCK_BYTES, Block, Frames, SmallBlock};
use crate::layout::DIRECT_BASE;
use base::{Hpa, PhysRange};
use core::ptr::NonNull;
use handoff::{Handoff, RegionKind};
use spin::{Mutex, Once};
use sync::Rank;

/// The space between [`HostSpace::activate`] and [`start`]. It is in the image, which both spaces map.
static ACTIVATED: Mutex<Option<HostSpace>> = Mutex::new(None);

static MEMORY: Once<SharedMemory> = Once::new();

/// The machine's memory; `None` before [`start`].
pub fn global() -> Option<&'static SharedMemory> {
    MEMORY.get()
}

/// What is ours as soon as the kernel runs on its own tables and stack and has parsed the handoff.
const OURS: [RegionKind; 5] = [
    RegionKind::Usable,
    RegionKind::BootServices,
    RegionKind::Handoff,
    RegionKind::BootStack,
    RegionKind::BootTables,
];

impl HostSpace {
    /// Continues at `entry` with `argument` in this space, on the boot CPU's stack in it. The first thing to do there
    /// is to call [`start`].
    ///
    /// # Safety
    /// This is the boot CPU, interrupts are masked, and the space was built from the handoff of this boot. Nothing outside the
    /// image is used any more: not the old stack, nor the handoff's block, nor a GDT or IDT that lies elsewhere.
    pub unsafe fn activate(self, entry: extern "sysv64" fn(usize) -> !, argument: usize) -> ! {
        let (root, stack) = (self.root(), self.boot_stack());
        *ACTIVATED.lock() = Some(self);
        // SAFETY: the space maps the image and the stack; for the rest the caller vouches.
        unsafe { cpu::continue_on(root, stack.0, entry, argument) }
    }
}

/// Takes over all memory of `handoff` that is free now: usable memory, that of boot services, boot's stack and tables,
/// and the handoff's block. Files and ACPI's tables follow when they were read ([`super::View::release`]).
///
/// # Errors
/// [`HostMemoryError`] when the memory map is too scattered for the metadata.
///
/// # Safety
/// The CPU runs in a space that [`HostSpace::activate`] entered, and `handoff` is the one that it was built from.
pub unsafe fn start(handoff: &Handoff) -> Result<&'static SharedMemory, HostMemoryError> {
    let space = ACTIVATED.lock().take().ok_or(HostMemoryError::NoRoomToStart { len_bytes: 0 })?;
    // SAFETY: the space maps its own pool in the direct window, and `HostMemory` whatever it gives to the hypervisor.
    let direct = unsafe { Direct::new(DIRECT_BASE as usize) };
    crate::guest::window::set_root(space.root());
    // SAFETY: the pool is mapped in the direct window, and nobody else knows the metadata in it.
    let memory = unsafe { take_over(space, direct, handoff)? };
    Ok(MEMORY.call_once(|| SharedMemory::new(Rank::Frames, memory)))
}

/// Builds the frames' metadata in the pool of `space` and adds all memory that is ours.
///
/// # Safety
/// `direct` maps the pool and whatever `space` maps in its direct window; the pool is used by the tables in it alone.
pub(super) unsafe fn take_over(
    space: HostSpace,
    direct: Direct,
    handoff: &Handoff,
) -> Result<HostMemory, HostMemoryError> {
    let pool = space.pool.range();
    let [blocks_bytes, _] = space.plan.array_bytes();
    let small_start = pool.start().checked_add(blocks_bytes).ok_or(HostMemoryError::OutOfAddresses)?;
    // SAFETY: `HostSpace::build` cut both arrays, in this order, from the start of the pool, for nobody else.
    let mut frames = unsafe {
        let blocks = array(direct.pointer(pool.start()).cast(), space.plan.blocks, Block::Foreign);
        let small = array(direct.pointer(small_start).cast(), space.plan.small_blocks, SmallBlock::UNUSED);
        Frames::new(blocks, small)
    };
    for start in (pool.start().as_u64()..pool.end_u64()).step_by(BLOCK_BYTES as usize) {
        frames.add_frames(range(start, BLOCK_BYTES)?)?;
    }
    frames.take_exactly(range(pool.start().as_u64(), space.pool.used_bytes())?)?;

    let ram = handoff.memory_map.iter().filter(|region| region.kind.is_ram());
    let ram = ram.map(|region| region.range).collect();
    let mut memory = HostMemory { frames, space, direct, scrubbing: None, ram };
    for kind in OURS {
        for free in free_ranges(handoff, kind) {
            without(free, core::iter::once(pool)).try_for_each(|piece| memory.release(piece))?;
        }
    }
    Ok(memory)
}

fn range(start: u64, len_bytes: u64) -> Result<PhysRange, HostMemoryError> {
    PhysRange::new(Hpa::from_low_bits(start), len_bytes).map_err(|_| HostMemoryError::OutOfAddresses)
}

/// `len` elements at `start`, each `value`.
///
/// # Safety
/// The memory is mapped, aligned, long enough, and used by nobody else, for ever.
unsafe fn array<T: Copy>(start: NonNull<T>, len: usize, value: T) -> &'static mut [T] {
    for index in 0..len {
        // SAFETY: the caller vouches for all `len` elements.
        unsafe { start.add(index).write(value) }
    }
    // SAFETY: as above, and all elements are initialized now.
    unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), len) }
}
