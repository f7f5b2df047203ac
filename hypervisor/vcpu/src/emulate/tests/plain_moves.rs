//! Plain moves that are known from before, against the same ones executed as any instruction is.

extern crate std;

use super::*;
use crate::Access;
use crate::emulate::plain::PlainMove;
use crate::emulate::{Decodings, Exited};
use base::Gpa;
use iced_x86::{Decoder, DecoderOptions};
use proptest::prelude::*;
use std::vec::Vec;

fn is_known(code: &[u8]) -> bool {
    PlainMove::of(&Decoder::new(64, code, DecoderOptions::NONE).decode()).is_some()
}

#[test]
fn what_drivers_reach_devices_by_is_taken_apart() {
    for code in [
        // mov [rbx], ax; mov [rbx+rcx*4+8], eax; mov [rip+16], r9; mov word [rbx], 5; mov [rbx], ah; movnti [rbx], eax;
        // mov [0x5000_0000], eax.
        &[0x66, 0x89, 0x03][..],
        &[0x89, 0x44, 0x8b, 0x08],
        &[0x4c, 0x89, 0x0d, 0x10, 0, 0, 0],
        &[0x66, 0xc7, 0x03, 5, 0],
        &[0x88, 0x23],
        &[0x0f, 0xc3, 0x03],
        &[0x89, 0x04, 0x25, 0, 0, 0, 0x50],
        // mov eax, [rbx]; mov r9, [rbx]; movzx eax, byte [rbx].
        &[0x8b, 0x03],
        &[0x4c, 0x8b, 0x0b],
        &[0x0f, 0xb6, 0x03],
    ] {
        assert!(is_known(code), "{code:02x?}");
    }
}

#[test]
fn what_needs_more_is_left_to_the_rules() {
    for code in [
        // A signed load, a sum, FS, a segment register, 32-bit addresses with and without a register, a register.
        &[0x0f, 0xbe, 0x03][..],
        &[0x01, 0x03],
        &[0x64, 0x89, 0x03],
        &[0x8c, 0x03],
        &[0x67, 0x89, 0x03],
        &[0x67, 0x89, 0x04, 0x25, 0, 0, 0, 0x50],
        &[0x67, 0x89, 0x05, 0, 0, 0, 0x50],
        &[0x89, 0xc3],
    ] {
        assert!(!is_known(code), "{code:02x?}");
    }
    let code = [0x89, 0x03];
    assert!(PlainMove::of(&Decoder::new(32, &code, DecoderOptions::NONE).decode()).is_none());
}

#[test]
fn a_plain_move_is_made_where_the_processor_stopped_and_nowhere_else() {
    // mov [rbx], ax
    let plain = PlainMove::of(&Decoder::new(64, &[0x66, 0x89, 0x03], DecoderOptions::NONE).decode()).unwrap();
    let made = |rbx, offset, access| {
        let mut machine = Machine::long().with(Gpr::Rbx, rbx).with(Gpr::Rax, PATTERN);
        let exited = Exited { gpa: Gpa::from_low_bits(DEVICE + offset), access };
        let done = plain.execute(&mut machine, exited);
        assert_eq!(done.is_some(), !machine.seen.is_empty());
        machine.seen
    };
    let stored = [Seen::Write(DEVICE + 2, 0x7788_u16.to_le_bytes().to_vec())];
    assert_eq!(made(0xffff_c900_0000_0002, 2, Access::Write), stored);
    assert_eq!(made(0xffff_c900_0000_0002, 2, Access::Read), [], "it was no store");
    assert_eq!(made(0xffff_c900_0000_0002, 4, Access::Write), [], "it was elsewhere");
    assert_eq!(made(0xffff_c900_0000_0003, 3, Access::Write), [], "it may be refused as unaligned");
    assert_eq!(made(0x0000_8000_0000_0002, 2, Access::Write), [], "it may be refused as not canonical");
}

