//! The host's virtual address space.
//!
//! ```text
//! 0xFFFF_8000_0000_0000  direct window: frames of the hypervisor, at their physical address     64 TiB
//! 0xFFFF_C000_0000_0000  guest window: the VM that this CPU serves, at its guest-physical one  512 GiB
//! 0xFFFF_C080_0000_0000  peer window: another VM, while something is copied between the two    512 GiB
//! 0xFFFF_D000_0000_0000  stacks, each above a guard page                                       512 GiB
//! 0xFFFF_D100_0000_0000  device registers, uncached                                            512 GiB
//! 0xFFFF_D200_0000_0000  views: read-only sight of firmware's tables and of boot's files       512 GiB
//! 0xFFFF_D300_0000_0000  scratch: the block that is being scrubbed                               2 MiB
//! 0xFFFF_FFFF_8000_0000  the image, at a random offset                                           2 GiB
//! ```
//! Every part begins at an entry of the root table, and no two share one.

use base::Hpa;

/// Where host-physical address 0 would be, were it the hypervisor's.
pub const DIRECT_BASE: u64 = 0xFFFF_8000_0000_0000;
/// The largest host-physical address that the direct window can hold, plus one.
pub const DIRECT_BYTES: u64 = 1 << 46;
/// Where guest-physical address 0 is, of the VM that the CPU serves.
pub const GUEST_BASE: u64 = 0xFFFF_C000_0000_0000;
/// Where guest-physical address 0 is, of the VM that exchanges something with the one that the CPU serves.
pub const PEER_BASE: u64 = GUEST_BASE + GUEST_BYTES;
/// The length of either window: the largest guest-physical address of memory, plus one.
pub const GUEST_BYTES: u64 = 1 << 39;
/// The first guard page.
pub const STACKS_BASE: u64 = 0xFFFF_D000_0000_0000;
/// The first device register's page.
pub const DEVICES_BASE: u64 = 0xFFFF_D100_0000_0000;
/// The first view.
pub const VIEWS_BASE: u64 = 0xFFFF_D200_0000_0000;
/// The block that is being scrubbed, where the stacks' area ends: the tables above it are there for ever, so that none
/// comes and goes with each step.
pub const SCRATCH_BASE: u64 = STACKS_BASE + (512 << 20);
/// The length of the areas of devices and views.
pub const AREA_BYTES: u64 = 1 << 39;

/// The low 48 bits of a canonical address: where it lies in the tree of the host's tables.
pub const fn in_tree(virtual_address: u64) -> u64 {
    virtual_address & ((1 << 48) - 1)
}

/// Where a frame of the hypervisor is in the direct window.
pub const fn direct(hpa: Hpa) -> u64 {
    DIRECT_BASE + hpa.as_u64()
}

/// The index in the root table of a part of the address space.
pub const fn root_index(virtual_address: u64) -> u16 {
    paging::Level::Root.index(virtual_address)
}
