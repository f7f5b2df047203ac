//! What a guest sees of its exits.

extern crate std;

use crate::exits::Stop;
use crate::testing::{
    ENTRY, FakeHost, FakeVcpu, INTERRUPTS_ON, RAM_BYTES, TRAP_FLAG, inp, out, rdmsr, start, started, wrmsr,
};
use crate::vm::{Ending, Fault, Lifecycle, Served, Vm};
use base::{Gpa, Instant, Port};
use proptest::prelude::*;
use seams::fake::FlatMemory;
use std::{vec, vec::Vec};
use vcpu::permission::msr;
use vcpu::walk::WalkFault;
use vcpu::{
    Access, ControlRegister, Direction, Event, Exception, Exit, Gpr, IoExit, IoOperand, NestedFault,
    Privileged,
};

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

#[test]
fn cpuid_shows_the_hypervisor_and_clears_the_upper_halves() {
    let vm = after(|vcpu| {
        vcpu.state.gprs.set(Gpr::Rax, 0xffff_ffff_4000_0000);
        Exit::Cpuid
    });
    assert_done(&vm);
    assert_eq!(gpr(&vm, Gpr::Rbx) as u32, u32::from_le_bytes(*b"KVMK"));
    assert!([Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx].iter().all(|&r| gpr(&vm, r) >> 32 == 0));
}

#[test]
fn a_register_that_is_not_named_faults_and_is_counted() {
    for vm in [after(rdmsr(0x1234)), after(wrmsr(0x1234, 1))] {
        assert_raises(Exception::GENERAL_PROTECTION, &vm);
        assert_eq!(vm.stats().refused_msrs, 1);
    }
}

#[test]
fn the_page_attribute_table_takes_types_that_exist() {
    let vm = after(wrmsr(msr::PAT, 0x0407_0506_0007_0106));
    assert_done(&vm);
    assert_eq!(vm.vcpu.state.pat, 0x0407_0506_0007_0106);
    for (entry, no_type) in (0..8).zip([2, 3, 8, 0x80, 0xff, 2, 3, 8]) {
        let vm = after(wrmsr(msr::PAT, no_type << (8 * entry)));
        assert_raises(Exception::GENERAL_PROTECTION, &vm);
        assert_eq!(vm.vcpu.state.pat, vcpu::VcpuState::reset().pat);
    }
    assert_eq!(pair(&after(rdmsr(msr::PAT))), vcpu::VcpuState::reset().pat);
}

#[test]
fn a_msr_is_read_into_two_halves() {
    let vm = after(rdmsr(msr::APIC_BASE));
    assert_done(&vm);
    assert_eq!(pair(&vm), 0xfee0_0900);
}

#[test]
fn the_guests_counter_starts_at_zero_and_moves_when_it_is_written() {
    let mut vm = started(|_| {});
    let mut host = FakeHost { now: Instant(500), ..FakeHost::default() };
    vm.vcpu.then(rdmsr(msr::TSC));
    vm.serve(&mut host);
    assert_eq!(pair(&vm), 500);
    vm.vcpu.then(wrmsr(msr::TSC, 1 << 40));
    vm.serve(&mut host);
    host.now = Instant(600);
    vm.vcpu.then(rdmsr(msr::TSC));
    vm.serve(&mut host);
    assert_eq!(pair(&vm), (1 << 40) + 100);
}

#[test]
fn a_tsc_deadline_is_kept_when_the_counter_moves() {
    let mut vm = started(|vcpu| {
        vcpu.then(wrmsr(msr::APIC_BASE, 0xfee0_0d00)).then(wrmsr(0x80f, 0x1ff));
        vcpu.then(wrmsr(0x832, 0x4_0040)).then(wrmsr(msr::TSC_DEADLINE, 10_000));
    });
    let mut host = FakeHost::default();
    vm.serve(&mut host);
    let first = host.timer.unwrap();
    assert!(first >= Instant(10_000) && first <= Instant(10_002));
    vm.vcpu.then(wrmsr(msr::TSC, 4_000));
    vm.serve(&mut host);
    assert!(host.timer.unwrap() <= Instant(6_002));
}

