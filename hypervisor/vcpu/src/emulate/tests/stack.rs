//! PUSH and POP.

use super::*;

#[test]
fn pushes_grow_the_stack_by_the_operand() {
    let table: [(&str, &[u8], u64, u64); 5] = [
        ("push qword [rbx]", &[0xff, 0x33], 8, 7),
        ("push word [rbx]", &[0x66, 0xff, 0x33], 2, 7),
        ("push rax", &[0x50], 8, PATTERN),
        ("push -2", &[0x6a, 0xfe], 8, u64::MAX - 1),
        ("push fs", &[0x0f, 0xa0], 8, 8),
    ];
    for (name, bytes, size, value) in table {
        let machine = at_data(7).after(bytes);
        assert_eq!(machine.get(Gpr::Rsp), 0x8000 - size, "{name}");
        assert_eq!(machine.word(0x8000 - size), value, "{name}");
    }
}

#[test]
fn pops_shrink_it_and_compute_the_address_afterwards() {
    let machine = at_data(0).holding(0x8000, &[9]).after(&[0x8f, 0x03]);
    assert_eq!((machine.word(DATA), machine.get(Gpr::Rsp)), (9, 0x8008), "pop qword [rbx]");
    let machine = at_data(0).holding(0x8000, &[9]).after(&[0x8f, 0x04, 0x24]);
    assert_eq!(machine.word(0x8008), 9, "pop qword [rsp]");
    let machine = at_data(0).holding(0x8000, &[9]).after(&[0x5c]);
    assert_eq!(machine.get(Gpr::Rsp), 9, "pop rsp");
}

#[test]
fn a_16_bit_stack_wraps_and_leaves_the_upper_part_of_esp() {
    let machine = Machine::new(CpuMode::Protected16).with(Gpr::Rsp, 0x1_0000).with(Gpr::Rax, 5);
    let machine = machine.after(&[0x50]);
    assert_eq!((machine.get(Gpr::Rsp), machine.bytes(0xfffe, 2)), (0x1_fffe, std::vec![5, 0]));
}

#[test]
fn a_stack_that_refuses_is_a_stack_fault_before_the_source_is_read() {
    let machine = at_device().with(Gpr::Rsp, 0x8000_0000_0000_0000);
    assert_eq!(machine.fault(&[0xff, 0x33]), STACK);
}
