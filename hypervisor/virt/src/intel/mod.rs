//! VT-x: EPT, unrestricted guests, one VMCS a vCPU (SDM 325462, volume 3, chapters 24 to 31).
//!
//! - `entry_checks`: why the processor refused.

mod entry_checks;
