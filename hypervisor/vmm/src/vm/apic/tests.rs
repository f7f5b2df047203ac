//! A VM whose processor runs the local APIC while the guest runs: the guest is a script, which plays the processor too.

extern crate std;

use super::*;
use crate::testing::{FakeHost, FakeVcpu, INTERRUPTS_ON, out, rdmsr, started, wrmsr};
use crate::vm::Served;
use base::{ApicId, Instant, Vector};
use devices::platform as place;
use seams::ByteSink;
use std::boxed::Box;
use sync::pending::PendingInterrupts;
use vcpu::permission::msr;
use vcpu::{Event, Exit, Gpr, Wanted};

const VECTOR: u8 = 0x40;
const TASK_PRIORITY_MSR: u32 = 0x808;
const EOI: u32 = 0x0b;
const SPURIOUS: u32 = 0x0f;

/// A VM in x2APIC mode that has armed its timer for 1000 ns after now, on a processor that can run its APIC.
fn vm(script: impl FnOnce(&mut FakeVcpu)) -> Vm<FakeVcpu, seams::fake::FlatMemory> {
    started(|vcpu| {
        vcpu.apic_page = Some(Box::default());
        vcpu.then(wrmsr(msr::APIC_BASE, 0xfee0_0d00));
        vcpu.then(wrmsr(0x80f, 0x1ff));
        vcpu.then(wrmsr(0x83e, 0xb));
        vcpu.then(wrmsr(0x832, VECTOR.into()));
        vcpu.then(wrmsr(0x838, 1000));
        script(vcpu);
    })
}

/// Serves `vm`, with nested tables that do as they are told.
fn serve(vm: &mut Vm<FakeVcpu, seams::fake::FlatMemory>, host: &mut FakeHost) -> Served {
    loop {
        match vm.serve(host) {
            Served::ApicPage(page) => vm.apic_page_is(page),
            served => return served,
        }
    }
}

fn page(vcpu: &mut FakeVcpu) -> &mut ApicPage {
    vcpu.apic_page.as_deref_mut().unwrap()
}

/// The register that holds `vector`, of a set that begins at `first`, and its bit.
fn place_of(first: u32, vector: u8) -> (u32, u32) {
    (first + u32::from(vector / 32), 1 << (vector % 32))
}

/// The processor delivers the timer's vector.
fn deliver(vcpu: &mut FakeVcpu) {
    let (register, bit) = place_of(IRR_FIRST, VECTOR);
    assert_eq!(page(vcpu).register(register), bit, "it is requested");
    page(vcpu).set_register(register, 0);
    let (register, bit) = place_of(ISR_FIRST, VECTOR);
    page(vcpu).set_register(register, bit);
}

#[test]
fn a_pending_vector_is_shown_to_the_processor_and_not_injected() {
    let mut vm = vm(|_| {});
    let mut host = FakeHost::default();
    vm.vcpu.state.rflags = INTERRUPTS_ON;
    serve(&mut vm, &mut host);
    assert_eq!(vm.vcpu.apic_status, ApicStatus { access: ApicAccess::Msrs, ..ApicStatus::default() });
    host.now = Instant(2000);
    serve(&mut vm, &mut host);
    assert_eq!(vm.vcpu.apic_status.requested, Some(Vector(VECTOR)));
    assert_eq!((vm.vcpu.delivered.len(), vm.vcpu.window_wanted), (0, Wanted::No));
}

#[test]
fn what_the_processor_has_delivered_and_what_the_guest_has_written_is_what_the_model_says() {
    let mut vm = vm(|_| {});
    let mut host = FakeHost::default();
    serve(&mut vm, &mut host);
    host.now = Instant(2000);
    vm.vcpu.then(|vcpu| {
        deliver(vcpu);
        page(vcpu).set_register(TASK_PRIORITY, 0x35);
        vcpu.state.cr8 = 3;
        rdmsr(0x839)(vcpu)
    });
    vm.vcpu.then(rdmsr(TASK_PRIORITY_MSR));
    serve(&mut vm, &mut host);
    assert_eq!(vm.vcpu.state.gprs.get(Gpr::Rax), 0x35);
    let status = vm.vcpu.apic_status;
    assert_eq!((status.requested, status.in_service), (None, Some(Vector(VECTOR))));
}

