//! What this CPU's AMD-V can do (CPUID 0x8000_000A; APM 24593, volume 3, appendix E.4.9).

use bitflags::bitflags;
use core::arch::x86_64::CpuidResult;
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
    /// The capabilities that CPUID leaves 0x8000_000A (`svm`) and 0x8000_0008 (`sizes`) tell.
    pub const fn from_cpuid(svm: &CpuidResult, sizes: &CpuidResult) -> Self {
        Self {
            features: Features::from_bits_truncate(svm.edx),
            asids: svm.ebx,
            physical_bits: sizes.eax & 0xff,
        }
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

/// The capabilities of a CPU with `asids` ids, `features` of the register EDX, and 40-bit addresses.
#[cfg(test)]
pub const fn capabilities(asids: u32, features: u32) -> Capabilities {
    let none = CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    Capabilities::from_cpuid(
        &CpuidResult { ebx: asids, edx: features, ..none },
        &CpuidResult { eax: 40, ..none },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_log_names_what_the_cpu_has() {
        assert_eq!(capabilities(16, 0x1_0009).to_string(), "AMD-V, 16 ASIDs, nested-paging next-rip");
    }
}
