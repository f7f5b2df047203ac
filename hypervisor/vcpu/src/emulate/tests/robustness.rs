//! Whatever the bytes and registers, there is an answer.

use super::*;
use proptest::prelude::*;

fn any_mode() -> impl Strategy<Value = CpuMode> {
    proptest::sample::select(
        &[CpuMode::Real, CpuMode::Virtual8086, CpuMode::Protected16, CpuMode::Protected32, CpuMode::Long64][..],
    )
}

/// Register contents with a preference for addresses that lead somewhere.
fn any_register() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..0x1_0000_u64,
        DEVICE..DEVICE + 0x1000,
        Just(u64::MAX),
        Just(0x7fff_ffff_ffff)
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..16), mode in any_mode(), rflags: u64, cpl in 0..4_u8,
        registers in prop::array::uniform16(any_register()),
    ) {
        let mut machine = Machine::new(mode);
        machine.state.gprs.0 = registers;
        machine.state.rflags = rflags;
        machine.cpl = cpl;
        machine.device_value = 0;
        let _ = machine.step(&bytes);
    }
}
