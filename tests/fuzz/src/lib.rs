//! What fuzz targets share: bytes taken as numbers, a guest's memory, firmware's tables, and a device's surroundings.
//!
//! A target is a pure function of its input: no clock, no randomness, and nothing kept from one input to the next. An
//! input that is too short is taken as if zeros followed, so that each of its prefixes means something too.

#![forbid(unsafe_code)]

pub mod acpi;
pub mod bytes;
pub mod cx;
pub mod disk_user;
pub mod drive;
pub mod hostile_nvme;
pub mod hostile_virtio;
pub mod loading;
pub mod memory;
pub mod models;
pub mod pci;
pub mod virtio;

pub use bytes::Bytes;
pub use cx::RecordingCx;
pub use memory::{SparseMemory, WrittenMemory};
