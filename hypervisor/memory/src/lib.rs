//! Frames and their owners, the host's address space, guest-physical maps and the one accessor of guest memory.
//!
//! ```text
//!  GuestAccess ── checks, copies ──▶ guest window ◀─┐ caches of
//!  GuestMap ── extents: the truth ── nested tables ◀─┘ the extents
//!     │ frames
//!  HostMemory ── Frames (who owns what) + HostSpace (what the hypervisor can see)
//! ```
//!
//! # Principles
//! - **One owner a frame.** [`Frames`] is the only place that says whose memory something is; every change of owner
//!   is checked there, and memory is zeroed between owners.
//! - **The hypervisor sees only its own.** Guest memory is not in the direct window; it appears in one slot of the
//!   address space, and only for the VM that the CPU serves.
//! - **The map is the truth.** Nested tables and the guest window are built from a [`GuestMap`]'s extents by one
//!   function.
//! - **Memory runs out.** Every allocation can fail, and what a guest causes is charged to its VM's budget.
//!
//! # What it must never do
//! Make a reference or slice into guest memory, allocate on the path of an exit, or decide which VM runs.
//!
//! # Unsafe
//! Physical memory is raw memory. `direct` reaches frames, `host` calls it for frames that it owns, `guest::access` and
//! `guest::copy` reach guests' memory, and `heap` makes arenas. What decides who owns which memory, `frames`, and what
//! a guest's space consists of, `guest::map` and `guest::extent`, is safe code over numbers.
//!
//! There is one CPU now. When others come, what [`HostMemory`] unmaps or frees waits for a flush epoch, which
//! `host::cpu::flush` starts; nothing else changes.

#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

pub mod direct;
pub mod error;
pub mod frames;
pub mod guest;
pub mod heap;
pub mod host;
pub mod layout;

#[cfg(test)]
mod testing;

pub use error::HostMemoryError;
pub use frames::{BLOCK_BYTES, FrameError, Frames, Usage, Zone};
pub use guest::{
    ExecutablePages, Extent, ExtentKind, GuestAccess, GuestMap, GuestMapConfig, GuestMapError, MappedWindow,
    NestedFormat, Peer, Window,
};
pub use heap::{EarlyArena, Heap, HeapUsage};
pub use host::{
    DeviceWindow, HostFrames, HostMemory, HostSpace, STACK_BYTES, SharedMemory, StackTop, View, Views, global,
};
