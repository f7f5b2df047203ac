//! The order in which the host comes up.
//!
//! ```text
//!  on boot's tables:  exceptions ─ handoff ─ CPU protection ─ our tables
//!  on our tables:     memory ─ stacks ─ configuration ─ serial line ─ ACPI ─ interrupts, clock ─ virtualization ─ PCI ─ VMs
//! ```
//!
//! Unsafe because the handoff block is read where boot put it, and because each step here fulfils what the unsafe
//! functions of `machine` and `memory` ask for: that it is done once, on this CPU, in this order.

mod board;
mod devices;
mod stacks;

pub use stacks::PER_CPU_BYTES as PER_CPU_STACK_BYTES;

use crate::dying::refuse;
use crate::entropy::HostEntropy;
use crate::guests::{Backing, Ground, Guests};
use crate::ledger::FixedMemory;
use crate::line::Line;
use crate::network::Networks;
use crate::operator::Desk;
use crate::overrides;
use crate::power::Power;
use crate::run::{self, Host};
use crate::storage::Storage;
use crate::strays::Strays;
use crate::version;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use base::{CpuId, Instant, Nanoseconds};
use board::{Acpi, Board};
use config::{Config, LogLevel};
use console::Terminal;
use handoff::{HEADER_BYTES, Handoff, Header, RegionKind};
use iommu::HostDma;
use log::{LevelFilter, info, warn};
use machine::clock::{Calibration, HostClock, Timer};
use machine::cpu::{Cpu, Features};
use memory::{HostSpace, SharedMemory, View};
use paging::Level;
use sched::RunQueue;
use serving::Alarm;
use vcpu::cpuid::TscStability;

/// What passes from boot's tables to ours; on the heap, which lies in the image.
struct Passage {
    handoff: Handoff,
    cpu: Cpu,
    protection: Features,
}

/// The first half, on boot's page tables and stack.
pub fn on_boot_tables(handoff_address: u64) -> ! {
    machine::log::init(LevelFilter::Info);
    stacks::install_first();
    let handoff = read_handoff(handoff_address).unwrap_or_else(|error| refuse(&error));
    stacks::tell_epitaph(&handoff.image, &[stacks::of_boot(&handoff)]);
    let cpu = Cpu::detect();
    let protection = machine::cpu::protect(&cpu);
    let largest_leaf = if cpu.has(Features::PAGES_1G) { Level::Pointer } else { Level::Directory };
    // SAFETY: boot has mapped all memory at its physical address (docs/boot.md), and nothing of ours uses free memory yet.
    let space = unsafe { HostSpace::build(&handoff, largest_leaf) }.unwrap_or_else(|error| refuse(&error));
    let passage = Box::into_raw(Box::new(Passage { handoff, cpu, protection }));
    // SAFETY: this is the boot CPU, interrupts are masked since entry, the descriptor tables and the passage are in
    // the image, and boot's stack and the handoff's block are not used again.
    unsafe { space.activate(on_own_tables, passage.expose_provenance()) }
}

/// Reads and checks the handoff block.
fn read_handoff(address: u64) -> Result<Handoff, handoff::HandoffError> {
    let start = core::ptr::with_exposed_provenance::<u8>(address as usize);
    // SAFETY: boot passes the address of the block, which has a header at least and is mapped (docs/boot.md).
    let header = unsafe { &*start.cast::<[u8; HEADER_BYTES]>() };
    let len_bytes = Header::parse(header)?.total_bytes();
    // SAFETY: the header is boot's and undamaged, so the block is as long as it says.
    handoff::parse(unsafe { core::slice::from_raw_parts(start, len_bytes) })
}

/// The second half, on our own.
extern "sysv64" fn on_own_tables(passage: usize) -> ! {
    run::for_ever(host(passage))
}

