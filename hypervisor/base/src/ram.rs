//! Where RAM lies in a guest-physical space: what builds the map and what describes it to the guest must agree.
//!
//! ```text
//! 0 ─────────── RAM, at most 3 GiB ──── devices ──── 4 GiB ──── the rest of the RAM ────
//! ```

use crate::GIB;

/// The most RAM below the devices.
pub const LOW_RAM_MAX_BYTES: u64 = 3 * GIB;
/// Where the RAM goes on above them.
pub const HIGH_RAM_START: u64 = 4 * GIB;
