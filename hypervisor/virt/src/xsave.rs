//! Which processor state components are switched with a vCPU, and how large their save area is.
//!
//! Sources: Intel SDM, volume 1, chapter 13; AMD APM 24593, volume 2, section 11.5, and volume 3, appendix E.4.12.

use base::PAGE_BYTES;
use vcpu::control::xcr0;

/// The components that guests may be given: x87, SSE, AVX, AVX-512 and protection keys. AMX and MPX are not.
const OFFERED: u64 = xcr0::X87 | xcr0::SSE | xcr0::AVX | xcr0::AVX512 | xcr0::PKRU;

/// The legacy region and the XSAVE header.
const HEADER_END_BYTES: u32 = 512 + 64;

/// How the FPU and vector state is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// FXSAVE and FXRSTOR: x87 and SSE only, and no XCR0.
    Fxsave,
    /// XSAVE and XRSTOR of these components.
    Xsave {
        /// The components, as bits of XCR0.
        components: u64,
    },
}

impl Method {
    /// The components that exist in XCR0, or 0 without XSAVE.
    pub const fn components(self) -> u64 {
        match self {
            Self::Fxsave => 0,
            Self::Xsave { components } => components,
        }
    }

    /// The method for a CPU whose XCR0 supports the components `supported` (CPUID 0xD.0, EDX:EAX). `extent` gives a
    /// component's size and offset in the standard format (CPUID 0xD.n, EAX and EBX).
    ///
    /// A component that would not fit into one page is not offered.
    pub fn choose(supported: u64, extent: impl Fn(u32) -> (u32, u32)) -> Self {
        let mut components = supported & OFFERED;
        for index in 2..64 {
            let bit = 1 << index;
            let (size_bytes, offset_bytes) = extent_of(components & bit, index, &extent);
            if u64::from(offset_bytes) + u64::from(size_bytes) > PAGE_BYTES {
                components &= !bit;
            }
        }
        Self::Xsave { components: coherent(components) }
    }

    /// The nearest value to `xcr0` that XSETBV takes on this CPU.
    pub const fn admit(self, xcr0: u64) -> u64 {
        coherent(xcr0 & self.components())
    }
}

/// `components` without those that miss one they build upon (SDM, volume 1, section 13.3); x87 is always there.
const fn coherent(components: u64) -> u64 {
    let mut kept = components | xcr0::X87;
    if kept & xcr0::SSE == 0 {
        kept &= !xcr0::AVX;
    }
    if kept & xcr0::AVX == 0 || kept & xcr0::AVX512 != xcr0::AVX512 {
        kept &= !xcr0::AVX512;
    }
    kept
}

fn extent_of(present: u64, index: u32, extent: &impl Fn(u32) -> (u32, u32)) -> (u32, u32) {
    if present == 0 { (0, HEADER_END_BYTES) } else { extent(index) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes and offsets of a CPU with AVX-512 and AMX.
    fn extent(index: u32) -> (u32, u32) {
        match index {
            2 => (256, 576),
            5 => (64, 1088),
            6 => (512, 1152),
            7 => (1024, 1664),
            9 => (8, 2688),
            18 => (8192, 2816),
            _ => (0, 0),
        }
    }

    #[test]
    fn known_components_are_offered_and_others_are_not() {
        assert_eq!(Method::choose(0x6_02ff, extent), Method::Xsave { components: 0x2e7 });
        assert_eq!(Method::choose(0x3, extent), Method::Xsave { components: 3 });
    }

    #[test]
    fn avx_512_is_offered_wholly_or_not_at_all() {
        assert_eq!(Method::choose(0x67, extent), Method::Xsave { components: 7 });
        let huge = |index| if index == 7 { (4096, 1664) } else { extent(index) };
        assert_eq!(Method::choose(0xe7, huge), Method::Xsave { components: 7 });
    }

    #[test]
    fn an_admitted_xcr0_is_one_that_the_cpu_takes() {
        let method = Method::Xsave { components: 0x2e7 };
        assert_eq!(method.admit(u64::MAX), 0x2e7);
        assert_eq!(method.admit(0), 1);
        assert_eq!(method.admit(xcr0::AVX), 1);
        assert_eq!(method.admit(3 | xcr0::AVX512), 3);
        assert_eq!(Method::Fxsave.admit(7), 1);
    }
}
