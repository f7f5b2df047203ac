//! A guest's physical memory: what it consists of, the tables made from that, and the one way in.

pub mod access;
mod apic_page;
mod copy;
pub mod extent;
pub mod map;
#[cfg(feature = "seeded-faults")]
mod rearranged;
#[cfg(test)]
mod tests;
mod trees;
pub mod window;

pub use access::GuestAccess;
pub use extent::{Extent, ExtentKind};
pub use map::{GuestMap, GuestMapConfig, GuestMapError};
pub use trees::{ExecutablePages, NestedFormat};
pub use window::{MappedWindow, Peer, Window};
