//! One VM: what it consists of, how it starts, how it is served, how it ends.

mod ending;
mod history;
mod host;
mod lifecycle;
mod report;

pub use ending::{Ending, EndingLine, Fault};
pub use host::Host;
pub use lifecycle::{Lifecycle, Served};
pub use report::{CrashReport, Line};

use crate::layout::RamLayout;
use crate::loader::{Image, LoadError, Loaded};
use crate::stats::Stats;
use backends::VmConsole;
use base::{Instant, Nanoseconds, TscScale, VmName};
use config::OnReset;
use core::marker::PhantomData;
use seams::GuestMemory;
use vcpu::Vcpu;
use vcpu::cpuid::{Registers, TscStability};

/// Whether a VM has the debug exit port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugExitPort {
    /// Writing to it ends the VM.
    Present,
    /// The port is like any other without a device.
    Absent,
}

/// What a VM is made from.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Its name.
    pub name: VmName,
    /// Its RAM, which its memory is mapped by.
    pub ram: RamLayout,
    /// What a reset asked for by the guest does.
    pub on_reset: OnReset,
    /// Whether it has the debug exit port.
    pub debug_exit: DebugExitPort,
    /// The frequency of the host's TSC, and so of the guest's.
    pub tsc: TscScale,
    /// Whether that is steady.
    pub tsc_stability: TscStability,
    /// The wall-clock time at [`Instant`] zero, since 1970 UTC.
    pub wall_clock_at_zero: Nanoseconds,
}

/// A virtual machine with one vCPU.
pub struct Vm<V: Vcpu, M: GuestMemory> {
    settings: Settings,
    lifecycle: Lifecycle,
    stats: Stats,
    console: VmConsole,
    parts: PhantomData<(V, M)>,
}

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// A VM with nothing loaded, on a host whose CPUID instruction is `host_cpuid(leaf, subleaf)`.
    pub fn new(
        settings: Settings,
        _vcpu: V,
        _memory: M,
        _host_cpuid: impl Fn(u32, u32) -> Registers,
    ) -> Self {
        Self {
            settings,
            lifecycle: Lifecycle::Created,
            stats: Stats::default(),
            console: VmConsole::new(),
            parts: PhantomData,
        }
    }

    /// Makes devices and vCPU as after power-on, loads `image`, and lets the VM run.
    ///
    /// # Errors
    /// As the loader says; the VM stays [`Lifecycle::Created`] then.
    pub fn start(&mut self, _image: &Image<'_>, _host: &impl Host) -> Result<Loaded, LoadError> {
        todo!()
    }

    /// Runs the VM until it gives the CPU up. Host interrupts are masked before and after.
    pub fn serve(&mut self, _host: &mut impl Host) -> Served {
        todo!()
    }

    /// Whether serving it now would do something: it runs, or it is halted and what it waits for is there or due.
    pub fn wants_cpu(&mut self, _now: Instant) -> bool {
        todo!()
    }

    /// Its name.
    pub fn name(&self) -> VmName {
        self.settings.name
    }

    /// Its state.
    pub fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// Its console: what the guest wrote is read here, and what is offered the guest can read.
    pub fn console_mut(&mut self) -> &mut VmConsole {
        &mut self.console
    }

    /// Its counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
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
        todo!()
    }
}