#[test]
fn after_an_exit_that_concerns_nobody_the_processor_goes_on_with_what_it_has() {
    let mut vm = vm(|_| {});
    let mut host = FakeHost::default();
    serve(&mut vm, &mut host);
    vm.vcpu.then(|vcpu| {
        // What only the processor knows: the model would say something else.
        page(vcpu).set_register(TASK_PRIORITY, 0x20);
        vcpu.state.cr8 = 2;
        vcpu.apic_status.exiting_ends = [1; 4];
        Exit::Cpuid
    });
    vm.vcpu.then(|vcpu| {
        assert_eq!(page(vcpu).register(TASK_PRIORITY), 0x20);
        assert_eq!(vcpu.apic_status.exiting_ends, [1; 4], "nothing was handed over");
        Exit::HostInterrupt
    });
    serve(&mut vm, &mut host);
}

#[test]
fn a_vector_that_the_processor_holds_is_not_lost_when_another_comes_while_the_vm_is_not_served() {
    let mut vm = vm(|_| {});
    let mut host = FakeHost::default();
    serve(&mut vm, &mut host);
    let (register, bit) = place_of(IRR_FIRST, 0x31);
    vm.vcpu.then(move |vcpu| {
        // The guest sends to itself, interrupts off.
        page(vcpu).set_register(register, bit);
        Exit::HostInterrupt
    });
    serve(&mut vm, &mut host);
    host.now = Instant(2000);
    serve(&mut vm, &mut host);
    assert_eq!(page(&mut vm.vcpu).vectors(IRR_FIRST), [1 << 0x31, 1, 0, 0]);
    assert_eq!(vm.vcpu.apic_status.requested, Some(Vector(VECTOR)));
}

/// The same on a processor that takes posted interrupts, notified by 0xf2 at CPU 7; the guest has run once.
fn posting_vm() -> (Vm<FakeVcpu, seams::fake::FlatMemory>, FakeHost) {
    let mut vm = vm(|vcpu| {
        let pending = Box::new(PendingInterrupts::new());
        pending.notify_by(Vector(0xf2), ApicId(7));
        vcpu.pending = Some(pending);
    });
    let mut host = FakeHost::default();
    serve(&mut vm, &mut host);
    (vm, host)
}

#[test]
fn the_timers_vector_is_posted_when_nothing_else_has_come_and_the_page_stays_the_processors() {
    let (mut vm, mut host) = posting_vm();
    host.now = Instant(2000);
    vm.vcpu.then(|vcpu| {
        assert_eq!(page(vcpu).vectors(IRR_FIRST), [0; 4], "nothing was handed over");
        assert!(vcpu.pending.as_ref().unwrap().take().contains(Vector(VECTOR)));
        Exit::HostInterrupt
    });
    assert_eq!(serve(&mut vm, &mut host), Served::HostInterrupt);
    assert_eq!(host.notified, [(Vector(0xf2), ApicId(7))]);
    // It came once: nothing is due any more.
    host.now = Instant(9000);
    serve(&mut vm, &mut host);
    assert_eq!((host.notified.len(), host.timer), (1, None));
}

#[test]
fn what_was_posted_and_not_taken_is_requested_when_somebody_looks() {
    let (mut vm, mut host) = posting_vm();
    host.now = Instant(2000);
    // The guest leaves before the notification has reached it.
    vm.vcpu.then(rdmsr(0x839));
    serve(&mut vm, &mut host);
    assert_eq!(vm.vcpu.apic_status.requested, Some(Vector(VECTOR)));
    assert!(!vm.vcpu.pending.as_ref().unwrap().is_posted());
}

#[test]
fn what_was_posted_to_a_guest_that_had_just_left_is_requested_when_it_comes_back() {
    let (mut vm, mut host) = posting_vm();
    host.now = Instant(2000);
    // The host's interrupt ends the guest's turn before the notification has reached it, and the host takes that.
    vm.vcpu.then(|_| Exit::HostInterrupt);
    serve(&mut vm, &mut host);
    assert!(vm.vcpu.pending.as_ref().unwrap().is_posted());
    vm.vcpu.then(|_| Exit::HostInterrupt);
    serve(&mut vm, &mut host);
    let (register, bit) = place_of(IRR_FIRST, VECTOR);
    assert_eq!(page(&mut vm.vcpu).register(register), bit);
    assert_eq!(vm.vcpu.apic_status.requested, Some(Vector(VECTOR)));
    assert!(!vm.vcpu.pending.as_ref().unwrap().is_posted());
}

#[test]
fn where_something_is_to_be_looked_at_before_the_entry_nothing_is_posted() {
    let (mut vm, mut host) = posting_vm();
    host.now = Instant(2000);
    vm.attention = Attention::EventsAndDeadline;
    serve(&mut vm, &mut host);
    assert!(host.notified.is_empty());
    assert_eq!(vm.vcpu.apic_status.requested, Some(Vector(VECTOR)));
}

