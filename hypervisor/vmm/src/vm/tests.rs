//! A VM's life, told by scripted guests.

extern crate std;

use super::*;
use crate::loader::File;
use crate::testing::{
    ENTRY, FakeHost, FakeVcpu, INTERRUPTS_ON, TRAP_FLAG, created, inp, out, settings, start, started,
    started_with, wrmsr,
};
use backends::console::Output;
use base::{Gpa, Vector};
use seams::ByteSink;
use std::{string::ToString, vec::Vec};
use vcpu::permission::msr;
use vcpu::{Event, Exception, Exit, Gpr};

const TIMER_VECTOR: u64 = 0x40;

/// Lets the guest program its local APIC's timer for 1000 ns after now, in x2APIC mode.
fn arm_timer(vcpu: &mut FakeVcpu) {
    vcpu.then(wrmsr(msr::APIC_BASE, 0xfee0_0d00));
    vcpu.then(wrmsr(0x80f, 0x1ff));
    vcpu.then(wrmsr(0x83e, 0xb));
    vcpu.then(wrmsr(0x832, TIMER_VECTOR));
    vcpu.then(wrmsr(0x838, 1000));
}

fn halt_with(rflags: u64) -> impl FnOnce(&mut FakeVcpu) -> Exit {
    move |vcpu| {
        vcpu.state.rflags = rflags;
        Exit::Hlt
    }
}

#[test]
fn a_new_vm_asks_to_be_loaded() {
    let mut vm = created(settings(), FakeVcpu::new());
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::LoadRequested);
    assert_eq!(vm.lifecycle(), Lifecycle::Created);
}

#[test]
fn a_kernel_that_cannot_be_loaded_leaves_the_vm_as_it_was() {
    let mut vm = created(settings(), FakeVcpu::new());
    let image = Image {
        kernel: File { name: "notes.txt", bytes: b"hello" },
        initrd: None,
        modules: std::vec![],
        cmdline: "",
    };
    let error = vm.start(&image, &FakeHost::default()).unwrap_err();
    assert!(matches!(error.problem, Problem::NotLoadable(_)));
    assert_eq!(
        error.to_string(),
        "notes.txt: this is text; give a Linux vmlinux or bzImage, or a PVH or Multiboot 1 kernel"
    );
    assert_eq!(vm.lifecycle(), Lifecycle::Created);
}

#[test]
fn a_loaded_vm_runs_from_its_entry_until_the_host_is_interrupted() {
    let mut vm = started(|vcpu| {
        vcpu.then(|vcpu| {
            assert_eq!(vcpu.state.rip, ENTRY);
            Exit::Cpuid
        });
    });
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::HostInterrupt);
    assert_eq!(vm.lifecycle(), Lifecycle::Running);
    assert_eq!(vm.vcpu.state.rip, ENTRY + 2);
    assert_eq!(vm.stats().total_exits(), 2);
}

#[test]
fn a_halted_vm_is_woken_by_its_timer_behind_the_hlt() {
    let mut vm = started(|vcpu| {
        arm_timer(vcpu);
        vcpu.then(halt_with(INTERRUPTS_ON));
    });
    let mut host = FakeHost::default();
    assert_eq!(vm.serve(&mut host), Served::Halted { wake: Some(Instant(1000)) });
    assert_eq!(host.timer, Some(Instant(1000)));
    assert!(!vm.wants_cpu(Instant(999)));
    assert!(vm.wants_cpu(Instant(1000)));
    host.now = Instant(1000);
    let behind = vm.vcpu.state.rip;
    assert_eq!(vm.serve(&mut host), Served::HostInterrupt);
    assert_eq!(vm.vcpu.state.rip, behind);
    assert_eq!(vm.vcpu.delivered, [Event::Interrupt(Vector(0x40))]);
}

#[test]
fn a_vm_that_halts_with_interrupts_disabled_is_woken_by_no_timer() {
    let mut vm = started(|vcpu| {
        arm_timer(vcpu);
        vcpu.then(halt_with(0x2));
    });
    let mut host = FakeHost::default();
    assert_eq!(vm.serve(&mut host), Served::Halted { wake: None });
    host.now = Instant(5000);
    assert!(!vm.wants_cpu(host.now));
    assert_eq!(vm.serve(&mut host), Served::Halted { wake: None });
}

