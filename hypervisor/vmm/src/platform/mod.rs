//! The board: a VM's devices by value, and which of them answers where.
//!
//! ```text
//!  guest -- port --> UART, PIT, RTC, ACPI PM, keyboard controller, reset, debug exit
//!    |                 | lines                        | requests
//!    |                 v                              v
//!    +-- port ----> 8259 pair --ExtINT--> local APIC   (taken by the VM's loop)
//!    +-- memory --> IOAPIC ---message--> local APIC --> vCPU
//!    +-- both ----> PCI bus --lines and messages--> as above
//! ```
//!
//! Devices know neither each other nor the VM: lines and messages meet in [`Fabric`].

#[cfg(test)]
mod documented;
mod fabric;
mod memory;
pub mod pci;
mod ports;
#[cfg(test)]
mod tests;

pub use fabric::{APIC_ID, Fabric};

use crate::vm::{DebugExitPort, Settings};
use backends::VmConsole;
use base::Instant;
use core::mem;
use devices::pci::Slot;
use devices::{
    AcpiPm, DebugExit, Device, I8042, I8254, Request, ResetControl, RtcCmos, Uart16550, platform as place,
};
use pci::PciBus;
use seams::ByteSource;
use vcpu::Wanted;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Whether a device answered an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// One did.
    Claimed,
    /// None did: a read gave ones, a write went nowhere.
    Unclaimed,
}

/// Who gets what is typed on the VM's console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputTo {
    /// The serial line.
    Uart,
    /// The virtio console in this slot, as long as its driver wants it to work.
    Virtio(Slot),
    /// The same, but the guest has no buffers left. It kicks when it has some.
    VirtioFull(Slot),
}

/// All devices of a VM.
pub struct Board {
    uart: Uart16550,
    pit: I8254,
    rtc: RtcCmos,
    pm: AcpiPm,
    keyboard: I8042,
    reset: ResetControl,
    debug_exit: Option<DebugExit>,
    pub(crate) pci: PciBus,
    /// Who gets what is typed.
    pub(crate) input: InputTo,
    /// What the devices share.
    pub fabric: Fabric,
}

impl Board {
    /// The board after power-on, with `pci` as it is.
    pub fn new(settings: &Settings, console: VmConsole, pci: PciBus, now: Instant) -> Self {
        Self {
            uart: Uart16550::new(place::COM1, place::COM1_GSI),
            pit: I8254::new(),
            rtc: RtcCmos::new(settings.wall_clock_at_zero.0 / NANOSECONDS_PER_SECOND),
            pm: AcpiPm::new(),
            keyboard: I8042::new(),
            reset: ResetControl::new(),
            debug_exit: (settings.debug_exit == DebugExitPort::Present).then_some(DebugExit),
            pci,
            input: InputTo::Uart,
            fabric: Fabric::new(console, now),
        }
    }

    /// The board as after power-on, at `now`. What stands outside of it stays: what is on the console's way, and what the
    /// PCI devices are. Out of line: the new board is on the stack for a moment, and not while a kernel is loaded.
    #[inline(never)]
    pub fn power_on(&mut self, settings: &Settings, now: Instant) {
        let console = mem::take(&mut self.fabric.local.console);
        let pci = mem::take(&mut self.pci);
        *self = Self::new(settings, console, pci, now);
        self.pci.reset(&mut self.fabric);
    }

    /// When [`Board::advance`] must be called next.
    #[inline]
    pub fn next_deadline(&self) -> Option<Instant> {
        let ours = [
            self.fabric.local.lapic.next_deadline(),
            self.pit.next_deadline(),
            self.uart.next_deadline(),
            self.rtc.next_deadline(),
            self.pm.next_deadline(),
        ];
        // In fewer steps than by comparing what may not be there.
        let first = ours
            .into_iter()
            .fold(Instant::FAR_FUTURE, |first, deadline| first.min(deadline.unwrap_or(Instant::FAR_FUTURE)));
        (first != Instant::FAR_FUTURE).then_some(first)
    }

    /// Whether anything but the local APIC's timer waits for [`Board::advance`] at `now`.
    #[inline]
    pub fn others_are_due(&self, now: Instant) -> bool {
        let others = [
            self.pit.next_deadline(),
            self.uart.next_deadline(),
            self.rtc.next_deadline(),
            self.pm.next_deadline(),
        ];
        self.fabric.local.console.has_input() || others.into_iter().flatten().any(|deadline| deadline <= now)
    }

    /// Takes every step that is due at `now`, and input that has come.
    #[inline]
    pub fn advance(&mut self, now: Instant) {
        self.fabric.local.now = now;
        self.fabric.local.lapic.advance(now);
        advance_if_due(&mut self.pit, &mut self.fabric);
        advance_if_due(&mut self.uart, &mut self.fabric);
        advance_if_due(&mut self.rtc, &mut self.fabric);
        advance_if_due(&mut self.pm, &mut self.fabric);
        self.receive();
    }

    /// Gives the UART input for as long as there is some for it and it has room.
    #[inline]
    fn receive(&mut self) {
        while let Some(byte) = self.typed() {
            if let Err(byte) = self.uart.receive(&mut self.fabric, byte) {
                // Not kept for the UART: nobody may ever read there, and a virtio console's driver may come.
                self.fabric.local.console.put_back(byte);
                return;
            }
        }
    }

    /// The next byte that was typed for the UART.
    fn typed(&mut self) -> Option<u8> {
        if !self.fabric.local.console.has_input() {
            return None;
        }
        let wanted_elsewhere = match self.input {
            InputTo::Uart => Wanted::No,
            InputTo::Virtio(slot) => self.pci.kick(&mut self.fabric, slot),
            InputTo::VirtioFull(slot) => self.pci.wants(slot),
        };
        if wanted_elsewhere == Wanted::Yes {
            return None;
        }
        // A guest that has let go of its virtio console listens on its serial line.
        self.input = InputTo::Uart;
        self.fabric.local.console.take()
    }

    /// What the guest asked of its whole machine since this was last called.
    #[inline]
    pub fn take_request(&mut self) -> Option<Request> {
        // Nearly always there is none: nothing needs to be written then.
        self.fabric.local.request?;
        self.fabric.local.request.take()
    }
}

#[inline]
fn advance_if_due(device: &mut impl Device, fabric: &mut Fabric) {
    if device.next_deadline().is_some_and(|deadline| deadline <= fabric.local.now) {
        device.advance(fabric);
    }
}
