//! What a guest sees of PCI: one bus, a host bridge in slot 0, and devices of one function each in the others.
//!
//! ```text
//!  ports 0xCF8, 0xCFC ──┐                        ┌─▶ header: ids, command, BARs, interrupt line
//!                       ├─▶ slot and register ───┼─▶ MSI-X capability
//!  ECAM window ─────────┘   of configuration     └─▶ the device's own capabilities
//!
//!  memory window ─────────▶ a BAR's registers ───┬─▶ the device's own
//!                                                └─▶ MSI-X table and pending bits ──▶ interrupt messages
//! ```
//!
//! A function is a value made of [`Header`] and [`Msix`]; who owns the functions routes accesses to them, so that this
//! module knows no device. Every BAR has an address and every function decodes memory after reset: there is no firmware
//! that would do it. The guest may move and disable BARs at any moment.
//!
//! Sources: PCI Local Bus Specification 3.0 ("PCI"); PCI Express Base Specification 5.0, section 7.2.2 (ECAM).

mod address;
mod bridge;
mod function;
mod header;
mod lanes;
mod msix;
#[cfg(test)]
mod tests;

pub use address::{ConfigAccess, ECAM_LEN_BYTES, Slot, ecam_target};
pub use bridge::HostBridge;
pub(crate) use function::{CONFIG_END, MSIX_BAR, MSIX_CAPABILITY, OWN_CAPABILITIES};
pub use function::{Function, FunctionState, Layout, Place};
pub use header::{BARS, Bar, Cause, Header, HeaderState, Identity, InterruptPin};
pub use lanes::Lanes;
pub use msix::{Msix, MsixState, NO_VECTOR, VECTORS_MAX};

/// What a read gives where nothing is.
pub const ABSENT: u32 = u32::MAX;
