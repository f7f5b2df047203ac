//! The vector registers in an FXSAVE or XSAVE image (standard format).
//!
//! ```text
//!   160   XMM0-15    16 bytes each            component SSE
//!   512   header     XSTATE_BV: components that do not have their initial value, zero for these
//!   576   YMM0-15    bits 255:128 of each     component AVX
//!   n     ZMM0-15    bits 511:256 of each     component ZMM_Hi256, where CPUID 0xD.6 says
//! ```
//! Sources: Intel SDM, volume 1, sections 10.5.1, 13.4 and 13.5; AMD APM 24593, volume 2, section 11.5.

use crate::xsave::Method;
use core::ops::Range;
use vcpu::VectorValue;
use vcpu::control::xcr0;

const XMM_OFFSET: usize = 160;
const XSTATE_BV_OFFSET: usize = 512;
const YMM_HIGH_OFFSET: usize = 576;
/// The registers in each of the three components.
const REGISTERS: usize = 16;
/// Of XMM, and of the upper half of YMM.
const HALF_BYTES: usize = 16;
const ZMM_HIGH_BYTES: usize = 32;

/// The image in `bytes`, which `method` wrote.
pub struct SaveArea<'a> {
    pub bytes: &'a mut [u8],
    pub method: Method,
    /// CPUID 0xD.6, EBX; anything where there is no AVX-512.
    pub zmm_high_offset: usize,
}

impl SaveArea<'_> {
    /// Bits 255:0 of register `number`.
    pub fn vector(&self, number: u8) -> [u8; 2 * HALF_BYTES] {
        let mut value = [0; 2 * HALF_BYTES];
        let (low, high) = value.split_at_mut(HALF_BYTES);
        if self.holds(xcr0::SSE) {
            low.copy_from_slice(self.half(XMM_OFFSET, number));
        }
        if self.holds(xcr0::AVX) {
            high.copy_from_slice(self.half(YMM_HIGH_OFFSET, number));
        }
        value
    }

    /// Replaces register `number`.
    pub fn set_vector(&mut self, number: u8, value: VectorValue) {
        self.hold(xcr0::SSE, XMM_OFFSET, HALF_BYTES);
        let whole = match value {
            VectorValue::Xmm(low) => return self.put(register(XMM_OFFSET, HALF_BYTES, number), &low),
            VectorValue::Ymm(whole) => whole,
        };
        let (low, high) = whole.split_at(HALF_BYTES);
        self.put(register(XMM_OFFSET, HALF_BYTES, number), low);
        let components = self.method.components();
        if components & xcr0::AVX != 0 {
            self.hold(xcr0::AVX, YMM_HIGH_OFFSET, HALF_BYTES);
            self.put(register(YMM_HIGH_OFFSET, HALF_BYTES, number), high);
        }
        if components & xcr0::ZMM_HI256 != 0 {
            self.hold(xcr0::ZMM_HI256, self.zmm_high_offset, ZMM_HIGH_BYTES);
            self.put(register(self.zmm_high_offset, ZMM_HIGH_BYTES, number), &[0; ZMM_HIGH_BYTES]);
        }
    }

    fn half(&self, offset: usize, number: u8) -> &[u8] {
        self.bytes.get(register(offset, HALF_BYTES, number)).unwrap_or(&[0; HALF_BYTES])
    }

    fn put(&mut self, place: Range<usize>, value: &[u8]) {
        if let Some(bytes) = self.bytes.get_mut(place) {
            bytes.copy_from_slice(value);
        }
    }

    /// Whether the image holds a value for `component` other than the initial one.
    fn holds(&self, component: u64) -> bool {
        match self.method {
            Method::Fxsave => component == xcr0::SSE,
            Method::Xsave { .. } => self.xstate_bv() & component != 0,
        }
    }

    /// Makes the image hold `component`: as it is, or with its initial value.
    fn hold(&mut self, component: u64, offset: usize, register_bytes: usize) {
        if self.holds(component) {
            return;
        }
        if let Some(registers) = self.bytes.get_mut(offset..offset + REGISTERS * register_bytes) {
            registers.fill(0);
        }
        let held = self.xstate_bv() | component;
        self.put(XSTATE_BV_OFFSET..XSTATE_BV_OFFSET + size_of::<u64>(), &held.to_le_bytes());
    }

    fn xstate_bv(&self) -> u64 {
        let header = self.bytes.get(XSTATE_BV_OFFSET..).and_then(|header| header.first_chunk());
        header.copied().map_or(0, u64::from_le_bytes)
    }
}

