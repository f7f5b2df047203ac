//! VT-x: EPT, unrestricted guests, one VMCS a vCPU (SDM 325462, volume 3, chapters 25 to 33).
//!
//! - `vmcs`: the fields of the control structure.

mod vmcs;
