//! A device's task, from the guest's kick to its interrupt.

extern crate std;

use super::*;
use crate::testing::{
    ENTRY, FakeHost, FakeVcpu, INTERRUPTS_ON, NicDriver, nic, settings, started_with, wrmsr,
};
use crate::vm::{Served, Settings};
use base::{Gpa, Vector};
use devices::virtio::{Chain, Head};
use seams::fake::FlatMemory;
use std::{vec, vec::Vec};
use vcpu::permission::msr;
use vcpu::{Access, Event, Exit, Gpr, NestedFault};

const DRIVER: NicDriver = NicDriver { slot: 1 };
/// Where the queue of frames from the guest has its rings.
const TRANSMIT: u64 = 0x2_0000;

type TestVm = Vm<FakeVcpu, FlatMemory>;

fn slot() -> Slot {
    Slot::new(1).unwrap()
}

/// A VM with a network device that works, with nothing left to run; its guest switches its local APIC on and does `script`.
fn vm(script: impl FnOnce(&mut FakeVcpu)) -> TestVm {
    let settings = Settings { devices: vec![nic()], ..settings() };
    let mut vm = started_with(settings, |vcpu| {
        vcpu.then(wrmsr(msr::APIC_BASE, 0xfee0_0d00));
        vcpu.then(wrmsr(0x80f, 0x1ff));
        script(vcpu);
    });
    DRIVER.start(&mut vm.board);
    DRIVER.use_messages(&mut vm.board, 0x61);
    assert_eq!(run(&mut vm, |_| Ok((Progress::Idle, ()))), Some(()));
    vm
}

fn run<T>(
    vm: &mut TestVm,
    step: impl FnOnce(NetStep<'_, FlatMemory>) -> Result<(Progress, T), Broken>,
) -> Option<T> {
    vm.with_net(slot(), Instant(0), step)
}

/// The guest's step of kicking its queue of frames to send: mov [rbx], ax.
fn kick(vcpu: &mut FakeVcpu) -> Exit {
    let gpa = Gpa::new(DRIVER.registers() + 0x3004).unwrap();
    vcpu.state.gprs.set(Gpr::Rbx, gpa.as_u64());
    vcpu.state.rip = ENTRY;
    Exit::NestedFault(NestedFault { gpa, access: Access::Write, in_guest_walk: false, present: false })
}

const KICK: [u8; 3] = [0x66, 0x89, 0x03];

/// Lets the guest make a chain of one buffer, of 64 bytes, available.
fn make_available(vm: &TestVm) {
    vm.memory.put(TRANSMIT, &[0, 0, 3, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0]);
    vm.memory.put(TRANSMIT + 0x1000, &[0, 0, 1, 0, 0, 0]);
}

#[test]
fn a_kick_gives_the_cpu_up_behind_the_instruction() {
    let mut vm = vm(|vcpu| {
        vcpu.then(kick);
    });
    vm.memory.put(ENTRY, &KICK);
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Kicked);
    assert_eq!(vm.vcpu.state.rip, ENTRY + 3);
    assert_eq!(vm.kicked_devices().collect::<Vec<_>>(), [slot()]);
    assert_eq!(run(&mut vm, |_| Ok((Progress::Idle, ()))), Some(()));
    assert!(!vm.has_kicked_queues());
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::HostInterrupt);
}

#[test]
fn what_a_step_gives_back_interrupts_a_guest_that_halts() {
    let mut vm = vm(|vcpu| {
        vcpu.then(|vcpu| {
            vcpu.state.rflags = INTERRUPTS_ON;
            Exit::Hlt
        });
    });
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Halted { wake: None });
    assert!(!vm.wants_cpu(Instant(1)));
    make_available(&vm);
    let taken = run(&mut vm, |step| {
        let head = step.transmit.next_chain(step.memory, &mut Chain::default())?;
        step.transmit.push_used(step.memory, Head(0), 0)?;
        Ok((Progress::Idle, head))
    });
    assert_eq!(taken, Some(Some(Head(0))));
    assert_eq!(vm.memory.bytes(TRANSMIT + 0x2002, 2), [1, 0], "the driver sees it");
    assert!(vm.wants_cpu(Instant(1)));
    vm.serve(&mut FakeHost::default());
    assert_eq!(vm.vcpu.delivered, [Event::Interrupt(Vector(0x61))]);
}

#[test]
fn a_step_that_leaves_something_to_do_is_taken_again() {
    let mut vm = vm(|_| {});
    assert_eq!(run(&mut vm, |_| Ok((Progress::More, ()))), Some(()));
    assert!(vm.has_kicked_queues());
}

#[test]
fn a_driver_that_breaks_the_rules_stops_its_device_and_is_told_of_once() {
    let mut vm = vm(|_| {});
    assert_eq!(run::<()>(&mut vm, |_| Err(Broken::Loop)), None);
    assert_eq!(DRIVER.status(&mut vm.board), 0x4f);
    assert_eq!((vm.take_broken(), vm.take_broken()), (Some((slot(), Broken::Loop)), None));
    DRIVER.kick(&mut vm.board, 1);
    assert!(!vm.has_kicked_queues());
    assert_eq!(run(&mut vm, |_| Ok((Progress::Idle, ()))), None, "nothing is run");
}

#[test]
fn there_is_no_step_for_a_device_that_is_not_there_or_not_wanted() {
    let mut vm = vm(|_| {});
    let absent = Slot::new(2).unwrap();
    assert_eq!(vm.with_net(absent, Instant(0), |_| Ok((Progress::Idle, ()))), None);
    DRIVER.set_status(&mut vm.board, 0);
    assert_eq!(run(&mut vm, |_| Ok((Progress::Idle, ()))), None);
}
