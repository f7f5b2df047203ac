//! AMD-V: nested paging, one VMCB a vCPU (APM 24593, volume 2, chapter 15).
//!
//! - `bring_up`: what a CPU needs before it can run guests; `capabilities`: what it can do;
//!   `refusal`: why it cannot.
//! - `vcpu`: the vCPU over its VMCB; `switch`: in and out; `vmcb`, `intercepts`, `event`, `exit`: the formats.
//! - `permission_maps`: which registers and ports pass; `nmi`: when an NMI can be taken; `consistency`: why the
//!   processor refused.

pub mod bring_up;
mod capabilities;
mod consistency;
mod event;
mod exit;
mod intercepts;
mod nmi;
mod permission_maps;
pub mod refusal;
mod switch;
pub mod vcpu;
mod vmcb;
