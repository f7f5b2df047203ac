//! The virtual-machine control structure.

pub mod fields;
