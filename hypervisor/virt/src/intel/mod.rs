//! VT-x: extended page tables, one VMCS a vCPU (Intel SDM 325462, volume 3, chapters 24 to 29; sections are cited by the
//! numbers of its revision 084, where VMX begins at chapter 24).
//!
//! - `bring_up`: what a CPU needs before it can run guests; `capabilities`: what it can do; `refusal`: why it cannot.
//! - `vcpu`: the vCPU over its VMCS; `switch`: in and out; `vmcs`, `controls`, `event`, `exit`, `segment`: the formats.
//! - `permission_maps`: which registers and ports pass; `host_state`: what an exit restores; `kept`: what no exit
//!   switches; `invalidation`: flushing translations; `virtual_apic`: the task priority; `entry_checks`: why the
//!   processor refused.

pub mod bring_up;
mod capabilities;
mod controls;
mod entry_checks;
mod event;
mod exit;
mod host_state;
mod invalidation;
mod kept;
mod permission_maps;
pub mod refusal;
mod segment;
mod switch;
pub mod vcpu;
mod virtual_apic;
mod vmcs;
