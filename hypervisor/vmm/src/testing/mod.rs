//! Fakes for tests: a vCPU that plays a script of exits, a host with a clock to be set.

extern crate std;

mod kernels;
mod nic;
mod scripted;

pub use kernels::{Phdr, elf_32_with, elf_with, note};
pub use nic::{NIC, NicDriver, nic};
pub use scripted::FakeVcpu;

use crate::layout::RamLayout;
use crate::loader::{File, Image};
use crate::vm::{DebugExitPort, Host, Moment, Settings, Vm};
use base::{ApicId, Instant, MIB, Nanoseconds, Port, TscScale, Vector, VmName};
use config::OnReset;
use core::cell::Cell;
use seams::fake::FlatMemory;
use std::vec::Vec;
use vcpu::{
    Direction, Exit, Gpr, IoExit, IoOperand,
    cpuid::{Registers, TscStability},
};

/// The TSC frequency of the fakes: a tick is a nanosecond.
pub const TSC: TscScale = match TscScale::new(1_000_000_000) {
    Ok(scale) => scale,
    Err(_) => panic!("1 GHz is a frequency"),
};

/// A host whose clock stands still until it is set.
#[derive(Default)]
pub struct FakeHost {
    pub now: Instant,
    /// How long the CPU is held up between two looks at its clock.
    pub held_up: Nanoseconds,
    pub looks: Cell<u64>,
    pub timer: Option<Instant>,
    /// How often an entry was to be interrupted.
    pub interrupted_entries: u32,
    /// Who was told of a posted interrupt.
    pub notified: Vec<(Vector, ApicId)>,
}

impl Host for FakeHost {
    fn now(&self) -> Instant {
        let looks = self.looks.replace(self.looks.get() + 1);
        Instant(self.now.0 + looks * self.held_up.0)
    }
    fn moment(&self) -> Moment {
        let time = self.now();
        Moment { time, tsc: time.0 }
    }
    fn set_guest_timer(&mut self, deadline: Option<Instant>) {
        self.timer = deadline;
    }
    fn interrupt_entry(&mut self) {
        self.interrupted_entries += 1;
    }
    fn notify(&mut self, vector: Vector, destination: ApicId) {
        self.notified.push((vector, destination));
    }
}

/// The RAM of [`started`].
pub const RAM_BYTES: u64 = 4 * MIB;

/// Where the kernel of [`started`] is entered.
pub const ENTRY: u64 = 0x10_0000;

pub fn settings() -> Settings {
    Settings {
        name: VmName::new("demo").unwrap(),
        ram: RamLayout::new(RAM_BYTES).unwrap(),
        withheld: None,
        on_reset: OnReset::Restart,
        console: config::VmConsole::Serial,
        debug_exit: DebugExitPort::Present,
        exit_profile: crate::vm::ExitProfile::NotKept,
        tsc: TSC,
        tsc_stability: TscStability::Invariant,
        wall_clock_at_zero: Nanoseconds::from_secs(1_000_000_000),
        devices: Vec::new(),
    }
}

/// A host processor with every feature.
fn host_cpuid(leaf: u32, _subleaf: u32) -> Registers {
    match leaf {
        0 => [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
        0x8000_0000 => [0x8000_0021, 0, 0, 0],
        0x8000_0008 => [48 << 8 | 40, 0, 0, 0],
        _ => [u32::MAX; 4],
    }
}

/// A VM with nothing loaded.
pub fn created(settings: Settings, vcpu: FakeVcpu) -> Vm<FakeVcpu, FlatMemory> {
    Vm::new(settings, vcpu, FlatMemory::new(RAM_BYTES), host_cpuid)
}

/// Loads a kernel of 4 KiB at [`ENTRY`] into `vm`.
pub fn start(vm: &mut Vm<FakeVcpu, FlatMemory>, host: &FakeHost) {
    let segment = Phdr { offset: 0x1000, paddr: ENTRY, filesz: 0x1000, memsz: 0x1000 };
    let kernel = elf_with(ENTRY, &[segment]);
    let image = Image {
        kernel: File { name: "vmlinux", bytes: &kernel },
        initrd: None,
        modules: Vec::new(),
        cmdline: "",
    };
    vm.start(&image, host).unwrap();
}

/// A VM with `settings` whose guest does what `script` says.
pub fn started_with(settings: Settings, script: impl FnOnce(&mut FakeVcpu)) -> Vm<FakeVcpu, FlatMemory> {
    let mut vcpu = FakeVcpu::new();
    script(&mut vcpu);
    let mut vm = created(settings, vcpu);
    start(&mut vm, &FakeHost::default());
    vm
}

/// A VM whose guest does what `script` says.
pub fn started(script: impl FnOnce(&mut FakeVcpu)) -> Vm<FakeVcpu, FlatMemory> {
    started_with(settings(), script)
}

/// The guest's step of writing `value` to MSR `index`.
pub fn wrmsr(index: u32, value: u64) -> impl FnOnce(&mut FakeVcpu) -> Exit {
    move |vcpu| {
        vcpu.state.gprs.set(Gpr::Rcx, index.into());
        vcpu.state.gprs.set(Gpr::Rax, value & 0xffff_ffff);
        vcpu.state.gprs.set(Gpr::Rdx, value >> 32);
        Exit::WriteMsr
    }
}

/// The guest's step of reading MSR `index`.
pub fn rdmsr(index: u32) -> impl FnOnce(&mut FakeVcpu) -> Exit {
    move |vcpu| {
        vcpu.state.gprs.set(Gpr::Rcx, index.into());
        Exit::ReadMsr
    }
}

fn io(vcpu: &FakeVcpu, port: u16, size_bytes: u8, direction: Direction) -> Exit {
    let next_rip = vcpu.state.rip + 1;
    Exit::Io(IoExit { port: Port(port), size_bytes, direction, operand: IoOperand::Accumulator, next_rip })
}

/// The guest's step of writing `value` to `port`.
pub fn out(port: u16, size_bytes: u8, value: u32) -> impl FnOnce(&mut FakeVcpu) -> Exit {
    move |vcpu| {
        vcpu.state.gprs.set(Gpr::Rax, value.into());
        io(vcpu, port, size_bytes, Direction::Out)
    }
}

/// The guest's step of reading `port`.
pub fn inp(port: u16, size_bytes: u8) -> impl FnOnce(&mut FakeVcpu) -> Exit {
    move |vcpu| io(vcpu, port, size_bytes, Direction::In)
}

/// RFLAGS.TF.
pub const TRAP_FLAG: u64 = 1 << 8;

/// RFLAGS with interrupts enabled.
pub const INTERRUPTS_ON: u64 = 0x202;
