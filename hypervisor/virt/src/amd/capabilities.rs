//! What this CPU's AMD-V can do (CPUID 0x8000_000A; APM 24593, volume 3, appendix E.4.9).

use bitflags::bitflags;
use core::fmt::{self, Write};

bitflags! {
    /// Register EDX of the leaf, as far as the hypervisor makes use of it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u32 {
        /// Nested page tables; required.
        const NESTED_PAGING = 1 << 0;
        /// The VMCB holds the address after the instruction that exited.
        const NEXT_RIP = 1 << 3;
        /// The processor keeps VMCB fields between runs.
        const CLEAN_BITS = 1 << 5;
        /// TLB flushes can be limited to one ASID.
        const FLUSH_BY_ASID = 1 << 6;
        /// The VMCB holds the bytes of the instruction that faulted.
        const DECODE_ASSISTS = 1 << 7;
        /// PAUSEs are counted before one exits.
        const PAUSE_FILTER = 1 << 10;
        /// PAUSEs far apart do not count.
        const PAUSE_FILTER_THRESHOLD = 1 << 12;
    }
}

/// The leaf, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The optional features.
    pub features: Features,
    /// The number of address-space ids, the host's id 0 included.
    pub asids: u32,
    /// The width of a host-physical address in bits (CPUID 0x8000_0008, EAX 7:0).
    pub physical_bits: u32,
}

impl Capabilities {
    /// The capabilities that registers `ebx` and `edx` of the leaf tell.
    pub const fn from_cpuid(ebx: u32, edx: u32, physical_bits: u32) -> Self {
        Self { features: Features::from_bits_truncate(edx), asids: ebx, physical_bits }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AMD-V, {} ASIDs,", self.asids)?;
        for (name, _) in self.features.iter_names() {
            f.write_str(" ")?;
            for c in name.chars() {
                f.write_char(if c == '_' { '-' } else { c.to_ascii_lowercase() })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_log_names_what_the_cpu_has() {
        let text = Capabilities::from_cpuid(16, 0x1_0009, 40).to_string();
        assert_eq!(text, "AMD-V, 16 ASIDs, nested-paging next-rip");
    }
}
