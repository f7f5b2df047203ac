//! Instructions that exit by themselves, and their lengths.

use super::*;
use crate::testing::TRAP_FLAG;
use crate::vm::Lifecycle;
use vcpu::Privileged;

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
fn hypercalls_are_refused_in_kvms_way() {
    let vm = after(|_| Exit::Hypercall);
    assert_done(&vm);
    assert_eq!(gpr(&vm, Gpr::Rax) as i64, -1000);
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
