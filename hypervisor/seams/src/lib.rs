//! The traits where floors meet: guest memory, disks, DMA, ports, bytes, interrupt lines and the clock.
//!
//! # Principles
//! - A seam is as narrow as its users need, and it is the only way through.
//! - Both sides can be faked: everything above runs under `cargo test` on any host. A fake that several crates need is in
//!   `fake`, behind the feature of that name.
//! - Static dispatch only: a user is generic over the seam.
//!
//! # What it must never do
//! Hold an implementation for real hardware, or a type that only one side understands.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod block;
pub mod bytes;
pub mod clock;
pub mod dma;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod irq;
pub mod memory;
pub mod port;

pub use block::{
    Begun, Block, BlockAccess, BlockBuffers, BlockError, BlockGeometry, BlockOperation, BlockRequest,
    SECTOR_BYTES, Ticket,
};
pub use bytes::{ByteSink, ByteSource};
pub use clock::Clock;
pub use dma::{BusAddress, DmaBuffer, DmaMemory, DmaRing, Registers};
pub use irq::{IrqSink, Level};
pub use memory::{GuestMemory, MemoryError};
pub use port::PortIo;
