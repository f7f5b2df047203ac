//! The registers of virtio devices and of the PCI functions that they are: no access of a hostile driver panics, and none
//! brings a transport where it must not be.
//!
//! The input is described in `fuzz::pci`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::pci::virtio_function(data));