/// MOV to and from memory in all its forms, MOVNTI, MOVZX and MOVSX.
const OPCODES: [&[u8]; 16] = [
    &[0x88],
    &[0x89],
    &[0x8a],
    &[0x8b],
    &[0x8c],
    &[0xa0],
    &[0xa1],
    &[0xa2],
    &[0xa3],
    &[0xc6],
    &[0xc7],
    &[0x0f, 0xc3],
    &[0x0f, 0xb6],
    &[0x0f, 0xb7],
    &[0x0f, 0xbe],
    &[0x0f, 0xbf],
];

/// Prefixes, an opcode that moves, and whatever follows; as many bytes as an instruction can have.
fn any_move() -> impl Strategy<Value = Vec<u8>> {
    let prefix = prop::sample::select(&[0x66_u8, 0x67, 0x64, 0x65, 0x36, 0xf0, 0xf2, 0xf3][..]);
    let rex = prop::option::of(0x40_u8..0x50);
    let opcode = prop::sample::select(&OPCODES[..]);
    let rest = prop::array::uniform14(prop_oneof![Just(0_u8), 0..4_u8, any::<u8>()]);
    (prop::collection::vec(prefix, 0..2), rex, opcode, rest).prop_map(|(mut bytes, rex, opcode, rest)| {
        bytes.extend(rex);
        bytes.extend(opcode);
        bytes.extend(rest);
        bytes.truncate(15);
        bytes
    })
}

/// Register contents that mostly lead to the device.
fn any_register() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..0x400_u64).prop_map(|place| DEVICE + 4 * place),
        2 => DEVICE..DEVICE + 0x1000,
        1 => 0..0x10_u64,
        1 => any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn a_move_that_is_known_does_what_it_does_when_it_is_not(
        code in any_move(), registers in prop::array::uniform16(any_register()),
        mode in prop::sample::select(&[CpuMode::Long64, CpuMode::Long64, CpuMode::Protected32][..]),
        other_access in prop::bool::weighted(0.2),
        cpl in prop::sample::select(&[0_u8, 3][..]), rflags in prop::sample::select(&[0x2_u64, 0x102, 0x1_0002, 0x4_0002][..]),
        elsewhere in prop::option::weighted(0.1, 0..0x1000_u64),
    ) {
        let machine = || Machine::new(mode).but(|machine| {
            machine.state.gprs.0 = registers;
            (machine.state.rflags, machine.cpl) = (rflags, cpl);
            machine.state.cr0 |= crate::control::cr0::AM;
        });
        // Where the instruction's first try goes is where the processor has stopped.
        let mut first = machine();
        let _ = first.step(&code);
        let (reached, access) = match first.seen.first() {
            Some(Seen::Write(at, _)) => (*at, Access::Write),
            Some(Seen::Read(at, _)) => (*at, Access::Read),
            _ => (DEVICE, Access::Write),
        };
        let exited = Exited {
            gpa: Gpa::from_low_bits(elsewhere.map_or(reached, |offset| DEVICE + offset)),
            access: if other_access { Access::Read } else { access },
        };
        let mut unknown = machine();
        let expected = unknown.step_exited(&code, exited);
        let mut teacher = machine().but(|machine| machine.kept = Some(Decodings::default()));
        let _ = teacher.step(&code);
        let mut known = machine().but(|machine| machine.kept = teacher.kept.take());
        prop_assert_eq!(known.step_exited(&code, exited), expected);
        prop_assert_eq!(&known.state, &unknown.state);
        prop_assert_eq!(&known.seen, &unknown.seen);
        prop_assert_eq!(known.bytes(0, 0x1_0000), unknown.bytes(0, 0x1_0000));
        if elsewhere.is_none() && exited.access == access && !first.seen.is_empty() {
            // Nor does it matter that the processor has led the way.
            prop_assert_eq!(&known.state, &first.state);
            prop_assert_eq!(&known.seen, &first.seen);
        }
    }
}
