//! PCI's host bridge: whatever state it starts from and whatever is done to it, what holds for all devices holds
//! (`fuzz::drive`).
//!
//! The input is described in `fuzz::models`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::models::pci_host_bridge(data));
