//! MOV, MOVZX, MOVSX, MOVSXD, MOVNTI, MOVBE.

use super::*;

#[test]
fn loads_fill_the_register_as_its_width_says() {
    let table: [(&str, &[u8], u64); 12] = [
        ("mov rax, [rbx]", &[0x48, 0x8b, 0x03], 0x8899_aabb_ccdd_eeff),
        ("mov eax, [rbx]", &[0x8b, 0x03], 0xccdd_eeff),
        ("mov ax, [rbx]", &[0x66, 0x8b, 0x03], 0x1122_3344_5566_eeff),
        ("mov al, [rbx]", &[0x8a, 0x03], 0x1122_3344_5566_77ff),
        ("mov ah, [rbx]", &[0x8a, 0x23], 0x1122_3344_5566_ff88),
        ("movzx eax, byte [rbx]", &[0x0f, 0xb6, 0x03], 0xff),
        ("movzx rax, word [rbx]", &[0x48, 0x0f, 0xb7, 0x03], 0xeeff),
        ("movsx eax, byte [rbx]", &[0x0f, 0xbe, 0x03], 0xffff_ffff),
        ("movsx ax, byte [rbx]", &[0x66, 0x0f, 0xbe, 0x03], 0x1122_3344_5566_ffff),
        ("movsx rax, word [rbx]", &[0x48, 0x0f, 0xbf, 0x03], 0xffff_ffff_ffff_eeff),
        ("movsxd rax, dword [rbx]", &[0x48, 0x63, 0x03], 0xffff_ffff_ccdd_eeff),
        ("movbe rax, [rbx]", &[0x48, 0x0f, 0x38, 0xf0, 0x03], 0xffee_ddcc_bbaa_9988),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(at_data(0x8899_aabb_ccdd_eeff).after(bytes).get(Gpr::Rax), expected, "{name}");
    }
}

#[test]
fn stores_take_the_low_part_of_the_register_or_a_constant() {
    let table: [(&str, &[u8], u64); 9] = [
        ("mov [rbx], rax", &[0x48, 0x89, 0x03], PATTERN),
        ("mov [rbx], eax", &[0x89, 0x03], 0x5566_7788),
        ("mov [rbx], ax", &[0x66, 0x89, 0x03], 0x7788),
        ("mov [rbx], al", &[0x88, 0x03], 0x88),
        ("mov [rbx], ah", &[0x88, 0x23], 0x77),
        ("movnti [rbx], eax", &[0x0f, 0xc3, 0x03], 0x5566_7788),
        ("movbe [rbx], ax", &[0x66, 0x0f, 0x38, 0xf1, 0x03], 0x8877),
        ("mov qword [rbx], -1", &[0x48, 0xc7, 0x03, 0xff, 0xff, 0xff, 0xff], u64::MAX),
        ("mov byte [rbx], 5", &[0xc6, 0x03, 5], 5),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(at_data(0).after(bytes).word(DATA), expected, "{name}");
    }
}

#[test]
fn a_selector_is_stored_as_a_word_and_fills_a_register() {
    let machine = at_data(u64::MAX).after(&[0x8c, 0x1b]);
    assert_eq!(machine.word(DATA), 0xffff_ffff_ffff_0008, "mov [rbx], ds");
    assert_eq!(at_data(0).after(&[0x8c, 0xd8]).get(Gpr::Rax), 8, "mov eax, ds");
}

#[test]
fn a_device_sees_one_access_as_wide_as_the_operand() {
    let machine = at_device().after(&[0x66, 0x8b, 0x03]);
    assert_eq!(machine.seen, [Seen::Read(DEVICE, 2)]);
    assert_eq!(machine.get(Gpr::Rax), 0x1122_3344_5566_8080);
    assert_eq!(at_device().after(&[0x88, 0x03]).seen, [Seen::Write(DEVICE, std::vec![0x88])]);
}

#[test]
fn absolute_addresses_are_as_wide_as_the_address_size() {
    // mov al, [0x2000], as a 64-bit offset and as a 32-bit one.
    let machine = at_data(0x5a).after(&[0xa0, 0, 0x20, 0, 0, 0, 0, 0, 0]);
    assert_eq!(machine.get(Gpr::Rax) & 0xff, 0x5a);
    let machine = at_data(0x5a).after(&[0x67, 0xa0, 0, 0x20, 0, 0]);
    assert_eq!(machine.get(Gpr::Rax) & 0xff, 0x5a);
}
