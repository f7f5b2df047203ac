//! AMD-V and VT-x behind the vcpu crate's trait.

#![no_std]
