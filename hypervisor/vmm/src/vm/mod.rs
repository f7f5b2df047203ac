//! One VM: what it consists of, how it starts, how it is served, how it ends.

mod apic;
mod ending;
mod history;
mod host;
mod lifecycle;
mod profile;
mod report;
mod serve;
mod tasks;
#[cfg(test)]
mod tests;

pub use ending::{Ending, EndingLine, Fault};
pub use host::{Host, Moment};
pub use lifecycle::{Lifecycle, PageInMap, Served};
pub use profile::{ExitProfile, Profile};
pub use report::{CrashReport, Line};
pub use tasks::{BrokenDevice, NetStep};

use crate::exits::{Msrs, VmClock};
use crate::layout::RamLayout;
use crate::loader::{self, Image, LoadError, Loaded, Problem};
use crate::platform::pci::PciBus;
pub use crate::platform::pci::{DEVICES_MAX, Model, Slots};
use crate::platform::{self, Board};
use crate::stats::Stats;
use alloc::string::String;
use alloc::vec::Vec;
use apic::ApicKeeper;
use backends::VmConsole;
use base::{Gpa, Instant, Nanoseconds, TscScale, VmName};
use config::OnReset;
use core::{mem, ops::Range};
use devices::{acpi, lapic};
use history::History;
use seams::GuestMemory;
use serve::Attention;
use vcpu::cpuid::{Cpuid, GuestCpu, Registers, TscStability};
use vcpu::emulate::Decodings;
use vcpu::{Vcpu, Wanted};

/// Whether a VM has the debug exit port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugExitPort {
    /// Writing to it ends the VM.
    Present,
    /// The port is like any other without a device.
    Absent,
}

/// What a VM is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub name: VmName,
    /// Its RAM, which its memory is mapped by.
    pub ram: RamLayout,
    /// The part of its RAM, if any, that its processor does not reach itself: each access there is emulated.
    pub withheld: Option<Range<Gpa>>,
    /// What a reset asked for by the guest does.
    pub on_reset: OnReset,
    /// Which device gets what is typed.
    pub console: config::VmConsole,
    /// Whether it has the debug exit port.
    pub debug_exit: DebugExitPort,
    /// Whether it keeps a profile of its exits.
    pub exit_profile: ExitProfile,
    /// The frequency of the host's TSC, and so of the guest's.
    pub tsc: TscScale,
    /// Whether that is steady.
    pub tsc_stability: TscStability,
    /// The wall-clock time at [`Instant`] zero, since 1970 UTC.
    pub wall_clock_at_zero: Nanoseconds,
    /// Its devices on PCI, in slots 1 and up: [`DEVICES_MAX`] at most.
    pub devices: Vec<Model>,
}