#[test]
fn efer_obeys_the_architecture() {
    let vm = after(wrmsr(msr::EFER, 0x500 | 1 << 11));
    assert_done(&vm);
    assert_eq!(vm.vcpu.state.efer, 0x500 | 1 << 11);
    assert_eq!(vm.vcpu.tlb_flushes, 1);
    // Long mode cannot be left with paging on, nor can SVM be enabled.
    assert_raises(Exception::GENERAL_PROTECTION, &after(wrmsr(msr::EFER, 0)));
    assert_raises(Exception::GENERAL_PROTECTION, &after(wrmsr(msr::EFER, 0x500 | 1 << 12)));
}

#[test]
fn the_kvm_clock_is_written_where_the_guest_wants_it() {
    let vm = after(wrmsr(msr::KVM_SYSTEM_TIME, 0x8000 | 1));
    assert_done(&vm);
    // tsc_to_system_mul is a fraction of 2^32 and never zero.
    assert_ne!(vm.memory.bytes(0x8000 + 24, 4), [0; 4]);
    let vm = after(wrmsr(msr::KVM_WALL_CLOCK, 0x9000));
    assert_done(&vm);
    assert_eq!(vm.memory.bytes(0x9004, 4), 1_000_000_000_u32.to_le_bytes());
}

#[test]
fn a_kvm_clock_outside_memory_faults() {
    let vm = after(wrmsr(msr::KVM_SYSTEM_TIME, RAM_BYTES | 1));
    assert_raises(Exception::GENERAL_PROTECTION, &vm);
}

#[test]
fn hypercalls_are_refused_in_kvms_way() {
    let vm = after(|_| Exit::Hypercall);
    assert_done(&vm);
    assert_eq!(gpr(&vm, Gpr::Rax) as i64, -1000);
}

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

#[test]
fn instructions_that_a_guest_does_not_have_are_undefined() {
    for instruction in [Privileged::Virtualization, Privileged::MonitorWait, Privileged::ResumeFromSmm] {
        assert_raises(Exception::INVALID_OPCODE, &after(move |_| Exit::Privileged(instruction)));
    }
    let vm = after(|_| Exit::Privileged(Privileged::ReadPerformanceCounter));
    assert_raises(Exception::GENERAL_PROTECTION, &vm);
}

#[test]
fn flushing_caches_and_pausing_do_nothing() {
    assert_done(&after(|_| Exit::Privileged(Privileged::CacheFlush)));
    assert_done(&after(|_| Exit::Pause));
}

#[test]
fn an_intercepted_exception_is_the_guests() {
    let exception = Exception { vector: base::Vector(17), error_code: Some(0) };
    assert_raises(exception, &after(move |_| Exit::Exception(exception)));
}

fn nested_fault(gpa: u64, access: Access) -> NestedFault {
    NestedFault { gpa: Gpa::new(gpa).unwrap(), access, in_guest_walk: false, present: false }
}

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
fn lengths_come_from_the_code_where_hardware_tells_none() {
    let (vm, _) = served(running(&[0x0f, 0xa2], |_| Exit::Cpuid));
    assert_eq!(vm.vcpu.state.rip, ENTRY + 2);
    let (vm, _) = served(running(&[0xf4], |_| Exit::Hlt));
    assert_eq!(vm.vcpu.state.rip, ENTRY + 1);
    let (_, ended) = served(running(&[0x90], |_| Exit::Cpuid));
    assert_eq!(ended, Served::Ended(Ending::Fault(Fault::UnreadableInstruction)));
}