/// Makes all that the CPU's loop works with. Not inlined: what is only needed here leaves the stack with it.
#[inline(never)]
fn host(passage: usize) -> Box<Host> {
    // SAFETY: `on_boot_tables` leaked the box for this.
    let passage = unsafe { Box::from_raw(core::ptr::with_exposed_provenance_mut::<Passage>(passage)) };
    let Passage { handoff, cpu, protection } = *passage;
    // SAFETY: `activate` has just entered the space that was built from this handoff.
    let memory = unsafe { memory::host::start(&handoff) }.unwrap_or_else(|error| refuse(&error));
    stacks::install_guarded(memory, &handoff).unwrap_or_else(|error| refuse(&error));

    let config = read_config(memory, &handoff).unwrap_or_else(|error| refuse(&error));
    machine::log::set_level(level_filter(config.host.log));
    let acpi = Acpi::read(memory, &handoff);
    let mut line = Line::open(board::console_port(config.host.console, &acpi));
    introduce(&handoff, &cpu, protection);
    #[cfg(feature = "seeded-faults")]
    crate::faults::choose(&handoff.overrides).unwrap_or_else(|error| refuse(&error));
    let apics = overrides::apic_virtualization(&handoff.overrides).unwrap_or_else(|error| refuse(&error));
    acpi.report();
    line.settle();

    let (alarm, calibration) = start_alarm(memory, &cpu, &config, &acpi, &mut line);
    line.settle();

    // The decoder makes its tables on the heap at first use: not on an exit.
    vcpu::decode::prepare();
    let engine = virt::bring_up(CpuId(0), alarm.apic.id(), apics, &mut { memory })
        .unwrap_or_else(|error| refuse(&error));
    info!("virtualization: {engine}");
    acpi.report_iommus();
    let mut devices = devices::start(memory, &acpi, alarm.apic.id(), alarm.clock);
    line.settle();
    let power = Power(acpi.power());
    drop(acpi);
    let released = memory.lock().release_all(&handoff, RegionKind::AcpiReclaim);
    released.unwrap_or_else(|error| warn!("the memory of ACPI's tables stays unused: {error}"));

    let clock = alarm.clock;
    let wall_clock_at_zero = wall_clock_at_zero(&handoff, clock);
    let fixed = FixedMemory::of(&handoff);
    let since_firmware = clock.tsc().scale.nanoseconds(machine::tsc::read() - handoff.tsc_at_exit);
    info!("bring-up took {} ns", since_firmware.0);
    // The first file was the configuration.
    let files = handoff.files.into_iter().skip(1).collect();
    let stable = cpu.has(Features::INVARIANT_TSC);
    let tsc_stability = if stable { TscStability::Invariant } else { TscStability::Unknown };
    let ground = Ground { files, memory, clock, tsc_stability, wall_clock_at_zero };
    let storage = Storage::new(&mut devices, HostDma::new(memory), clock);
    let networks = Networks::new(&config, &devices);
    let mut backing = Backing::new(storage, networks, &devices);
    let entropy = HostEntropy::new(&handoff.entropy);
    let guests = Guests::new(&config, ground, &engine, &mut backing);
    let mut host_lines = Vec::from([
        format!("CPU {cpu}"),
        format!("clock TSC {calibration}"),
        format!("timer {}", alarm.timer.report()),
        format!("virtualization {engine}"),
    ]);
    host_lines.extend(devices.disk_lines().into_iter().chain(devices.card_lines()));
    let cpus = format!("CPU 0: {engine}, {}", engine.mitigations());
    line.settle();
    Box::new(Host {
        clock,
        alarm,
        engine,
        memory,
        queue: RunQueue::new(),
        desk: Desk {
            guests,
            backing,
            devices,
            host_lines,
            cpus,
            memory,
            fixed,
            start_wanted: None,
            power_off_wanted: false,
        },
        terminal: Terminal::new(config.host.attach),
        line,
        power,
        when_idle: config.host.when_idle,
        strays: Strays::default(),
        entropy,
        scrub_took: base::Nanoseconds(0),
        no_scrub_before: Instant(0),
    })
}

/// The log's first lines: who is here, and on what.
fn introduce(handoff: &Handoff, cpu: &Cpu, protection: Features) {
    info!("Cofferdam {} ({})", version::VERSION, version::BUILD_ID);
    info!("booted by {}", handoff.boot_build_id);
    info!("CPU: {cpu}");
    info!("protection: {}", names(protection));
    if !handoff.overrides.is_empty() {
        info!("boot overrides: {}", handoff.overrides);
    }
}

/// Starts what tells the time and what interrupts: clock, interrupt controllers, timer.
fn start_alarm(
    memory: &'static SharedMemory,
    cpu: &Cpu,
    config: &Config,
    acpi: &Acpi,
    line: &mut Line,
) -> (Alarm, Calibration) {
    let (clock, calibration) = HostClock::start(cpu, acpi.pm_timer()).unwrap_or_else(|error| refuse(&error));
    info!("clock: TSC {calibration}");
    let mut board = Board::take_over(memory, cpu, acpi).unwrap_or_else(|error| refuse(&error));
    board.route_console(config.host.console, acpi, line);
    let apic = board.apic;
    let timer = Timer::start(apic, cpu, clock).unwrap_or_else(|error| refuse(&error));
    info!("timer: {}", timer.report());
    (Alarm { apic, timer, clock }, calibration)
}

/// Parses the configuration once more: what boot made of it is not believed.
fn read_config(memory: &'static SharedMemory, handoff: &Handoff) -> Result<Config, alloc::string::String> {
    let file = handoff.files.first().ok_or("the handoff has no configuration")?;
    let view = View::new(memory, file.range).map_err(|error| format!("{}: {error}", file.path))?;
    let config = config::parse_bytes(&view).map_err(|error| format!("{error}"))?;
    view.release().map_err(|error| format!("{}: {error}", file.path))?;
    Ok(config)
}

/// The wall-clock time at [`Instant`] zero. Without a clock in the machine it is 1970, and says so.
fn wall_clock_at_zero(handoff: &Handoff, clock: &HostClock) -> Nanoseconds {
    let Some(seconds) = handoff.wall_clock_s else {
        warn!("the firmware has no wall clock: guests start in 1970");
        return Nanoseconds(0);
    };
    // Boot read it just before it left firmware.
    let since_boot = clock.tsc().scale.nanoseconds(machine::tsc::read().saturating_sub(handoff.tsc_at_exit));
    let since_zero = seams::Clock::now(clock).since(Instant(0));
    let at_now = Nanoseconds::from_secs(seconds).0.saturating_add(since_boot.0);
    Nanoseconds(at_now.saturating_sub(since_zero.0))
}

const fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    }
}

fn names(features: Features) -> alloc::string::String {
    features.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
}