#[test]
fn an_interrupt_waits_for_its_window() {
    let mut vm = started(arm_timer);
    let mut host = FakeHost::default();
    vm.serve(&mut host);
    host.now = Instant(2000);
    vm.vcpu.then(|vcpu| {
        assert_eq!(vcpu.window_wanted, Wanted::Yes);
        vcpu.state.rflags = INTERRUPTS_ON;
        Exit::InterruptWindow
    });
    vm.vcpu.then(|vcpu| {
        assert_eq!(vcpu.window_wanted, Wanted::No);
        Exit::HostInterrupt
    });
    vm.serve(&mut host);
    assert_eq!(vm.vcpu.delivered, [Event::Interrupt(Vector(0x40))]);
}

#[test]
fn the_task_priority_that_the_guest_sets_without_an_exit_holds_interrupts_back() {
    let set_cr8 = |priority| {
        move |vcpu: &mut FakeVcpu| {
            vcpu.state.rflags = INTERRUPTS_ON;
            vcpu.state.cr8 = priority;
            Exit::Pause
        }
    };
    let mut vm = started(arm_timer);
    let mut host = FakeHost::default();
    vm.vcpu.then(set_cr8(4));
    vm.serve(&mut host);
    host.now = Instant(2000);
    vm.serve(&mut host);
    assert!(vm.vcpu.delivered.is_empty());
    assert_eq!(vm.vcpu.task_priority_exits_wanted, Wanted::Yes, "lowering it is not to be missed");
    vm.vcpu.then(set_cr8(3));
    vm.serve(&mut host);
    assert_eq!(vm.vcpu.delivered, [Event::Interrupt(Vector(0x40))]);
    vm.serve(&mut host);
    assert_eq!(vm.vcpu.task_priority_exits_wanted, Wanted::No);
}

#[test]
fn an_interrupt_whose_end_concerns_nobody_else_is_ended_in_memory() {
    const FLAG: Gpa = Gpa::from_low_bits(0x8_0000);
    let mut vm = started(|vcpu| {
        vcpu.then(wrmsr(msr::KVM_PV_EOI, FLAG.as_u64() | 1));
        arm_timer(vcpu);
    });
    let mut host = FakeHost::default();
    vm.vcpu.state.rflags = INTERRUPTS_ON;
    vm.serve(&mut host);
    host.now = Instant(2000);
    vm.serve(&mut host);
    assert_eq!(vm.vcpu.delivered, [Event::Interrupt(Vector(0x40))]);
    assert_eq!(vm.memory.read_u8(FLAG), Ok(1), "EOI need not be written");
    // The guest ends it without an exit, and the timer's next interrupt comes.
    vm.memory.write(FLAG, &[0]).unwrap();
    vm.vcpu.then(wrmsr(0x838, 1000));
    vm.serve(&mut host);
    host.now = Instant(9_000_000);
    vm.serve(&mut host);
    assert_eq!(vm.vcpu.delivered, [Event::Interrupt(Vector(0x40)); 2]);
    // Not ended so far: the offer is withdrawn as soon as somebody looks.
    vm.vcpu.then(wrmsr(0x838, 1000));
    vm.serve(&mut host);
    assert_eq!(vm.memory.read_u8(FLAG), Ok(0), "EOI is to be written");
    host.now = Instant(19_000_000);
    vm.serve(&mut host);
    assert_eq!(vm.vcpu.delivered.len(), 2, "the second one is in service still");
}

#[test]
fn a_task_priority_written_to_the_local_apic_is_the_vcpus() {
    let mut vm = started(|vcpu| {
        vcpu.then(wrmsr(msr::APIC_BASE, 0xfee0_0d00)).then(wrmsr(0x808, 0x75));
    });
    vm.serve(&mut FakeHost::default());
    assert_eq!(vm.vcpu.state.cr8, 7);
}

#[test]
fn the_host_is_asked_for_the_next_deadline_and_no_more_than_needed() {
    let mut vm = started(arm_timer);
    let mut host = FakeHost::default();
    vm.serve(&mut host);
    assert_eq!(host.timer, Some(Instant(1000)));
    vm.vcpu.then(wrmsr(0x838, 0));
    vm.serve(&mut host);
    assert_eq!(host.timer, None);
}

#[test]
fn what_the_guest_writes_to_its_serial_line_comes_out_of_the_console() {
    let mut vm = started(|vcpu| {
        b"ok".iter().for_each(|&byte| {
            vcpu.then(out(0x3f8, 1, byte.into()));
        });
    });
    vm.serve(&mut FakeHost::default());
    let written: Vec<_> = core::iter::from_fn(|| vm.console_mut().next_output()).collect();
    assert_eq!(written, [Output::Byte(b'o'), Output::Byte(b'k')]);
}