#[test]
fn control_registers_are_written_by_rule() {
    // mov cr4, rax
    let (vm, _) = served(running(&[0x0f, 0x22, 0xe0], |vcpu| {
        vcpu.state.gprs.set(Gpr::Rax, 1 << 5 | 1 << 7);
        Exit::WriteControlRegister(ControlRegister::Cr4)
    }));
    assert_eq!((vm.vcpu.state.cr4, vm.vcpu.state.rip), (1 << 5 | 1 << 7, ENTRY + 3));
    // Long mode needs PAE.
    let (vm, _) = served(running(&[0x0f, 0x22, 0xe0], |_| Exit::WriteControlRegister(ControlRegister::Cr4)));
    assert_raises(Exception::GENERAL_PROTECTION, &vm);
    // clts
    let (vm, _) = served(running(&[0x0f, 0x06], |vcpu| {
        vcpu.state.cr0 |= 8;
        Exit::WriteControlRegister(ControlRegister::Cr0)
    }));
    assert_eq!(vm.vcpu.state.cr0 & 8, 0);
    assert_done(&vm);
}

/// A guest that switches PAE paging on, with `pdpte` as its second directory pointer.
fn enters_pae_paging(pdpte: u64) -> TestVm {
    enters_pae_paging_on(pdpte, |_| {})
}

/// The same on a processor that `change` has made.
fn enters_pae_paging_on(pdpte: u64, change: fn(&mut FakeVcpu)) -> TestVm {
    // mov cr0, rax
    let vm = running(&[0x0f, 0x22, 0xc0], move |vcpu| {
        change(vcpu);
        let state = &mut vcpu.state;
        (state.efer, state.cr0, state.cr4, state.cr3) = (0, 0x11, vcpu::control::cr4::PAE, 0x2020);
        state.cs.attributes = 0xc9b;
        state.gprs.set(Gpr::Rax, 0x8000_0011);
        Exit::WriteControlRegister(ControlRegister::Cr0)
    });
    vm.memory.put(0x2028, &pdpte.to_le_bytes());
    served(vm).0
}

#[test]
fn pae_paging_begins_with_the_directory_pointers_in_memory() {
    let vm = enters_pae_paging(0x3001);
    assert_done(&vm);
    assert_eq!((vm.vcpu.pdptes, vm.vcpu.state.cr0), ([0, 0x3001, 0, 0], 0x8000_0011));
}

#[test]
fn a_processor_that_reads_directory_pointers_when_it_uses_them_judges_them_then() {
    let vm = enters_pae_paging_on(0x3021, |vcpu| vcpu.holds_pdptes = false);
    assert_done(&vm);
    assert_eq!((vm.vcpu.pdptes, vm.vcpu.state.cr0), ([0; 4], 0x8000_0011));
}

#[test]
fn pae_paging_does_not_begin_with_a_reserved_bit_in_a_directory_pointer() {
    let vm = enters_pae_paging(0x3003);
    assert_raises(Exception::GENERAL_PROTECTION, &vm);
    assert_eq!(vm.vcpu.state.cr0, 0x11);
}

#[test]
fn a_task_priority_is_written_by_rule() {
    // mov cr8, rax
    const CODE: [u8; 4] = [0x44, 0x0f, 0x22, 0xc0];
    let write = |value| {
        move |vcpu: &mut FakeVcpu| {
            vcpu.state.gprs.set(Gpr::Rax, value);
            vcpu.state.cr8 = 9;
            Exit::WriteControlRegister(ControlRegister::Cr8)
        }
    };
    let (vm, _) = served(running(&CODE, write(3)));
    assert_eq!((vm.vcpu.state.cr8, vm.vcpu.state.rip), (3, ENTRY + 4));
    let (vm, _) = served(running(&CODE, write(16)));
    assert_raises(Exception::GENERAL_PROTECTION, &vm);
}

#[test]
fn tables_that_change_under_a_walk_let_the_guest_try_again() {
    let mut vm = started(|_| {});
    assert_eq!(vm.walk_fault(WalkFault::Contended), Stop::Retry);
}

