//! Whatever way a guest kicks a queue, its turn ends there.

use super::*;
use crate::testing::out;
use base::Port;
use vcpu::{Direction, IoExit, IoOperand};

/// The guest's step of kicking its queue of frames to send.
fn kick(vcpu: &mut FakeVcpu) -> Exit {
    store(vcpu, DRIVER.registers() + 0x3004)
}

/// The guest's step of [`STORE`] to `gpa`.
fn store(vcpu: &mut FakeVcpu, gpa: u64) -> Exit {
    let gpa = Gpa::new(gpa).unwrap();
    vcpu.state.gprs.set(Gpr::Rbx, gpa.as_u64());
    vcpu.state.rip = ENTRY;
    Exit::NestedFault(NestedFault { gpa, access: Access::Write, in_guest_walk: false, present: false })
}

/// mov [rbx], ax
const STORE: [u8; 3] = [0x66, 0x89, 0x03];

/// The registers of the window in configuration space that let it lead to where queue 1 is kicked: BAR, offset, length.
const WINDOW_TO_KICK: [(u32, u32); 3] = [(0x94, 0), (0x98, 0x3004), (0x9c, 2)];
/// What is written there is written where the window leads.
const WINDOW: u32 = 0xa0;

/// The guest's steps of writing `value` to `register` of the device's configuration space, by ports.
fn write_config(vcpu: &mut FakeVcpu, register: u32, size_bytes: u8, value: u32) {
    vcpu.then(out(0xcf8, 4, config_address(register))).then(out(0xcfc, size_bytes, value));
}

/// CONFIG_ADDRESS of `register`.
const fn config_address(register: u32) -> u32 {
    1 << 31 | (DRIVER.slot as u32) << 11 | register
}

#[test]
fn a_kick_gives_the_cpu_up_behind_the_instruction() {
    let mut vm = vm(|vcpu| {
        vcpu.then(kick);
    });
    vm.memory.put(ENTRY, &STORE);
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Kicked);
    assert_eq!(vm.vcpu.state.rip, ENTRY + 3);
    assert_eq!(vm.kicked_devices().collect::<Vec<_>>(), [slot()]);
    assert_eq!(run(&mut vm, |_| Ok((Progress::Idle, ()))), Some(()));
    assert!(!vm.has_kicked_queues());
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::HostInterrupt);
}

#[test]
fn a_kick_by_ports_gives_the_cpu_up_behind_the_instruction() {
    let mut vm = vm(|vcpu| {
        WINDOW_TO_KICK.into_iter().for_each(|(register, value)| write_config(vcpu, register, 4, value));
        write_config(vcpu, WINDOW, 2, 1);
        vcpu.then(out(0x3f8, 1, 0x41));
    });
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Kicked);
    assert_eq!(vm.vcpu.state.rip, ENTRY + 2 * 2 + 8, "behind two WRMSR and all OUT but the last");
    assert_eq!(vm.kicked_devices().collect::<Vec<_>>(), [slot()]);
    // Another port's write lets the guest run on though the queue was not run yet.
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::HostInterrupt);
    assert_eq!(vm.console_mut().next_output(), Some(Output::Byte(0x41)));
    assert!(vm.has_kicked_queues());
}

#[test]
fn a_string_that_kicks_by_ports_gives_the_cpu_up() {
    let mut vm = vm(|vcpu| {
        WINDOW_TO_KICK.into_iter().for_each(|(register, value)| write_config(vcpu, register, 4, value));
        vcpu.then(out(0xcf8, 4, config_address(WINDOW))).then(|vcpu| {
            vcpu.state.rip = ENTRY;
            vcpu.state.gprs.set(Gpr::Rdx, 0xcfc);
            vcpu.state.gprs.set(Gpr::Rsi, ENTRY);
            let (operand, direction) = (IoOperand::String, Direction::Out);
            Exit::Io(IoExit { port: Port(0xcfc), size_bytes: 1, direction, operand, next_rip: ENTRY + 1 })
        });
    });
    // outsb
    vm.memory.put(ENTRY, &[0x6e]);
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Kicked);
    assert_eq!(vm.vcpu.state.rip, ENTRY + 1);
}

#[test]
fn a_kick_by_configuration_space_in_memory_gives_the_cpu_up() {
    let mut vm = vm(|vcpu| {
        vcpu.then(|vcpu| store(vcpu, DRIVER.config() + u64::from(WINDOW)));
    });
    for (register, value) in WINDOW_TO_KICK {
        DRIVER.write_config(&mut vm.board, register.into(), 4, value.into());
    }
    vm.memory.put(ENTRY, &STORE);
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Kicked);
    assert_eq!(vm.vcpu.state.rip, ENTRY + 3);
}

#[test]
fn bus_mastering_that_comes_back_gives_the_cpu_up_too() {
    let mut vm = vm(|vcpu| {
        write_config(vcpu, 0x04, 2, 0x2);
        write_config(vcpu, 0x04, 2, 0x6);
    });
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Kicked);
    assert_eq!(vm.kicked_devices().collect::<Vec<_>>(), [slot()]);
}
