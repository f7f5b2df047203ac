//! The decoder: any bytes in any mode give an answer within them and within 15 bytes, and never a panic.
//! - The prefix scan of `known_length` agrees with the decoder wherever both find an instruction.
//! - Operands of `mmio` and `control` belong to instructions of the same length.
//! - A load changes its own register alone.

#![no_main]

use fuzz::Bytes;
use libfuzzer_sys::fuzz_target;
use vcpu::decode::{self, DecodeError, Known, MmioOperation};
use vcpu::walk::INSTRUCTION_MAX_BYTES;
use vcpu::{CpuMode, Gpr, Gprs};

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

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    let value = input.u64();
    let bytes = input.rest();
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
        if let Ok(mmio) = decode::mmio(bytes, mode) {
            assert_eq!(Ok(mmio.length), length);
            assert!(matches!(mmio.size_bytes, 1 | 2 | 4 | 8));
            let before = Gprs([0x1122_3344_5566_7788; 16]);
            let mut after = before;
            mmio.complete_load(&mut after, value);
            let loaded = match mmio.operation {
                MmioOperation::Load { to, .. } => Some(to.gpr),
                _ => None,
            };
            let changed = |gpr: &Gpr| before.get(*gpr) != after.get(*gpr);
            assert!(Gpr::ALL.iter().filter(|gpr| changed(gpr)).all(|gpr| Some(*gpr) == loaded));
            let stored = mmio.value_to_store(&before);
            assert_eq!(stored.is_none(), loaded.is_some());
            let width = 8 * u32::from(mmio.size_bytes);
            assert!(stored.is_none_or(|value| width == 64 || value >> width == 0));
        }
    }
});
