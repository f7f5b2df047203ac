//! What a guest sees of its exits.

extern crate std;

mod control;
mod instructions;
mod memory;
mod ports;
mod registers;
mod sequences;

use crate::testing::{ENTRY, FakeHost, FakeVcpu, started};
use crate::vm::{Ending, Fault, Served, Vm};
use base::Gpa;
use seams::fake::FlatMemory;
use vcpu::{Access, Event, Exception, Exit, Gpr, NestedFault};

type TestVm = Vm<FakeVcpu, FlatMemory>;

/// Lets the guest do `step` and returns the VM behind it.
fn after(step: impl FnOnce(&mut FakeVcpu) -> Exit + 'static) -> TestVm {
    let mut vm = started(|vcpu| {
        vcpu.then(step);
    });
    vm.serve(&mut FakeHost::default());
    vm
}

fn gpr(vm: &TestVm, register: Gpr) -> u64 {
    vm.vcpu.state.gprs.get(register)
}

/// EDX:EAX.
fn pair(vm: &TestVm) -> u64 {
    gpr(vm, Gpr::Rdx) << 32 | gpr(vm, Gpr::Rax)
}

fn raised(vm: &TestVm) -> bool {
    vm.vcpu.delivered.iter().any(|event| matches!(event, Event::Exception(_)))
}

fn assert_raises(exception: Exception, vm: &TestVm) {
    assert_eq!(vm.vcpu.delivered, [Event::Exception(exception)]);
    assert_eq!(vm.vcpu.state.rip, ENTRY, "a fault is raised at the instruction");
}

fn assert_done(vm: &TestVm) {
    assert!(!raised(vm));
    assert!(vm.vcpu.state.rip > ENTRY);
}

/// A guest with `code` at its entry, and hardware that tells no instruction lengths.
fn running(code: &'static [u8], step: impl FnOnce(&mut FakeVcpu) -> Exit + 'static) -> TestVm {
    let vm = started(|vcpu| {
        vcpu.length = None;
        vcpu.then(step);
    });
    vm.memory.put(ENTRY, code);
    vm
}

fn served(mut vm: TestVm) -> (TestVm, Served) {
    let served = vm.serve(&mut FakeHost::default());
    (vm, served)
}

fn nested_fault(gpa: u64, access: Access) -> NestedFault {
    NestedFault { gpa: Gpa::new(gpa).unwrap(), access, in_guest_walk: false, present: false }
}