/// Where register `number` of a component is, whose first is at `offset`.
fn register(offset: usize, register_bytes: usize, number: u8) -> Range<usize> {
    let start = offset + usize::from(number) % REGISTERS * register_bytes;
    start..start + register_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZMM: usize = 1152;
    const AVX_512: Method = Method::Xsave { components: 0xe7 };

    fn area(bytes: &mut [u8], method: Method) -> SaveArea<'_> {
        SaveArea { bytes, method, zmm_high_offset: ZMM }
    }

    fn counted() -> [u8; 32] {
        core::array::from_fn(|n| n as u8 + 1)
    }

    #[test]
    fn a_register_in_its_initial_state_is_zero_whatever_the_bytes_are() {
        let mut bytes = [0xee; 4096];
        bytes[XSTATE_BV_OFFSET..][..8].fill(0);
        assert_eq!(area(&mut bytes, AVX_512).vector(3), [0; 32]);
        assert_eq!(area(&mut bytes, Method::Fxsave).vector(3)[15..17], [0xee, 0]);
    }

    #[test]
    fn what_is_set_is_there_and_its_neighbours_get_their_initial_value() {
        let mut bytes = [0xee; 4096];
        bytes[XSTATE_BV_OFFSET..][..8].fill(0);
        area(&mut bytes, AVX_512).set_vector(15, VectorValue::Ymm(counted()));
        let seen = area(&mut bytes, AVX_512);
        assert_eq!((seen.vector(15), seen.vector(14)), (counted(), [0; 32]));
        assert_eq!(seen.xstate_bv(), xcr0::SSE | xcr0::AVX | xcr0::ZMM_HI256);
        assert!(bytes[ZMM..ZMM + 512].iter().all(|byte| *byte == 0));
        assert_eq!((bytes[ZMM - 1], bytes[ZMM + 512]), (0xee, 0xee));
    }

    #[test]
    fn sse_keeps_what_is_above_128_bits_and_vex_clears_it() {
        let mut bytes = [0; 4096];
        bytes[XSTATE_BV_OFFSET] = 0xe7;
        bytes[YMM_HIGH_OFFSET..][..256].fill(0xaa);
        bytes[ZMM..][..512].fill(0xbb);
        area(&mut bytes, AVX_512).set_vector(0, VectorValue::Xmm([7; 16]));
        let kept = area(&mut bytes, AVX_512).vector(0);
        assert_eq!((kept[15], kept[16]), (7, 0xaa));
        assert_eq!(bytes[ZMM], 0xbb);
        area(&mut bytes, AVX_512).set_vector(0, VectorValue::Ymm(counted()));
        assert_eq!(area(&mut bytes, AVX_512).vector(1)[16..], [0xaa; 16]);
        assert_eq!((bytes[ZMM], bytes[ZMM + 31], bytes[ZMM + 32]), (0, 0, 0xbb));
    }

    #[test]
    fn without_avx_there_is_no_upper_half() {
        let mut bytes = [0; 4096];
        area(&mut bytes, Method::Fxsave).set_vector(1, VectorValue::Ymm(counted()));
        assert_eq!(area(&mut bytes, Method::Fxsave).vector(1)[15..18], [16, 0, 0]);
        assert!(bytes[YMM_HIGH_OFFSET..].iter().all(|byte| *byte == 0));
    }
}