/// A virtual machine with one vCPU.
pub struct Vm<V: Vcpu, M: GuestMemory> {
    pub(crate) settings: Settings,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) vcpu: V,
    pub(crate) memory: M,
    pub(crate) board: Board,
    pub(crate) cpuid: Cpuid,
    pub(crate) msrs: Msrs,
    pub(crate) stats: Stats,
    /// What its instructions at devices were decoded to.
    pub(crate) decodings: Decodings,
    history: History,
    profile: Option<Profile>,
    /// The deadline that the host's timer was last asked for.
    deadline: Option<Instant>,
    /// Whether the guest's processor can reach the local APIC's page.
    apic_page: PageInMap,
    /// Who runs the local APIC.
    apic_keeper: ApicKeeper,
    /// The vectors whose ends exit, as 256 bits, while the processor runs the local APIC.
    exiting_ends: [u64; 4],
    /// When it was last told that a driver has broken the rules.
    broken_told: Option<Instant>,
    /// What has to be looked at before the next entry.
    attention: Attention,
    /// Whether the vCPU still has to tell when the guest can take an interrupt. Its doing so fulfils the wish.
    pub(crate) window: Wanted,
    /// Whether the vCPU has to tell when the guest writes CR8.
    task_priority_exits: Wanted,
}

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// A VM with nothing loaded, on a host whose CPUID instruction is `host_cpuid(leaf, subleaf)`. All memory that it
    /// will need in the hypervisor is allocated here and by [`Vm::start`].
    pub fn new(
        mut settings: Settings,
        vcpu: V,
        memory: M,
        host_cpuid: impl Fn(u32, u32) -> Registers,
    ) -> Self {
        let Settings { tsc, tsc_stability, .. } = settings;
        let pci = PciBus::new(mem::take(&mut settings.devices));
        let cpu = GuestCpu { apic_id: platform::APIC_ID, apic_timer_hz: lapic::BUS_HZ, tsc, tsc_stability };
        Self {
            lifecycle: Lifecycle::Created,
            vcpu,
            memory,
            board: Board::new(&settings, VmConsole::new(), pci, Instant::default()),
            cpuid: Cpuid::new(host_cpuid, &cpu),
            msrs: Msrs::new(VmClock::starting(Instant::default(), tsc)),
            stats: Stats::default(),
            decodings: Decodings::default(),
            history: History::default(),
            profile: (settings.exit_profile == ExitProfile::Kept).then(Profile::new).flatten(),
            deadline: None,
            apic_page: PageInMap::Hidden,
            apic_keeper: ApicKeeper::Model,
            exiting_ends: [0; 4],
            broken_told: None,
            attention: Attention::None,
            window: Wanted::No,
            task_priority_exits: Wanted::No,
            settings,
        }
    }

    /// Makes devices and vCPU as after power-on, loads `image`, and lets the VM run. The console stays as it is.
    ///
    /// # Errors
    /// As the loader says; the VM is [`Lifecycle::Created`] then.
    pub fn start(&mut self, image: &Image<'_>, host: &impl Host) -> Result<Loaded, LoadError> {
        self.lifecycle = Lifecycle::Created;
        self.board.power_on(&self.settings, host.now());
        let acpi = acpi::build(&acpi::Platform { vcpus: 1 }).map_err(|error| LoadError {
            file: String::from(image.kernel.name),
            problem: Problem::Acpi(error),
        })?;
        let loaded = loader::load(image, self.settings.ram, &acpi, &self.memory)?;
        self.vcpu.load(&loaded.state);
        // Loading takes long: the guest's time begins when it does, by clock and TSC alike.
        let begin = host.moment();
        self.msrs = Msrs::new(VmClock::starting(begin.time, self.settings.tsc));
        self.vcpu.set_tsc_offset(0_u64.wrapping_sub(begin.tsc));
        self.vcpu.want_interrupt_window(Wanted::No);
        self.vcpu.want_nmi_window(Wanted::No);
        self.vcpu.want_task_priority_exits(Wanted::No);
        (self.window, self.task_priority_exits) = (Wanted::No, Wanted::No);
        self.apic_keeper = ApicKeeper::Model;
        self.lifecycle = Lifecycle::Running;
        Ok(loaded)
    }

    /// Its name.
    pub fn name(&self) -> VmName {
        self.settings.name
    }

    /// Its state.
    pub fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// Its vCPU, for whoever moves it to another CPU.
    pub fn vcpu_mut(&mut self) -> &mut V {
        &mut self.vcpu
    }

    /// Its vCPU and its memory, to be given back: the VM has ended for good.
    pub fn into_parts(self) -> (V, M) {
        (self.vcpu, self.memory)
    }

    /// Changes what its nested tables say; the vCPU drops what it has cached of them.
    pub fn change_memory<T>(&mut self, change: impl FnOnce(&mut M) -> T) -> T {
        let changed = change(&mut self.memory);
        self.vcpu.flush_nested();
        changed
    }

    /// Changes its vCPU's state, without a look at whether a processor can be in it.
    #[cfg(feature = "seeded-faults")]
    pub fn change_state(&mut self, change: impl FnOnce(&mut vcpu::VcpuState)) {
        let mut state = self.vcpu.save();
        change(&mut state);
        self.vcpu.load(&state);
    }

    /// Its memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Its console: what the guest wrote is read here, and what is offered the guest can read once it is served.
    pub fn console_mut(&mut self) -> &mut VmConsole {
        &mut self.board.fabric.local.console
    }

    /// Its counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Which exits it took most often, if it keeps count.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// The line that says how it ended, if it has.
    pub fn ending_line(&self) -> Option<EndingLine> {
        match self.lifecycle {
            Lifecycle::Ended(ending) => Some(EndingLine { name: self.settings.name, ending }),
            _ => None,
        }
    }

    /// Registers and last exits, if it crashed.
    pub fn crash_report(&self) -> Option<CrashReport> {
        match self.lifecycle {
            Lifecycle::Ended(ending) if ending.is_crash() => Some(CrashReport {
                name: self.settings.name,
                state: self.vcpu.save(),
                history: self.history.clone(),
            }),
            _ => None,
        }
    }
}