#[test]
fn with_input_that_waits_the_apic_is_taken_over_and_nothing_is_posted() {
    let (mut vm, mut host) = posting_vm();
    host.now = Instant(2000);
    vm.console_mut().offer(b'x').unwrap();
    serve(&mut vm, &mut host);
    assert!(host.notified.is_empty());
    assert_eq!(vm.vcpu.apic_status.requested, Some(Vector(VECTOR)));
}

#[test]
fn a_guest_that_halts_is_woken_by_what_it_sent_itself() {
    let mut vm = vm(|vcpu| {
        vcpu.then(wrmsr(0x838, 0));
        vcpu.then(|vcpu| {
            let (register, bit) = place_of(IRR_FIRST, 0x31);
            page(vcpu).set_register(register, bit);
            vcpu.state.rflags = INTERRUPTS_ON;
            Exit::Hlt
        });
    });
    assert_eq!(serve(&mut vm, &mut FakeHost::default()), Served::HostInterrupt);
    assert_eq!(vm.vcpu.apic_progress().requested, Some(Vector(0x31)));
}

#[test]
fn a_guest_that_halts_is_not_woken_by_what_its_task_priority_holds_back() {
    let mut vm = vm(|vcpu| {
        vcpu.then(wrmsr(0x838, 0));
        vcpu.then(|vcpu| {
            let (register, bit) = place_of(IRR_FIRST, 0x31);
            page(vcpu).set_register(register, bit);
            vcpu.state.cr8 = 3;
            vcpu.state.rflags = INTERRUPTS_ON;
            Exit::Hlt
        });
    });
    assert_eq!(serve(&mut vm, &mut FakeHost::default()), Served::Halted { wake: None });
}

#[test]
fn what_a_device_sends_is_added_to_what_the_processor_has_and_nothing_is_handed_over() {
    let mut vm = vm(|_| {});
    let mut host = FakeHost::default();
    serve(&mut vm, &mut host);
    vm.vcpu.then(|vcpu| {
        // What only the processor knows: it stays.
        page(vcpu).set_register(TASK_PRIORITY, 0x20);
        let (register, bit) = place_of(IRR_FIRST, 0x31);
        page(vcpu).set_register(register, bit);
        vcpu.apic_status.access = ApicAccess::Emulated;
        // COM1: the interrupt for an empty transmitter, let through to the line.
        out(0x3fc, 1, 8)(vcpu)
    });
    vm.vcpu.then(out(0x3f9, 1, 2));
    let ioapic = vm.board_at(&host);
    for (register, value) in [(0x19_u64, 0_u64), (0x18, 0x51)] {
        ioapic.write_memory(Gpa::from_low_bits(0xfec0_0000), 4, register);
        ioapic.write_memory(Gpa::from_low_bits(0xfec0_0010), 4, value);
    }
    serve(&mut vm, &mut host);
    assert_eq!(page(&mut vm.vcpu).vectors(IRR_FIRST), [1 << 0x31, 1 << (0x51 - 64), 0, 0]);
    assert_eq!(page(&mut vm.vcpu).register(TASK_PRIORITY), 0x20);
    assert_eq!(vm.vcpu.apic_status.requested, Some(Vector(0x51)));
    assert_eq!(vm.vcpu.apic_status.access, ApicAccess::Emulated, "nothing was handed over");
}

#[test]
fn the_8259_pairs_interrupts_are_injected_and_wait_behind_a_window() {
    let mut vm = started(|vcpu| {
        vcpu.apic_page = Some(Box::default());
        // The pair at vectors 0x20 and 0x28, nothing masked; the 8254 ticks.
        for (port, value) in
            [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0), (0x43, 0x34), (0x40, 0), (0x40, 0)]
        {
            vcpu.then(out(port, 1, value));
        }
    });
    let mut host = FakeHost::default();
    serve(&mut vm, &mut host);
    host.now = Instant(60_000_000);
    vm.vcpu.then(|vcpu| {
        assert_eq!(vcpu.window_wanted, Wanted::Yes);
        vcpu.state.rflags = INTERRUPTS_ON;
        Exit::InterruptWindow
    });
    serve(&mut vm, &mut host);
    assert_eq!(vm.vcpu.delivered, [Event::Interrupt(Vector(0x20))]);
    assert_eq!(vm.vcpu.apic_status.requested, None);
}

