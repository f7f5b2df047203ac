//! SSE and AVX moves.

use super::*;
use crate::control::{cr0, cr4};
use crate::emulate::fault::DEVICE_NOT_AVAILABLE;
use std::vec::Vec;

fn counting() -> [u8; 32] {
    core::array::from_fn(|n| n as u8 + 1)
}

/// RBX at 32 counted bytes, all ones in XMM1 and YMM1.
fn vectors() -> Machine {
    at_data(0).holding(DATA, &counting()).but(|m| m.vectors[1] = [0xff; 32])
}

#[test]
fn legacy_loads_keep_the_upper_half_and_vex_clears_it() {
    let loaded = |bytes: &[u8]| vectors().after(bytes).vectors[1];
    let kept: Vec<u8> = (1..=16).chain([0xff; 16]).collect();
    let cleared: Vec<u8> = (1..=16).chain([0; 16]).collect();
    assert_eq!(loaded(&[0x0f, 0x28, 0x0b])[..], kept, "movaps xmm1, [rbx]");
    assert_eq!(loaded(&[0xf3, 0x0f, 0x6f, 0x0b])[..], kept, "movdqu xmm1, [rbx]");
    assert_eq!(loaded(&[0xc5, 0xf8, 0x28, 0x0b])[..], cleared, "vmovaps xmm1, [rbx]");
    assert_eq!(loaded(&[0xc5, 0xfe, 0x6f, 0x0b]), counting(), "vmovdqu ymm1, [rbx]");
}

#[test]
fn stores_write_as_much_as_the_register_has() {
    let stored = |bytes: &[u8]| {
        let written = vectors().after(bytes).bytes(DATA, 32);
        written.iter().filter(|byte| **byte == 0xff).count()
    };
    assert_eq!(stored(&[0x0f, 0x11, 0x0b]), 16, "movups [rbx], xmm1");
    assert_eq!(stored(&[0x66, 0x0f, 0xe7, 0x0b]), 16, "movntdq [rbx], xmm1");
    assert_eq!(stored(&[0xc5, 0xfd, 0xe7, 0x0b]), 32, "vmovntdq [rbx], ymm1");
    assert_eq!(stored(&[0x66, 0x0f, 0x7e, 0x0b]), 4, "movd [rbx], xmm1");
    assert_eq!(stored(&[0x66, 0x0f, 0xd6, 0x0b]), 8, "movq [rbx], xmm1");
}

#[test]
fn scalars_clear_the_rest_of_128_bits_and_halves_keep_the_other() {
    let loaded = |bytes: &[u8]| vectors().after(bytes).vectors[1];
    assert_eq!(
        loaded(&[0x66, 0x0f, 0x6e, 0x0b])[..17],
        [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]
    );
    assert_eq!(loaded(&[0xf3, 0x0f, 0x7e, 0x0b])[6..10], [7, 8, 0, 0], "movq xmm1, [rbx]");
    assert_eq!(loaded(&[0x0f, 0x16, 0x0b])[6..10], [0xff, 0xff, 1, 2], "movhps xmm1, [rbx]");
    assert_eq!(loaded(&[0x0f, 0x12, 0x0b])[6..10], [7, 8, 0xff, 0xff], "movlps xmm1, [rbx]");
}

#[test]
fn aligned_forms_require_it() {
    let odd = || vectors().with(Gpr::Rbx, DATA + 8);
    assert_eq!(odd().fault(&[0x0f, 0x28, 0x0b]), GENERAL, "movaps");
    assert_eq!(odd().fault(&[0xc5, 0xfd, 0xe7, 0x0b]), GENERAL, "vmovntdq ymm");
    odd().after(&[0x0f, 0x10, 0x0b]);
}

#[test]
fn what_is_not_enabled_is_undefined_or_not_available() {
    let (sse, avx): (&[u8], &[u8]) = (&[0x0f, 0x10, 0x0b], &[0xc5, 0xf8, 0x10, 0x0b]);
    assert_eq!(vectors().but(|m| m.state.cr4 &= !cr4::OSFXSR).fault(sse), UNDEFINED);
    assert_eq!(vectors().but(|m| m.state.cr0 |= cr0::EM).fault(sse), UNDEFINED);
    assert_eq!(vectors().but(|m| m.state.xcr0 = 3).fault(avx), UNDEFINED);
    assert_eq!(vectors().but(|m| m.state.cr4 &= !cr4::OSXSAVE).fault(avx), UNDEFINED);
    let switched = vectors().but(|m| m.state.cr0 |= cr0::TS).fault(sse);
    assert_eq!(switched, EmulationFault::Raise(DEVICE_NOT_AVAILABLE));
}
