//! A device's task, from the guest's kick to its interrupt.

extern crate std;

mod kicks;

use super::*;
use crate::testing::{
    ENTRY, FakeHost, FakeVcpu, INTERRUPTS_ON, NicDriver, created, inp, nic, settings, start, started_with,
    wrmsr,
};
use crate::vm::{Model, Served, Settings};
use backends::console::Output;
use base::{Gpa, Vector};
use devices::virtio::blk::Blk;
use devices::virtio::console::Console;
use devices::virtio::rng::Rng;
use devices::virtio::{Chain, Head};
use seams::fake::FlatMemory;
use seams::{
    Begun, BlockAccess, BlockBuffers, BlockError, BlockGeometry, BlockOperation, BlockRequest, ByteSink,
    Ticket,
};
use std::{string::ToString, vec, vec::Vec};
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

/// The same, whose guest has halted.
fn halted() -> TestVm {
    let mut vm = vm(|vcpu| {
        vcpu.then(|vcpu| {
            vcpu.state.rflags = INTERRUPTS_ON;
            Exit::Hlt
        });
    });
    assert_eq!(vm.serve(&mut FakeHost::default()), Served::Halted { wake: None });
    vm
}

fn run<T>(
    vm: &mut TestVm,
    step: impl FnOnce(NetStep<'_, FlatMemory>) -> Result<(Progress, T), Broken>,
) -> Option<T> {
    vm.run_net(slot(), Instant(0), step)
}

/// Lets the guest make a chain of one buffer, of 64 bytes, available.
fn make_available(vm: &TestVm) {
    vm.memory.put(TRANSMIT, &[0, 0, 3, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0]);
    vm.memory.put(TRANSMIT + 0x1000, &[0, 0, 1, 0, 0, 0]);
}

#[test]
fn what_a_step_gives_back_interrupts_a_guest_that_halts() {
    let mut vm = halted();
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
fn a_driver_is_interrupted_for_a_link_that_changes_and_for_none_that_does_not() {
    let mut vm = halted();
    vm.set_link(slot(), Instant(1), Link::Up);
    assert!(!vm.wants_cpu(Instant(1)));
    vm.set_link(slot(), Instant(2), Link::Down);
    assert!(vm.wants_cpu(Instant(2)));
    assert_eq!(DRIVER.link_status(&mut vm.board), 0);
    vm.serve(&mut FakeHost::default());
    assert_eq!(vm.vcpu.delivered, [Event::Interrupt(Vector(0x61))]);
}

#[test]
fn a_link_that_is_down_before_the_guest_starts_is_so_after_it_has_started_and_after_a_reset() {
    let mut vm = created(Settings { devices: vec![nic()], ..settings() }, FakeVcpu::new());
    vm.set_link(slot(), Instant(0), Link::Down);
    for _ in 0..2 {
        start(&mut vm, &FakeHost::default());
        DRIVER.start(&mut vm.board);
        assert_eq!(DRIVER.link_status(&mut vm.board), 0);
    }
}

#[test]
fn a_step_that_leaves_something_to_do_is_taken_again() {
    let mut vm = vm(|_| {});
    assert_eq!(run(&mut vm, |_| Ok((Progress::More, ()))), Some(()));
    assert!(vm.has_kicked_queues());
}

#[test]
fn a_frame_that_arrives_does_not_hide_that_the_guest_has_kicked() {
    let mut vm = vm(|_| {});
    DRIVER.kick(&mut vm.board, 1);
    assert_eq!(vm.with_net(slot(), Instant(0), |_| Ok((Progress::Idle, ()))), Some(()));
    assert!(vm.has_kicked_queues(), "what it has to send waits");
    assert_eq!(run(&mut vm, |_| Ok((Progress::Idle, ()))), Some(()));
    assert!(!vm.has_kicked_queues());
}

#[test]
fn a_driver_that_breaks_the_rules_stops_its_device_and_is_told_of_now_and_then() {
    let mut vm = vm(|_| {});
    let break_rules = |vm: &mut TestVm, seconds: u64| {
        assert_eq!(run::<()>(vm, |_| Err(Broken::Loop)), None);
        assert_eq!(DRIVER.status(&mut vm.board), 0x4f);
        vm.take_broken(Instant(seconds * 1_000_000_000))
    };
    let told = break_rules(&mut vm, 1);
    assert_eq!(told, Some(BrokenDevice { slot: slot(), reason: Broken::Loop }));
    assert_eq!(
        told.unwrap().to_string(),
        "the device in PCI slot 1 has stopped until its driver resets it: a chain leads back into itself"
    );
    DRIVER.kick(&mut vm.board, 1);
    assert!(!vm.has_kicked_queues());
    assert_eq!(run(&mut vm, |_| Ok((Progress::Idle, ()))), None, "nothing is run");
    for (seconds, again) in [(2, false), (10, false), (11, true), (12, false)] {
        DRIVER.set_status(&mut vm.board, 0);
        DRIVER.start(&mut vm.board);
        assert_eq!(break_rules(&mut vm, seconds).is_some(), again, "after {seconds} s");
    }
    assert_eq!(vm.take_broken(Instant(99_000_000_000)), None);
}

/// A medium that ends every request at once, and remembers what there was.
struct Memo(Vec<BlockRequest>);

impl Block for Memo {
    fn geometry(&self) -> BlockGeometry {
        GEOMETRY
    }

    fn begin(&mut self, request: &BlockRequest, _buffers: &mut impl BlockBuffers) -> Begun {
        self.0.push(*request);
        Begun::Done(Ok(()))
    }

    fn finished(&mut self) -> Option<Ticket> {
        None
    }

    fn collect(&mut self, _ticket: Ticket, _buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        Ok(())
    }
}

const GEOMETRY: BlockGeometry =
    BlockGeometry { sectors: 8, block_bytes: 512, access: BlockAccess::ReadWrite };

/// A VM with `model` in slot 1, whose driver brings the device to work.
fn vm_with(model: Model) -> TestVm {
    let mut vm = started_with(Settings { devices: vec![model], ..settings() }, |_| {});
    DRIVER.start_with(&mut vm.board, 0);
    vm
}

/// Makes a chain available on queue `n`: buffers with their lengths, from 0x3_0000 on at 0x1000 each; those from `writable`
/// on are for the device to write.
fn offer(vm: &TestVm, n: u64, lengths: &[u32], writable: usize) {
    let rings = 0x1_0000 * (n + 1);
    for (i, length) in lengths.iter().enumerate() {
        let more = u16::from(i + 1 < lengths.len());
        let flags = more | if i >= writable { 2 } else { 0 };
        let place = rings + 16 * i as u64;
        vm.memory.put(place, &(0x3_0000 + 0x1000 * i as u64).to_le_bytes());
        vm.memory.put(place + 8, &length.to_le_bytes());
        vm.memory.put(place + 12, &flags.to_le_bytes());
        vm.memory.put(place + 14, &(i as u16 + 1).to_le_bytes());
    }
    vm.memory.put(rings + 0x1000, &[0, 0, 1, 0, 0, 0]);
}

/// How many chains of queue `n` the driver has back.
fn used(vm: &TestVm, n: u64) -> u8 {
    vm.memory.bytes(0x1_0000 * (n + 1) + 0x2002, 1)[0]
}

#[test]
fn a_disks_step_brings_its_requests_to_the_medium() {
    let mut vm = vm_with(Model::Disk(Blk::new(GEOMETRY, [0; 20]).unwrap()));
    let mut medium = Memo(Vec::new());
    // Write one sector to sector 3.
    vm.memory.put(0x3_0000, &[1, 0, 0, 0, 0, 0, 0, 0, 3]);
    offer(&vm, 0, &[16, 512, 1], 2);
    vm.run_disk(slot(), Instant(0), &mut medium);
    let operations: Vec<_> = medium.0.iter().map(|request| request.operation).collect();
    // Without the feature of flushing, a write is on the medium when it ends.
    assert_eq!(operations, [BlockOperation::Write, BlockOperation::Flush]);
    assert_eq!((medium.0[0].first_sector, medium.0[0].sectors, used(&vm, 0)), (3, 1, 1));
    assert!(!vm.has_kicked_queues());
    // A device that is not to work begins nothing.
    DRIVER.set_status(&mut vm.board, 0);
    vm.run_disk(slot(), Instant(0), &mut medium);
    assert_eq!(medium.0.len(), 2);
}

/// A medium that has ended the read that it was given, as soon as anybody asks.
struct Ended(Option<Ticket>);

impl Block for Ended {
    fn geometry(&self) -> BlockGeometry {
        GEOMETRY
    }

    fn begin(&mut self, request: &BlockRequest, _buffers: &mut impl BlockBuffers) -> Begun {
        self.0 = Some(request.ticket);
        Begun::Pending
    }

    fn finished(&mut self) -> Option<Ticket> {
        self.0
    }

    fn collect(&mut self, _ticket: Ticket, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        self.0 = None;
        Ok(buffers.put(&[7; 512])?)
    }
}

/// A VM whose disk has a read of one sector to 0x3_1000 on the way, and the medium that has ended it.
fn vm_with_ended_read() -> (TestVm, Ended) {
    let mut vm = vm_with(Model::Disk(Blk::new(GEOMETRY, [0; 20]).unwrap()));
    let mut medium = Ended(None);
    offer(&vm, 0, &[16, 512, 1], 1);
    vm.memory.put(0x3_2000, &[0xee]);
    vm.run_disk(slot(), Instant(0), &mut medium);
    assert!(medium.0.is_some() && !vm.has_kicked_queues());
    (vm, medium)
}

/// The read's data, its status, and how many requests the driver has back.
fn read_so_far(vm: &TestVm) -> (Vec<u8>, Vec<u8>, u8) {
    (vm.memory.bytes(0x3_1000, 2), vm.memory.bytes(0x3_2000, 1), used(vm, 0))
}

#[test]
fn a_disk_that_may_not_reach_memory_leaves_what_has_ended_to_the_medium_until_it_may_again() {
    let (mut vm, mut medium) = vm_with_ended_read();
    DRIVER.set_command(&mut vm.board, 0x2);
    for _ in 0..3 {
        vm.run_disk(slot(), Instant(0), &mut medium);
        assert!(!vm.has_kicked_queues(), "nothing keeps the CPU's loop busy");
    }
    assert_eq!(read_so_far(&vm), (vec![0, 0], vec![0xee], 0));
    DRIVER.set_command(&mut vm.board, 0x6);
    assert!(vm.has_kicked_queues(), "nobody else would run it");
    vm.run_disk(slot(), Instant(0), &mut medium);
    assert_eq!(read_so_far(&vm), (vec![7, 7], vec![0], 1));
    assert!(!vm.has_kicked_queues());
}

#[test]
fn what_a_medium_ends_after_a_reset_goes_nowhere() {
    let (mut vm, mut medium) = vm_with_ended_read();
    // As before kexec: first it may not reach memory, then the next driver resets it.
    DRIVER.set_command(&mut vm.board, 0x2);
    DRIVER.set_status(&mut vm.board, 0);
    vm.run_disk(slot(), Instant(0), &mut medium);
    assert_eq!(read_so_far(&vm), (vec![0, 0], vec![0xee], 0));
    assert_eq!(medium.0, None, "the medium is rid of it");
}

#[test]
fn a_disk_whose_driver_broke_the_rules_touches_its_memory_no_more() {
    let (mut vm, mut medium) = vm_with_ended_read();
    // An available index that runs ahead of what the queue can hold.
    vm.memory.put(0x1_1002, &[99]);
    let ended = medium.0.take();
    DRIVER.kick(&mut vm.board, 0);
    vm.run_disk(slot(), Instant(0), &mut medium);
    assert_eq!(DRIVER.status(&mut vm.board), 0x4f);
    medium.0 = ended;
    vm.run_disk(slot(), Instant(0), &mut medium);
    assert_eq!(read_so_far(&vm), (vec![0, 0], vec![0xee], 0));
}

/// A VM with a virtio console that works and has been run once, as after its driver's first kick; `keys` is who gets what is
/// typed.
fn vm_with_console(keys: VmConsole) -> TestVm {
    let devices = vec![Model::Console(Console::new())];
    let mut vm = started_with(Settings { devices, console: keys, ..settings() }, |_| {});
    DRIVER.start_with(&mut vm.board, 0);
    vm.run_console(slot(), Instant(0));
    vm
}

fn written(vm: &mut TestVm) -> Vec<Output> {
    core::iter::from_fn(|| vm.console_mut().next_output()).collect()
}

#[test]
fn keys_for_the_serial_line_go_there_whatever_the_guest_writes_where() {
    let mut vm = vm_with_console(VmConsole::Serial);
    offer(&vm, 0, &[64], 0);
    vm.memory.put(0x3_0000, b"login: ");
    offer(&vm, 1, &[7], 1);
    DRIVER.kick(&mut vm.board, 1);
    vm.run_console(slot(), Instant(0));
    assert_eq!(written(&mut vm), b"login: ".map(Output::Byte));
    vm.console_mut().offer(b'a').unwrap();
    assert!(!vm.wants_cpu_for_input());
    vm.vcpu.then(inp(0x3f8, 1));
    vm.serve(&mut FakeHost::default());
    assert_eq!((vm.vcpu.state.gprs.get(Gpr::Rax) as u8, used(&vm, 0)), (b'a', 0));
}

#[test]
fn keys_for_the_virtio_console_wait_for_its_buffers_and_need_no_output_first() {
    let mut vm = vm_with_console(VmConsole::Virtio);
    // There is no buffer, and nobody asks again before there is one.
    for byte in *b"bc" {
        vm.console_mut().offer(byte).unwrap();
        assert!(vm.wants_cpu_for_input());
        vm.run_console(slot(), Instant(0));
    }
    assert!(!vm.wants_cpu_for_input());
    offer(&vm, 0, &[64], 0);
    DRIVER.kick(&mut vm.board, 0);
    vm.run_console(slot(), Instant(0));
    assert_eq!((vm.memory.bytes(0x3_0000, 2), used(&vm, 0)), (b"bc".to_vec(), 1));
    // The guest lets go of it.
    DRIVER.set_status(&mut vm.board, 0);
    vm.console_mut().offer(b'd').unwrap();
    assert!(!vm.wants_cpu_for_input());
    assert!(!vm.console_mut().has_input(), "the serial line has it");
}

#[test]
fn what_a_console_had_no_room_for_is_for_the_serial_line_when_the_guest_lets_go_of_it() {
    let mut vm = vm_with_console(VmConsole::Virtio);
    // The device holds one byte.
    for byte in *b"ab" {
        vm.console_mut().offer(byte).unwrap();
        assert!(vm.wants_cpu_for_input());
        vm.run_console(slot(), Instant(0));
    }
    assert_eq!(vm.board.input, InputTo::VirtioFull(slot()));
    assert!(!vm.wants_cpu_for_input());
    assert!(vm.console_mut().has_input(), "it waits for a buffer");
    DRIVER.set_status(&mut vm.board, 0);
    assert!(!vm.wants_cpu_for_input());
    assert!(!vm.console_mut().has_input(), "the serial line has it");
    assert_eq!(vm.board.input, InputTo::Uart);
}

#[test]
fn keys_that_nobody_reads_at_the_serial_line_do_not_keep_others_from_the_virtio_console() {
    let mut vm = vm_with_console(VmConsole::Virtio);
    DRIVER.set_status(&mut vm.board, 0);
    // Before its driver comes: the serial line's receiver holds one byte.
    b"abc".iter().for_each(|&byte| vm.console_mut().offer(byte).unwrap());
    assert!(!vm.wants_cpu_for_input());
    DRIVER.start_with(&mut vm.board, 0);
    offer(&vm, 0, &[64], 0);
    DRIVER.kick(&mut vm.board, 0);
    vm.run_console(slot(), Instant(0));
    assert_eq!((vm.memory.bytes(0x3_0000, 3), used(&vm, 0)), (b"bc\0".to_vec(), 1));
}

#[test]
fn random_bytes_fill_what_the_guest_offers() {
    struct Sevens;
    impl Entropy for Sevens {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }
    let mut vm = vm_with(Model::Entropy(Rng::new()));
    offer(&vm, 0, &[3], 0);
    vm.run_entropy(slot(), Instant(0), &mut Sevens);
    assert_eq!((vm.memory.bytes(0x3_0000, 4), used(&vm, 0)), (vec![7, 7, 7, 0], 1));
}

#[test]
fn a_step_of_another_kind_than_the_device_does_nothing() {
    let mut vm = vm(|_| {});
    DRIVER.kick(&mut vm.board, 0);
    vm.run_console(slot(), Instant(0));
    vm.run_disk(slot(), Instant(0), &mut Memo(Vec::new()));
    assert!(vm.has_kicked_queues());
}

impl TestVm {
    /// Whether input that came makes a device's task run.
    fn wants_cpu_for_input(&mut self) -> bool {
        self.board.advance(Instant(0));
        self.has_kicked_queues()
    }
}

#[test]
fn there_is_no_step_for_a_device_that_is_not_there_or_not_wanted() {
    let mut vm = vm(|_| {});
    let absent = Slot::new(2).unwrap();
    assert_eq!(vm.with_net(absent, Instant(0), |_| Ok((Progress::Idle, ()))), None);
    DRIVER.set_status(&mut vm.board, 0);
    assert_eq!(run(&mut vm, |_| Ok((Progress::Idle, ()))), None);
}