#[test]
fn an_end_that_was_to_be_told_reaches_the_ioapic_which_sends_a_level_again() {
    let sci = u32::from(place::SCI_GSI.0 as u8);
    let mut vm = vm(|_| {});
    let mut host = FakeHost::default();
    serve(&mut vm, &mut host);
    // The input of the SCI: level, active high, vector 0x51.
    for (register, value) in [(0x11 + 2 * sci, 0_u64), (0x10 + 2 * sci, 0x8051)] {
        let board = vm.board_at(&host);
        board.write_memory(Gpa::from_low_bits(0xfec0_0000), 4, register.into());
        board.write_memory(Gpa::from_low_bits(0xfec0_0010), 4, value);
    }
    devices::Cx::set_line(&mut vm.board.fabric, place::SCI_GSI, seams::Level::Asserted);
    serve(&mut vm, &mut host);
    assert_eq!(vm.vcpu.apic_status.exiting_ends, [0, 1 << (0x51 - 64), 0, 0]);
    // It is delivered and ended, and the line is still high.
    vm.vcpu.then(|vcpu| {
        let (register, _) = place_of(IRR_FIRST, 0x51);
        page(vcpu).set_register(register, 0);
        Exit::EndOfInterrupt(Vector(0x51))
    });
    serve(&mut vm, &mut host);
    assert_eq!(vm.vcpu.apic_status.requested, Some(Vector(0x51)));
}

#[test]
fn a_write_that_the_processor_leaves_to_do_reaches_the_model() {
    let mut vm = started(|vcpu| {
        vcpu.apic_page = Some(Box::default());
        vcpu.then(|vcpu| {
            page(vcpu).set_register(SPURIOUS, 0xffff_f1f3);
            Exit::ApicWrite(SPURIOUS)
        });
    });
    serve(&mut vm, &mut FakeHost::default());
    // Bits that do not exist are gone.
    assert_eq!(page(&mut vm.vcpu).register(SPURIOUS), 0x1f3);
    assert_eq!(vm.vcpu.apic_status.access, ApicAccess::Page);
}

#[test]
fn an_apic_that_is_off_or_elsewhere_is_emulated() {
    let mut vm = started(|vcpu| vcpu.apic_page = Some(Box::default()));
    let mut host = FakeHost::default();
    serve(&mut vm, &mut host);
    // Virtual wire mode: it is at home and on.
    assert_eq!(vm.vcpu.apic_status.access, ApicAccess::Page);
    for (base, expected) in [
        (0xd000_0900, ApicAccess::Emulated),
        (0xfee0_0900, ApicAccess::Page),
        (0xfee0_0100, ApicAccess::Emulated),
    ] {
        vm.vcpu.then(wrmsr(msr::APIC_BASE, base));
        serve(&mut vm, &mut host);
        assert_eq!(vm.vcpu.apic_status.access, expected, "{base:#x}");
    }
}

#[test]
fn the_nested_tables_follow_the_mode_and_without_them_the_page_is_emulated() {
    let mut vm = started(|vcpu| vcpu.apic_page = Some(Box::default()));
    let mut host = FakeHost::default();
    assert_eq!(vm.serve(&mut host), Served::ApicPage(PageInMap::Shown));
    vm.apic_page_is(PageInMap::Shown);
    vm.vcpu.then(wrmsr(msr::APIC_BASE, 0xfee0_0d00));
    assert_eq!(vm.serve(&mut host), Served::ApicPage(PageInMap::Hidden));
    let mut vm = started(|vcpu| vcpu.apic_page = Some(Box::default()));
    assert_eq!(vm.serve(&mut host), Served::ApicPage(PageInMap::Shown));
    vm.apic_page_is(PageInMap::Impossible);
    assert_eq!(vm.serve(&mut host), Served::HostInterrupt);
    assert_eq!(vm.vcpu.apic_status.access, ApicAccess::Emulated);
}

#[test]
fn no_end_without_an_exit_is_offered_in_memory() {
    const FLAG: Gpa = Gpa::from_low_bits(0x8_0000);
    let mut vm = vm(|vcpu| {
        vcpu.then(wrmsr(msr::KVM_PV_EOI, FLAG.as_u64() | 1));
    });
    let mut host = FakeHost::default();
    vm.vcpu.state.rflags = INTERRUPTS_ON;
    serve(&mut vm, &mut host);
    host.now = Instant(2000);
    serve(&mut vm, &mut host);
    vm.vcpu.then(|vcpu| {
        deliver(vcpu);
        Exit::HostInterrupt
    });
    serve(&mut vm, &mut host);
    assert_eq!(vm.memory.read_u8(FLAG), Ok(0));
    assert_eq!(page(&mut vm.vcpu).register(EOI), 0);
}
