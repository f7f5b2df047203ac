//! Addresses, ids, units and the saved-state codec: the words that every other crate speaks in.
//!
//! # Principles
//! - **Valid by construction.** A value of these types can be used without a second check; what refuses a value
//!   says which value it was.
//! - **One meaning a type.** Guest-physical and host-physical addresses cannot be mixed up, nor ports and vectors.
//! - **No policy.** Nothing here decides anything, allocates without being asked, or knows a device or a vendor.
//!
//! # What it must never do
//! Depend on another crate of ours, or hold `unsafe`.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

pub mod addr;
pub mod id;
pub mod net;
pub mod ram;
pub mod state;
pub mod time;
pub mod tsc;
pub mod units;

pub use addr::{AddressError, Gpa, Hpa, PhysRange};
pub use id::{ApicId, CpuId, Gsi, InvalidVmName, Port, Vector, VmId, VmName};
pub use net::{BitRate, MacAddress, VlanId};
pub use time::{Instant, Nanoseconds};
pub use tsc::{InvalidFrequency, TscLine, TscScale};
pub use units::{ByteSize, GIB, KIB, MIB, PAGE_BYTES};
