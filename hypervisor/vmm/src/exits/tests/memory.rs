//! Accesses that the nested tables refuse.

use super::*;
use crate::exits::Stop;
use vcpu::walk::WalkFault;

/// The exit of an instruction that accesses what RBX points at.
fn access(vcpu: &mut FakeVcpu, gpa: u64, access: Access) -> Exit {
    vcpu.state.gprs.set(Gpr::Rbx, gpa);
    Exit::NestedFault(nested_fault(gpa, access))
}

/// A guest that runs `code` with RBX at `gpa`, which is no memory.
fn accessing(code: &'static [u8], gpa: u64, kind: Access) -> TestVm {
    running(code, move |vcpu| access(vcpu, gpa, kind))
}

#[test]
fn executing_or_walking_outside_memory_ends_the_vm() {
    let gpa = Gpa::new(0xf000_0000).unwrap();
    let ending = |fault: NestedFault| {
        served(started(|vcpu| {
            vcpu.exits(Exit::NestedFault(fault));
        }))
        .1
    };
    assert_eq!(
        ending(nested_fault(0xf000_0000, Access::Execute)),
        Served::Ended(Ending::Fault(Fault::FetchOutsideMemory(gpa)))
    );
    assert_eq!(
        ending(NestedFault { in_guest_walk: true, ..nested_fault(0xf000_0000, Access::Read) }),
        Served::Ended(Ending::Fault(Fault::TablesOutsideMemory(gpa)))
    );
    assert_eq!(
        ending(nested_fault(0x1000, Access::Read)),
        Served::Ended(Ending::Fault(Fault::MemoryRefused(Gpa::new(0x1000).unwrap())))
    );
}

#[test]
fn delivering_an_event_outside_memory_ends_the_vm() {
    let (_, served) = served(started(|vcpu| {
        vcpu.then(|vcpu| {
            vcpu.queued = Some(Event::Interrupt(base::Vector(0x40)));
            Exit::NestedFault(nested_fault(0xf000_0000, Access::Write))
        });
    }));
    let fault = Fault::DeliveryOutsideMemory(Gpa::new(0xf000_0000).unwrap());
    assert_eq!(served, Served::Ended(Ending::Fault(fault)));
}

#[test]
fn memory_that_is_not_there_reads_as_ones_and_swallows_writes() {
    // mov eax, [rbx]
    let (vm, _) = served(accessing(&[0x8b, 0x03], 0xf000_0000, Access::Read));
    assert_eq!((gpr(&vm, Gpr::Rax), vm.vcpu.state.rip), (0xffff_ffff, ENTRY + 2));
    // mov [rbx], eax
    let (vm, _) = served(accessing(&[0x89, 0x03], 0xf000_0000, Access::Write));
    assert_done(&vm);
    assert_eq!(vm.stats().unclaimed_memory, 1);
}

#[test]
fn the_local_apic_answers_in_its_page() {
    // mov eax, [rbx]: the version register.
    let (vm, _) = served(accessing(&[0x8b, 0x03], 0xfee0_0030, Access::Read));
    assert_eq!(gpr(&vm, Gpr::Rax) & 0xf0, 0x10);
    assert_eq!(vm.stats().unclaimed_memory, 0);
}

#[test]
fn the_ioapic_answers_in_its_page() {
    // mov [rbx], eax: selects the version register; then mov eax, [rbx].
    let mut vm = running(&[0x89, 0x03, 0x8b, 0x03], |vcpu| {
        vcpu.state.gprs.set(Gpr::Rax, 1);
        access(vcpu, 0xfec0_0000, Access::Write)
    });
    vm.vcpu.then(|vcpu| access(vcpu, 0xfec0_0010, Access::Read));
    let (vm, _) = served(vm);
    assert_eq!(gpr(&vm, Gpr::Rax) >> 16, 23);
}

#[test]
fn any_instruction_of_a_driver_reaches_a_device() {
    // or dword [rbx], 0x1ff: the spurious-interrupt register, read and then written.
    let code = &[0x81, 0x0b, 0xff, 0x01, 0, 0];
    let (vm, _) = served(accessing(code, 0xfee0_00f0, Access::Write));
    assert_done(&vm);
    let (vm, _) = served(accessing(&[0xf3, 0xab], 0xf000_0000, Access::Write));
    assert_done(&vm);
}

#[test]
fn a_vector_register_is_loaded_from_a_device() {
    // movdqu xmm1, [rbx]
    let (vm, _) = served(running(&[0xf3, 0x0f, 0x6f, 0x0b], |vcpu| {
        vcpu.state.cr4 |= vcpu::control::cr4::OSFXSR;
        access(vcpu, 0xf000_0000, Access::Read)
    }));
    assert_eq!(vm.vcpu.vectors[1][15..17], [0xff, 0]);
    assert_eq!(vm.stats().unclaimed_memory, 2);
}

#[test]
fn what_the_guests_own_tables_refuse_is_its_page_fault() {
    const UNMAPPED: u64 = 0x70_0000_0008;
    // mov [rbx], eax, where RBX has changed since the exit.
    let (vm, _) = served(running(&[0x89, 0x03], |vcpu| {
        vcpu.state.gprs.set(Gpr::Rbx, UNMAPPED);
        Exit::NestedFault(nested_fault(0xf000_0000, Access::Write))
    }));
    assert_raises(Exception::page_fault(2), &vm);
    assert_eq!(vm.vcpu.state.cr2, UNMAPPED);
}

#[test]
fn an_instruction_that_cannot_be_carried_out_on_a_device_ends_the_vm() {
    // fld dword [rbx]
    let (_, served) = served(accessing(&[0xd9, 0x03], 0xfee0_0000, Access::Read));
    let fault = Fault::UnsupportedAccess(Gpa::new(0xfee0_0000).unwrap());
    assert_eq!(served, Served::Ended(Ending::Fault(fault)));
}

#[test]
fn tables_that_change_under_a_walk_let_the_guest_try_again() {
    let mut vm = started(|_| {});
    assert_eq!(vm.walk_fault(WalkFault::Contended), Stop::Retry);
}