#[test]
fn what_is_typed_reaches_the_guest_in_order_even_when_the_receiver_is_full() {
    let typed: Vec<u8> = (0..40).collect();
    let mut vm = started(|_| {});
    typed.iter().for_each(|&byte| vm.console_mut().offer(byte).unwrap());
    let mut read = Vec::new();
    for _ in 0..typed.len() {
        vm.vcpu.then(inp(0x3f8, 1));
        vm.serve(&mut FakeHost::default());
        read.push(vm.vcpu.state.gprs.get(Gpr::Rax) as u8);
    }
    assert_eq!(read, typed);
}

#[test]
fn a_timers_nmi_wakes_a_vm_that_halts_with_interrupts_disabled() {
    let mut vm = started(|vcpu| {
        // LINT0 is an NMI; the 8259 pair has all but input 0 masked; channel 0 of the 8254 counts one tick.
        vcpu.then(wrmsr(msr::APIC_BASE, 0xfee0_0d00)).then(wrmsr(0x835, 4 << 8));
        for (port, value) in [(0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xfe)] {
            vcpu.then(out(port, 1, value));
        }
        vcpu.then(out(0x43, 1, 0x30)).then(out(0x40, 1, 1)).then(out(0x40, 1, 0)).then(halt_with(0x2));
    });
    let mut host = FakeHost::default();
    let Served::Halted { wake: Some(wake) } = vm.serve(&mut host) else { panic!("it is not to be woken") };
    host.now = wake;
    assert_eq!(vm.serve(&mut host), Served::HostInterrupt);
    assert_eq!(vm.vcpu.delivered, [Event::Nmi]);
}

#[test]
fn input_wakes_a_halted_vm() {
    let mut vm = started(|vcpu| {
        // The 8259 pair: vectors from 0x30 and 0x38, all but input 4 masked. The UART: interrupt on input, OUT2.
        for (port, value) in [(0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xef)] {
            vcpu.then(out(port, 1, value));
        }
        for (port, value) in [(0xa0, 0x11), (0xa1, 0x38), (0xa1, 2), (0xa1, 1), (0xa1, 0xff)] {
            vcpu.then(out(port, 1, value));
        }
        vcpu.then(out(0x3f9, 1, 1)).then(out(0x3fc, 1, 0x8)).then(halt_with(INTERRUPTS_ON));
    });
    let mut host = FakeHost::default();
    assert_eq!(vm.serve(&mut host), Served::Halted { wake: None });
    vm.console_mut().offer(b'x').unwrap();
    assert!(vm.wants_cpu(host.now));
    assert_eq!(vm.serve(&mut host), Served::HostInterrupt);
    assert_eq!(vm.vcpu.delivered, [Event::Interrupt(Vector(0x34))]);
}

#[test]
fn a_debug_exit_ends_the_vm_with_its_status() {
    let mut vm = started(|vcpu| {
        vcpu.then(out(0xf4, 1, 5));
    });
    let ending = Ending::DebugExit { value: 5 };
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Ended(ending));
    assert_eq!(vm.lifecycle(), Lifecycle::Ended(ending));
    assert_eq!(vm.ending_line().unwrap().to_string(), "vm demo: ended: debug exit by the guest, status 11");
    assert!(vm.crash_report().is_none());
}

#[test]
fn without_a_debug_exit_port_nothing_ends() {
    let settings = Settings { debug_exit: DebugExitPort::Absent, ..settings() };
    let mut vm = started_with(settings, |vcpu| {
        vcpu.then(out(0xf4, 1, 5));
    });
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::HostInterrupt);
    assert_eq!(vm.stats().unclaimed_ports, 1);
}

#[test]
fn soft_off_ends_the_vm() {
    let sleep = u32::from(devices::acpi_pm::SLEEP_TYPE_S5) << 10 | 1 << 13;
    let mut vm = started(|vcpu| {
        vcpu.then(out(0x604, 2, sleep));
    });
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Ended(Ending::PowerOff));
    assert_eq!(vm.ending_line().unwrap().to_string(), "vm demo: ended: powered off by the guest (ACPI S5)");
}