#[test]
fn a_guest_that_steps_itself_does_not_sleep_in_a_halt() {
    let (vm, served) = served(started(|vcpu| {
        vcpu.then(|vcpu| {
            vcpu.state.rflags |= TRAP_FLAG;
            Exit::Hlt
        });
    }));
    assert_eq!((served, vm.lifecycle()), (Served::HostInterrupt, Lifecycle::Running));
    assert_eq!(vm.vcpu.delivered, [Event::Exception(Exception::DEBUG)]);
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

fn any_exit() -> impl Strategy<Value = Exit> {
    let io = (any::<u16>(), prop::sample::select(vec![1u8, 2, 4]), any::<bool>(), any::<bool>());
    let port = prop_oneof![
        any::<u16>(),
        prop::sample::select(vec![0x20u16, 0x40, 0x61, 0x70, 0x71, 0x3f8, 0x600, 0xcf9])
    ];
    let direction = |out| if out { Direction::Out } else { Direction::In };
    prop_oneof![
        Just(Exit::Cpuid),
        Just(Exit::ReadMsr),
        Just(Exit::WriteMsr),
        Just(Exit::Hlt),
        Just(Exit::Hypercall),
        Just(Exit::InterruptWindow),
        Just(Exit::Privileged(Privileged::CacheFlush)),
        Just(Exit::Privileged(Privileged::SetXcr)),
        Just(Exit::WriteControlRegister(ControlRegister::Cr0)),
        Just(Exit::WriteControlRegister(ControlRegister::Cr4)),
        Just(Exit::WriteControlRegister(ControlRegister::Cr8)),
        (port, io).prop_map(move |(port, (_, size_bytes, out, string))| {
            let operand = if string { IoOperand::String } else { IoOperand::Accumulator };
            Exit::Io(IoExit {
                port: Port(port),
                size_bytes,
                direction: direction(out),
                operand,
                next_rip: ENTRY,
            })
        }),
        (
            prop_oneof![Just(0xfee0_0000_u64), Just(0xfec0_0000), Just(0xd000_0000)],
            0..0x1000_u64,
            any::<bool>()
        )
            .prop_map(|(page, offset, write)| {
                let access = if write { Access::Write } else { Access::Read };
                Exit::NestedFault(nested_fault(page + offset, access))
            }),
    ]
}

/// Register contents with a preference for what means something.
fn any_register() -> impl Strategy<Value = u64> {
    let msrs: Vec<u64> = vcpu::permission::MSRS.iter().map(|rule| rule.first.into()).collect();
    prop_oneof![any::<u64>(), 0..0x1000_u64, prop::sample::select(msrs), 0x800..0x840_u64, Just(ENTRY)]
}

proptest! {
    #[test]
    fn no_sequence_of_exits_panics(
        steps in prop::collection::vec((any_exit(), prop::array::uniform4(any_register()), any::<bool>()), 1..40),
        code: [u8; 16],
    ) {
        let mut vm = started(|vcpu| vcpu.length = None);
        let mut host = FakeHost::default();
        for (exit, registers, enabled) in steps {
            if matches!(vm.lifecycle(), Lifecycle::Created | Lifecycle::Ended(_)) {
                start(&mut vm, &host);
            }
            vm.memory.put(ENTRY, &code);
            vm.vcpu.then(move |vcpu| {
                let names = [Gpr::Rax, Gpr::Rcx, Gpr::Rdx, Gpr::Rdi];
                names.into_iter().zip(registers).for_each(|(name, value)| vcpu.state.gprs.set(name, value));
                vcpu.state.rip = ENTRY;
                vcpu.state.rflags = if enabled { INTERRUPTS_ON } else { 2 };
                exit
            });
            host.now = host.now.after(base::Nanoseconds(registers[0] >> 24));
            vm.serve(&mut host);
        }
    }

    #[test]
    fn every_port_of_every_width_can_be_read_and_written(port: u16, size in prop::sample::select(vec![1u8, 2, 4]), value: u32) {
        let mut vm = started(|vcpu| {
            vcpu.then(out(port, size, value)).then(inp(port, size));
        });
        vm.serve(&mut FakeHost::default());
    }
}
