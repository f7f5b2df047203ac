//! The operator's side: one terminal on one serial line, shared by the log, the guests' consoles and a shell.
//!
//! # Principles
//! - **Any byte stream.** Bytes come in one by one and go out one by one; no driver is known here.
//! - **The escape key always works**, whatever a guest does with its console.
//! - **Bounded.** What cannot be sent in time is dropped and counted, never waited for.
//!
//! # What it must never do
//! Hold state of a VM, or do anything to one but through [`Operator`].

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

mod outbox;
mod shell;
mod terminal;

pub use shell::{Operator, VmLine};
pub use terminal::{ESCAPE_KEY, Terminal};
