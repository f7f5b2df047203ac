//! The decoder: any bytes in any mode give an answer within them and within 15 bytes, and never a panic.
//! - The prefix scan of `known_length` agrees with the decoder wherever both find an instruction.
//! - Operands of `control` belong to instructions of the same length.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vcpu::CpuMode;
use vcpu::decode::{self, DecodeError, Known};
use vcpu::walk::INSTRUCTION_MAX_BYTES;

const MODES: [CpuMode; 5] =
    [CpuMode::Real, CpuMode::Virtual8086, CpuMode::Protected16, CpuMode::Protected32, CpuMode::Long64];

const KNOWN: [Known; 11] = [
    Known::Cpuid,
    Known::Rdmsr,
    Known::Wrmsr,
    Known::Hlt,
    Known::Pause,
    Known::Hypercall,
    Known::Xsetbv,
    Known::Io,
    Known::Invd,
    Known::Wbinvd,
    Known::Rdpmc,
];

fuzz_target!(|bytes: &[u8]| {
    for mode in MODES {
        let length = decode::length(bytes, mode);
        assert_ne!(length, Err(DecodeError::Unsupported));
        let limit = bytes.len().min(INSTRUCTION_MAX_BYTES);
        assert!(length.is_err() || length.is_ok_and(|length| (1..=limit).contains(&length.into())));
        for known in KNOWN {
            let Some(scanned) = decode::known_length(bytes, mode, known) else { continue };
            assert!((1..=limit).contains(&scanned.into()));
            assert!(length.is_err() || length == Ok(scanned), "{known:?} in {mode:?}: {bytes:x?}");
        }
        if let Ok(control) = decode::control(bytes, mode) {
            assert_eq!(Ok(control.length), length);
        }
    }
});
