//! What the entries of each kind of table mean.
//!
//! | format | reads | tables of |
//! |---|---|---|
//! | [`Host`] | this processor | the hypervisor's own space and its windows |
//! | [`Npt`] | AMD-V | guest-physical spaces |
//! | [`Ept`] | VT-x | guest-physical spaces |
//!
//! The tables of VT-d (second stage) and of AMD-Vi (host tables with next-level fields) take their place beside these,
//! one file each, when devices are assigned.

mod ept;
mod x86;

pub use ept::Ept;
pub use x86::{Host, Npt};

bitflags::bitflags! {
    /// What may be done through a mapping.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Permissions: u8 {
        /// Loads.
        const READ = 1;
        /// Stores.
        const WRITE = 2;
        /// Instruction fetches.
        const EXECUTE = 4;
    }
}

impl Permissions {
    /// Loads and stores.
    pub const READ_WRITE: Self = Self::READ.union(Self::WRITE);
    /// Loads and instruction fetches.
    pub const READ_EXECUTE: Self = Self::READ.union(Self::EXECUTE);
}

/// How a processor may cache what is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// Memory: loads and stores are cached.
    WriteBack,
    /// Registers of devices: every access reaches them, in order.
    Uncacheable,
}

/// What a leaf carries besides its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What may be done.
    pub permissions: Permissions,
    /// How it is cached.
    pub cache: CacheMode,
}

impl Attributes {
    /// Cached memory with `permissions`.
    pub const fn memory(permissions: Permissions) -> Self {
        Self { permissions, cache: CacheMode::WriteBack }
    }

    /// Registers of a device: loads and stores, uncached.
    pub const DEVICE: Self = Self { permissions: Permissions::READ_WRITE, cache: CacheMode::Uncacheable };
}

/// Bits 51 down to the page's own size: the address in a leaf of `level`; lower bits have other meanings.
const fn leaf_address(entry: u64, level: crate::Level) -> base::Hpa {
    base::Hpa::from_low_bits(entry).align_down(level.entry_bytes())
}

/// Bits 51:12: the address of a table.
const fn table_address(entry: u64) -> base::Hpa {
    base::Hpa::from_low_bits(entry).align_down(base::PAGE_BYTES)
}
