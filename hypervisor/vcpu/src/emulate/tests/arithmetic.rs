//! ALU, shifts and rotates, bit tests: results in memory and RFLAGS.

use super::flags::{ADJUST, CARRY, OVERFLOW, PARITY, SIGN, ZERO};
use super::*;

/// Name, code, memory before, flags before, memory after, status flags after.
type Line = (&'static str, &'static [u8], u64, u64, u64, u64);

fn check(table: &[Line]) {
    for (name, bytes, before, flags, after, status) in table {
        let machine = at_data(*before).with(Gpr::Rcx, 4).flags(*flags).after(bytes);
        assert_eq!((machine.word(DATA), machine.status()), (*after, *status), "{name}");
    }
}

#[test]
fn binary_operations_set_all_status_flags() {
    check(&[
        ("add byte [rbx], 1", &[0x80, 0x03, 1], 0xff, 0, 0, CARRY | PARITY | ADJUST | ZERO),
        ("add byte [rbx], 0x7f", &[0x80, 0x03, 0x7f], 1, 0, 0x80, ADJUST | SIGN | OVERFLOW),
        ("adc byte [rbx], 0", &[0x80, 0x13, 0], 0xff, CARRY, 0, CARRY | PARITY | ADJUST | ZERO),
        ("sub byte [rbx], 1", &[0x80, 0x2b, 1], 0, 0, 0xff, CARRY | PARITY | ADJUST | SIGN),
        ("sbb byte [rbx], 0xff", &[0x80, 0x1b, 0xff], 0, CARRY, 0, CARRY | PARITY | ADJUST | ZERO),
        ("sub byte [rbx], 1", &[0x80, 0x2b, 1], 0x80, 0, 0x7f, ADJUST | OVERFLOW),
        ("and byte [rbx], 0xf0", &[0x80, 0x23, 0xf0], 0x8f, CARRY | OVERFLOW, 0x80, SIGN),
        ("or byte [rbx], 1", &[0x80, 0x0b, 1], 2, CARRY, 3, PARITY),
        ("xor [rbx], eax", &[0x31, 0x03], 0x5566_7788, 0, 0, PARITY | ZERO),
        ("add [rbx], rax", &[0x48, 0x01, 0x03], 0, 0, PATTERN, PARITY),
        ("add word [rbx], -1", &[0x66, 0x83, 0x03, 0xff], 1, 0, 0, CARRY | PARITY | ADJUST | ZERO),
    ]);
}

#[test]
fn comparisons_write_flags_only() {
    check(&[
        ("cmp byte [rbx], 5", &[0x80, 0x3b, 5], 5, CARRY, 5, PARITY | ZERO),
        ("cmp byte [rbx], 6", &[0x80, 0x3b, 6], 5, 0, 5, CARRY | PARITY | ADJUST | SIGN),
        ("test byte [rbx], 0x80", &[0xf6, 0x03, 0x80], 0x80, CARRY, 0x80, SIGN),
    ]);
}

#[test]
fn unary_operations_keep_the_carry_where_the_manual_says() {
    check(&[
        ("inc byte [rbx]", &[0xfe, 0x03], 0xff, CARRY, 0, CARRY | PARITY | ADJUST | ZERO),
        ("dec byte [rbx]", &[0xfe, 0x0b], 0x80, 0, 0x7f, ADJUST | OVERFLOW),
        ("neg byte [rbx]", &[0xf6, 0x1b], 1, 0, 0xff, CARRY | PARITY | ADJUST | SIGN),
        ("not byte [rbx]", &[0xf6, 0x13], 0x0f, CARRY | SIGN, 0xf0, CARRY | SIGN),
    ]);
}

#[test]
fn shifts_and_rotates() {
    check(&[
        ("shl byte [rbx], 1", &[0xd0, 0x23], 0x81, 0, 2, CARRY | OVERFLOW),
        ("shr byte [rbx], 1", &[0xd0, 0x2b], 0x81, 0, 0x40, CARRY | OVERFLOW),
        ("sar byte [rbx], 1", &[0xd0, 0x3b], 0x81, 0, 0xc0, CARRY | PARITY | SIGN),
        ("rol byte [rbx], 1", &[0xd0, 0x03], 0x80, ZERO, 1, CARRY | OVERFLOW | ZERO),
        ("ror byte [rbx], 1", &[0xd0, 0x0b], 1, ZERO, 0x80, CARRY | OVERFLOW | ZERO),
        ("rcl byte [rbx], 1", &[0xd0, 0x13], 0x40, CARRY, 0x81, OVERFLOW),
        ("rcr byte [rbx], 1", &[0xd0, 0x1b], 0, CARRY, 0x80, OVERFLOW),
        ("shl dword [rbx], 32", &[0xc1, 0x23, 32], 7, CARRY | SIGN, 7, CARRY | SIGN),
        ("shr qword [rbx], cl", &[0x48, 0xd3, 0x2b], 0x123, 0, 0x12, PARITY),
        ("shld dword [rbx], eax, 8", &[0x0f, 0xa4, 0x03, 8], 0x1234_5678, 0, 0x3456_7855, PARITY),
        (
            "shrd dword [rbx], eax, 8",
            &[0x0f, 0xac, 0x03, 8],
            0x1234_5678,
            0,
            0x8812_3456,
            PARITY | SIGN | OVERFLOW,
        ),
    ]);
}

#[test]
fn bit_tests_change_the_carry_and_the_bit() {
    check(&[
        ("bt dword [rbx], 33", &[0x0f, 0xba, 0x23, 33], 2, ZERO, 2, CARRY | ZERO),
        ("bts dword [rbx], 3", &[0x0f, 0xba, 0x2b, 3], 0, CARRY, 8, 0),
        ("btr dword [rbx], 3", &[0x0f, 0xba, 0x33, 3], 8, 0, 0, CARRY),
        ("btc dword [rbx], ecx", &[0x0f, 0xbb, 0x0b], 0x10, 0, 0, CARRY),
    ]);
}

#[test]
fn a_register_counts_bits_up_and_down_from_the_address() {
    // bts dword [rbx], ecx
    let far = |bit: i64| at_data(0).with(Gpr::Rcx, bit as u64).after(&[0x0f, 0xab, 0x0b]);
    assert_eq!(far(70).word(DATA + 8), 1 << 6);
    assert_eq!(far(-1).word(DATA - 8), 1 << 63);
}

#[test]
fn a_device_is_read_then_written() {
    // or dword [rbx], eax
    let machine = at_device().with(Gpr::Rax, 1).after(&[0x09, 0x03]);
    let written = Seen::Write(DEVICE, std::vec![0x81, 0x80, 0x80, 0x80]);
    assert_eq!(machine.seen, [Seen::Read(DEVICE, 4), written]);
}
