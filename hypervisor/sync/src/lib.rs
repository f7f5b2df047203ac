//! Ranked locks, byte rings and pending-interrupt descriptors: all sharing between CPUs.
//!
//! # Principles
//! - **Locks have ranks.** A CPU takes them in rising rank only, so no two CPUs can wait for each other; every lock
//!   and unlock checks it, in release builds too.
//! - **Few orders, each explained.** Every atomic access that is not `Relaxed` says what it is ordered against; the
//!   ring and the descriptor are run through all interleavings by `loom`.
//! - **Nothing waits for a consumer.** A full ring drops and counts; a posted interrupt is a bit.
//!
//! # What it must never do
//! Hold `unsafe`, know which CPU it runs on except by being told, or block on anything but a short critical section.
//!
//! The interleavings are explored by
//! `RUSTFLAGS="--cfg loom" cargo test -p sync --release` (in a target directory of its own).

#![cfg_attr(not(loom), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod atomic;
pub mod lock;
pub mod pending;
pub mod ring;

pub use lock::{Guard, HeldRanks, Lock, Rank, ThisCpu};
pub use pending::{Notification, PendingInterrupts, VectorSet};
pub use ring::ByteRing;
