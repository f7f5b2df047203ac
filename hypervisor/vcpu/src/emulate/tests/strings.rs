//! String instructions, repeated and not; ports.

use super::flags::{CARRY, DIRECTION, TRAP, ZERO};
use super::*;
use crate::emulate::PORTION;

fn strings(count: u64) -> Machine {
    let machine = Machine::long().with(Gpr::Rsi, 0x2ffc).with(Gpr::Rdi, 0x3ffe).with(Gpr::Rcx, count);
    machine.with(Gpr::Rax, PATTERN).with(Gpr::Rdx, 0x1234).holding(0x2ffc, &[1, 2, 3, 4, 5, 6, 7, 8])
}

#[test]
fn moves_go_up_and_down_across_pages() {
    let machine = strings(4).after(&[0xf3, 0x66, 0xa5]);
    assert_eq!(machine.bytes(0x3ffe, 8), [1, 2, 3, 4, 5, 6, 7, 8], "rep movsw");
    let registers = [Gpr::Rsi, Gpr::Rdi, Gpr::Rcx].map(|register| machine.get(register));
    assert_eq!(registers, [0x3004, 0x4006, 0]);

    let machine = strings(2).with(Gpr::Rsi, 0x3000).flags(DIRECTION).after(&[0xf3, 0xa5]);
    assert_eq!(machine.bytes(0x3ffa, 8), [1, 2, 3, 4, 5, 6, 7, 8], "rep movsd, downwards");
    assert_eq!([machine.get(Gpr::Rsi), machine.get(Gpr::Rdi)], [0x2ff8, 0x3ff6]);
}

#[test]
fn stores_loads_and_single_elements() {
    assert_eq!(strings(3).after(&[0xf3, 0xaa]).bytes(0x3ffe, 4), [0x88, 0x88, 0x88, 0], "rep stosb");
    assert_eq!(strings(0).after(&[0xf3, 0xaa]).bytes(0x3ffe, 1), [0], "nothing, at a count of zero");
    assert_eq!(strings(9).after(&[0xad]).get(Gpr::Rax), 0x0403_0201, "lodsd");
    assert_eq!(strings(9).after(&[0xa4]).get(Gpr::Rcx), 9, "movsb");
}

#[test]
fn comparisons_stop_when_their_condition_is_met() {
    // repe cmpsb: the third bytes differ.
    let machine = strings(8).holding(0x3ffe, &[1, 2, 9]).after(&[0xf3, 0xa6]);
    assert_eq!((machine.get(Gpr::Rcx), machine.status() & (ZERO | CARRY)), (5, CARRY));
    // repne scasb for 3.
    let machine = strings(8).with(Gpr::Rdi, 0x2ffc).with(Gpr::Rax, 3).after(&[0xf2, 0xae]);
    assert_eq!((machine.get(Gpr::Rcx), machine.get(Gpr::Rdi), machine.status() & ZERO), (5, 0x2fff, ZERO));
}

#[test]
fn a_long_one_gives_way_after_a_portion() {
    let mut machine = strings(u64::from(PORTION) + 1).with(Gpr::Rdi, DEVICE);
    assert_eq!(machine.step(&[0xf3, 0xaa]), Ok(Outcome::Unfinished));
    assert_eq!((machine.get(Gpr::Rcx), machine.state.rip), (1, CODE));
    assert_eq!(machine.step(&[0xf3, 0xaa]), Ok(Outcome::Completed));
    assert_eq!(machine.seen.len(), PORTION as usize + 1);
}

#[test]
fn a_single_step_ends_after_each_element() {
    let mut machine = strings(2).flags(TRAP);
    assert_eq!(machine.step(&[0xf3, 0xaa]), Ok(Outcome::Trapped));
    assert_eq!((machine.get(Gpr::Rcx), machine.state.rip), (1, CODE));
    assert_eq!(machine.step(&[0xf3, 0xaa]), Ok(Outcome::Trapped));
    assert_eq!((machine.get(Gpr::Rcx), machine.state.rip), (0, CODE + 2));
}

#[test]
fn registers_stand_at_the_element_that_faulted() {
    let mut machine = Machine::new(CpuMode::Protected32).with(Gpr::Rdi, 0x2ffe).with(Gpr::Rcx, 9);
    machine.state.es.limit = 0x2fff;
    assert_eq!(machine.step(&[0xf3, 0xaa]), Err(GENERAL));
    assert_eq!((machine.get(Gpr::Rdi), machine.get(Gpr::Rcx), machine.state.rip), (0x3000, 7, CODE));
}

#[test]
fn index_registers_are_as_wide_as_the_address_size() {
    let machine = strings(0x1_0000_0001).with(Gpr::Rdi, 0xf_0000_3000).after(&[0x67, 0xf3, 0xaa]);
    assert_eq!((machine.get(Gpr::Rdi), machine.get(Gpr::Rcx)), (0x3001, 0), "in 64-bit mode, by 32 bits");
    let real = Machine::new(CpuMode::Real).with(Gpr::Rdi, 0x5_ffff).with(Gpr::Rcx, 0x7_0001);
    let real = real.after(&[0xf3, 0xaa]);
    assert_eq!((real.get(Gpr::Rdi), real.get(Gpr::Rcx)), (0x5_0000, 0x7_0000), "by 16 bits");
}

#[test]
fn a_source_has_the_segment_of_its_prefix_and_a_destination_es() {
    let machine = Machine::new(CpuMode::Protected32).with(Gpr::Rsi, 0).with(Gpr::Rdi, 0x100);
    let machine = machine.holding(DATA, &[7]).but(|m| {
        m.state.gs.base = DATA;
        m.state.es.base = 0x3000;
    });
    assert_eq!(machine.after(&[0x65, 0xa4]).bytes(0x3100, 1), [7], "movs es:[edi], gs:[esi]");
}

#[test]
fn strings_reach_ports() {
    let machine = strings(2).after(&[0xf3, 0x6d]);
    assert_eq!(machine.seen, [Seen::PortRead(0x1234, 4), Seen::PortRead(0x1234, 4)], "rep insd");
    assert_eq!(machine.bytes(0x3ffe, 8), [0x80, 0x80, 0x80, 0x80, 0x81, 0x81, 0x81, 0x81]);
    let machine = strings(2).after(&[0xf3, 0x66, 0x6f]);
    let written = [Seen::PortWrite(0x1234, 2, 0x201), Seen::PortWrite(0x1234, 2, 0x403)];
    assert_eq!(machine.seen, written, "rep outsw");
}

#[test]
fn a_port_needs_the_right_to_it() {
    // in al, dx; out 0x80, al
    assert_eq!(strings(0).after(&[0xec]).seen, [Seen::PortRead(0x1234, 1)]);
    assert_eq!(strings(0).after(&[0xe6, 0x80]).seen, [Seen::PortWrite(0x80, 1, 0x88)]);
    let user = || {
        strings(1).holding(0x5000 + 102, &[0x68, 0]).but(|m| {
            m.cpl = 3;
            m.state.tr.base = 0x5000;
            m.state.tr.limit = 0x67;
        })
    };
    assert_eq!(user().fault(&[0xec]), GENERAL, "no bitmap");
    assert_eq!(user().fault(&[0x6c]), GENERAL, "insb");
    let mapped = user().but(|m| m.state.tr.limit = 0x2067);
    mapped.after(&[0xec]);
    let denied = user().but(|m| m.state.tr.limit = 0x2067).holding(0x5068 + 0x1234 / 8, &[1 << 4]);
    assert_eq!(denied.fault(&[0xec]), GENERAL);
    user().flags(3 << 12).after(&[0xec]);
}
