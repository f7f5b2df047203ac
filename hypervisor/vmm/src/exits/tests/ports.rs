//! Ports, and strings that come from or go to them.

use super::*;
use crate::testing::{TRAP_FLAG, inp};
use base::Port;
use std::vec::Vec;
use vcpu::{Direction, IoExit, IoOperand};

#[test]
fn ports_without_a_device_read_as_ones_in_the_width_of_the_access() {
    let read = |size_bytes| {
        let vm = after(move |vcpu| {
            vcpu.state.gprs.set(Gpr::Rax, 0x1122_3344_5566_7788);
            inp(0x1234, size_bytes)(vcpu)
        });
        assert_eq!(vm.stats().unclaimed_ports, 1);
        gpr(&vm, Gpr::Rax)
    };
    assert_eq!(read(1), 0x1122_3344_5566_77ff);
    assert_eq!(read(2), 0x1122_3344_5566_ffff);
    assert_eq!(read(4), 0xffff_ffff);
}

fn string_io(direction: Direction, size_bytes: u8) -> Exit {
    let operand = IoOperand::String;
    Exit::Io(IoExit { port: Port(0x3f8), size_bytes, direction, operand, next_rip: ENTRY + 2 })
}

#[test]
fn a_guest_that_steps_itself_is_interrupted_behind_each_element_of_a_string() {
    let (vm, _) = served(running(&[0xf3, 0x6e], |vcpu| {
        vcpu.state.rflags |= TRAP_FLAG;
        vcpu.state.gprs.set(Gpr::Rcx, 2);
        vcpu.state.gprs.set(Gpr::Rsi, 0x20_0000);
        string_io(Direction::Out, 1)
    }));
    assert_eq!((gpr(&vm, Gpr::Rcx), vm.vcpu.state.rip), (1, ENTRY));
    assert_eq!(vm.vcpu.delivered, [Event::Exception(Exception::DEBUG)]);
}

#[test]
fn a_repeated_string_goes_out_in_portions() {
    let text: Vec<u8> = (0..100).map(|n| b'a' + n % 26).collect();
    // rep outsb
    let mut vm = running(&[0xf3, 0x6e], |vcpu| {
        vcpu.state.gprs.set(Gpr::Rcx, 100);
        vcpu.state.gprs.set(Gpr::Rdx, 0x3f8);
        vcpu.state.gprs.set(Gpr::Rsi, 0x20_0ff0);
        string_io(Direction::Out, 1)
    });
    vm.memory.put(0x20_0ff0, &text);
    vm.serve(&mut FakeHost::default());
    assert_eq!((gpr(&vm, Gpr::Rcx), vm.vcpu.state.rip), (36, ENTRY));
    vm.vcpu.exits(string_io(Direction::Out, 1));
    vm.serve(&mut FakeHost::default());
    assert_eq!((gpr(&vm, Gpr::Rcx), vm.vcpu.state.rip), (0, ENTRY + 2));
    assert_eq!(gpr(&vm, Gpr::Rsi), 0x20_0ff0 + 100);
    let out: Vec<_> = core::iter::from_fn(|| vm.console_mut().next_output()).collect();
    assert_eq!(out.len(), 100);
}

#[test]
fn a_string_comes_in_downwards_and_across_pages() {
    // rep insw
    let (vm, _) = served(running(&[0xf3, 0x66, 0x6d], |vcpu| {
        vcpu.state.gprs.set(Gpr::Rcx, 2);
        vcpu.state.gprs.set(Gpr::Rdx, 0x1234);
        vcpu.state.gprs.set(Gpr::Rdi, 0x20_0fff);
        vcpu.state.rflags |= 1 << 10;
        string_io(Direction::In, 2)
    }));
    assert_eq!(vm.memory.bytes(0x20_0ffc, 6), [0, 0xff, 0xff, 0xff, 0xff, 0]);
    assert_eq!((gpr(&vm, Gpr::Rdi), vm.vcpu.state.rip), (0x20_0ffb, ENTRY + 3));
}

#[test]
fn a_string_that_reaches_an_absent_page_faults_there_and_keeps_what_was_done() {
    let (vm, _) = served(running(&[0xf3, 0x6c], |vcpu| {
        vcpu.state.gprs.set(Gpr::Rcx, 4);
        // The identity map ends at 4 GiB.
        vcpu.state.gprs.set(Gpr::Rdi, 1 << 32);
        string_io(Direction::In, 1)
    }));
    assert_raises(Exception::page_fault(2), &vm);
    assert_eq!((vm.vcpu.state.cr2, gpr(&vm, Gpr::Rcx)), (1 << 32, 4));
}