#[test]
fn a_reset_starts_the_vm_again_where_the_configuration_says_so() {
    let mut vm = started(|vcpu| {
        vcpu.then(out(0xcf9, 1, 6));
    });
    let mut host = FakeHost::default();
    assert_eq!(vm.serve(&mut host), Served::LoadRequested);
    assert_eq!(vm.lifecycle(), Lifecycle::Created);
    vm.vcpu.state.gprs.set(Gpr::Rbx, 7);
    vm.console_mut().push_output(b'!');
    start(&mut vm, &host);
    assert_eq!(vm.lifecycle(), Lifecycle::Running);
    assert_eq!((vm.vcpu.state.rip, vm.vcpu.state.gprs.get(Gpr::Rbx)), (ENTRY, 0));
    assert_eq!(vm.console_mut().next_output(), Some(Output::Byte(b'!')));
}

#[test]
fn a_reset_ends_the_vm_where_the_configuration_says_so() {
    let settings = Settings { on_reset: OnReset::End, ..settings() };
    let mut vm = started_with(settings, |vcpu| {
        vcpu.then(out(0xcf9, 1, 6));
    });
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Ended(Ending::Reset));
    assert_eq!(vm.ending_line().unwrap().to_string(), "vm demo: ended: reset by the guest");
}

#[test]
fn a_triple_fault_ends_the_vm_and_leaves_registers_and_exits() {
    let mut vm = started(|vcpu| {
        vcpu.exits(Exit::Cpuid).exits(Exit::TripleFault);
    });
    let mut host = FakeHost::default();
    assert_eq!(vm.serve(&mut host), Served::Ended(Ending::TripleFault));
    let report = vm.crash_report().unwrap();
    let lines: Vec<_> = report.lines().map(|line| line.to_string()).collect();
    assert!(lines.iter().any(|line| line.contains("rip 0000000000100002")));
    assert!(lines.iter().any(|line| line.contains("exit: CPUID")));
    assert!(lines.last().unwrap().contains("exit: triple fault"));
    // It is over for good.
    assert!(!vm.wants_cpu(host.now));
    assert_eq!(vm.serve(&mut host), Served::Ended(Ending::TripleFault));
}

#[test]
fn what_cannot_be_continued_from_ends_the_vm_with_the_reason() {
    let reason = |exit| {
        let mut vm = started(|vcpu| {
            vcpu.exits(exit);
        });
        vm.serve(&mut FakeHost::default());
        assert!(vm.crash_report().is_some());
        vm.ending_line().unwrap().to_string()
    };
    assert_eq!(reason(Exit::Unexpected(0x7f)), "vm demo: ended: unexpected exit, code 0x7f");
    assert_eq!(
        reason(Exit::Exception(Exception::MACHINE_CHECK)),
        "vm demo: ended: machine check: the host's hardware failed while it ran"
    );
    assert_eq!(reason(Exit::TaskSwitch), "vm demo: ended: hardware task switch, which is not supported");
}

#[test]
fn the_real_time_clock_shows_the_hosts_wall_clock() {
    let mut vm = started(|_| {});
    // 2001-09-09 01:46:40, ten seconds later; the registers hold BCD.
    let mut host =
        FakeHost { now: Instant::default().after(Nanoseconds::from_secs(10)), ..FakeHost::default() };
    for (register, value) in
        [(0x09, 0x01), (0x08, 0x09), (0x07, 0x09), (0x04, 0x01), (0x02, 0x46), (0x00, 0x50)]
    {
        vm.vcpu.then(out(0x70, 1, register)).then(inp(0x71, 1));
        vm.serve(&mut host);
        assert_eq!(vm.vcpu.state.gprs.get(Gpr::Rax) & 0xff, value, "register {register:#x}");
    }
}

#[test]
fn an_nmi_behind_another_event_comes_as_soon_as_that_is_delivered() {
    const NMI: u64 = 4 << 8;
    let mut vm = started(|vcpu| {
        vcpu.then(wrmsr(msr::APIC_BASE, 0xfee0_0d00));
        vcpu.then(|vcpu| {
            vcpu.state.rflags |= TRAP_FLAG;
            wrmsr(0x830, NMI)(vcpu)
        });
    });
    let mut host = FakeHost::default();
    assert_eq!(vm.serve(&mut host), Served::HostInterrupt);
    let debug = Event::Exception(Exception::DEBUG);
    assert_eq!((&vm.vcpu.delivered[..], host.interrupted_entries), (&[debug][..], 1));
    vm.vcpu.state.rflags &= !TRAP_FLAG;
    vm.serve(&mut host);
    assert_eq!((&vm.vcpu.delivered[..], host.interrupted_entries), (&[debug, Event::Nmi][..], 1));
}
