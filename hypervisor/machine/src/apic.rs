//! The local APIC: by MSRs in x2APIC mode, by a page of registers in xAPIC mode.
//!
//! Unsafe because in x2APIC mode its registers are MSRs.
//!
//! Sources: Intel SDM, volume 3, chapter 11 (offsets: table 11-1); AMD APM, volume 2, chapter 16.

use crate::{Mmio, msr, vectors};
use base::{ApicId, Hpa, Vector};
use core::fmt;

/// Where the xAPIC's registers are unless firmware has moved them.
pub const XAPIC_DEFAULT_BASE: u64 = 0xfee0_0000;
/// How many bytes of registers there are.
pub const XAPIC_BYTES: usize = 4096;

/// Offsets of the registers in the page; divided by 16, of the MSRs.
mod register {
    pub const ID: u16 = 0x20;
    pub const TASK_PRIORITY: u16 = 0x80;
    pub const END_OF_INTERRUPT: u16 = 0xb0;
    pub const SPURIOUS: u16 = 0xf0;
    pub const ERROR_STATUS: u16 = 0x280;
    pub const COMMAND_LOW: u16 = 0x300;
    pub const COMMAND_HIGH: u16 = 0x310;
    pub const LVT_TIMER: u16 = 0x320;
    pub const LVT_LINT0: u16 = 0x350;
    pub const LVT_LINT1: u16 = 0x360;
    pub const LVT_ERROR: u16 = 0x370;
    pub const TIMER_INITIAL: u16 = 0x380;
    pub const TIMER_CURRENT: u16 = 0x390;
    pub const TIMER_DIVIDE: u16 = 0x3e0;
}

const LVT_MASKED: u32 = 1 << 16;
const LVT_DELIVER_NMI: u32 = 0b100 << 8;
const LVT_TIMER_TSC_DEADLINE: u32 = 0b10 << 17;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const DIVIDE_BY_1: u32 = 0b1011;
const DELIVERY_PENDING: u32 = 1 << 12;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLE: u64 = 1 << 11;
/// How often the delivery status is looked at before an IPI counts as stuck.
const DELIVERY_SPINS: u32 = 1_000_000;

/// How the timer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerSource {
    /// Down from a count, at the frequency of the APIC's bus.
    Count,
    /// Until the TSC reaches a value.
    TscDeadline,
}

/// An inter-processor interrupt that the APIC did not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpiError {
    /// In xAPIC mode ids have 8 bits.
    DestinationTooWide(ApicId),
    /// The one before is still being delivered.
    Stuck,
}

impl fmt::Display for IpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DestinationTooWide(id) => {
                write!(f, "APIC id {} needs x2APIC mode: enable it in the firmware's setup", id.0)
            }
            Self::Stuck => f.write_str("the local APIC does not deliver an interrupt to another CPU"),
        }
    }
}

impl core::error::Error for IpiError {}

#[derive(Debug)]
enum Registers {
    X2Apic,
    XApic(Mmio),
}

impl Registers {
    fn read(&self, register: u16) -> u32 {
        match self {
            // SAFETY: x2APIC mode is on while this variant exists, and only registers of that mode are read.
            Self::X2Apic => unsafe { msr::read(msr::X2APIC_FIRST + u32::from(register >> 4)) as u32 },
            Self::XApic(window) => window.read32(usize::from(register)),
        }
    }

    fn write(&self, register: u16, value: u32) {
        match self {
            // SAFETY: as in `read`; the values leave reserved bits clear.
            Self::X2Apic => unsafe {
                msr::write(msr::X2APIC_FIRST + u32::from(register >> 4), value.into());
            },
            Self::XApic(window) => window.write32(usize::from(register), value),
        }
    }
}

/// The local APIC of the CPU that runs this.
#[derive(Debug)]
pub struct LocalApic {
    registers: Registers,
}

impl LocalApic {
    /// Where this CPU's xAPIC registers are, to be mapped for [`LocalApic::xapic`]; `None` when the APIC is in x2APIC
    /// mode already, which cannot be left.
    pub fn xapic_base() -> Option<Hpa> {
        // SAFETY: every x86-64 CPU has this MSR.
        let base = unsafe { msr::read(msr::IA32_APIC_BASE) };
        (base & BASE_X2APIC == 0).then(|| Hpa::from_low_bits(base).align_down(XAPIC_BYTES as u64))
    }

    /// Turns the local APIC on in x2APIC mode. `cpu` has shown the feature.
    ///
    /// Returns `None` when `cpu` lacks x2APIC.
    pub fn x2apic(cpu: &crate::cpu::Cpu) -> Option<Self> {
        if !cpu.has(crate::cpu::Features::X2APIC) {
            return None;
        }
        // SAFETY: the CPU has x2APIC. From off, xAPIC mode comes first (Intel SDM, volume 3, section 11.12.5).
        unsafe {
            let base = msr::read(msr::IA32_APIC_BASE);
            msr::write(msr::IA32_APIC_BASE, base | BASE_ENABLE);
            msr::write(msr::IA32_APIC_BASE, base | BASE_ENABLE | BASE_X2APIC);
        }
        Some(Self::start(Registers::X2Apic))
    }

    /// Turns the local APIC on in xAPIC mode, with `window` on the registers at [`LocalApic::xapic_base`].
    pub fn xapic(window: Mmio) -> Self {
        // SAFETY: the enable bit alone is added, and the base stays.
        unsafe { msr::write(msr::IA32_APIC_BASE, msr::read(msr::IA32_APIC_BASE) | BASE_ENABLE) };
        Self::start(Registers::XApic(window))
    }

    /// A known state: enabled, every local source masked but LINT1, which is the NMI pin.
    fn start(registers: Registers) -> Self {
        let apic = Self { registers };
        let write = |register, value| apic.registers.write(register, value);
        write(register::SPURIOUS, SOFTWARE_ENABLE | u32::from(vectors::SPURIOUS.0));
        write(register::LVT_TIMER, LVT_MASKED | u32::from(vectors::TIMER.0));
        write(register::LVT_LINT0, LVT_MASKED);
        write(register::LVT_LINT1, LVT_DELIVER_NMI);
        write(register::LVT_ERROR, LVT_MASKED);
        write(register::TIMER_DIVIDE, DIVIDE_BY_1);
        write(register::TIMER_INITIAL, 0);
        write(register::ERROR_STATUS, 0);
        write(register::TASK_PRIORITY, 0);
        apic.end_of_interrupt();
        apic
    }

    /// Whether the APIC is in x2APIC mode.
    pub const fn is_x2apic(&self) -> bool {
        matches!(self.registers, Registers::X2Apic)
    }

    /// This CPU's APIC id.
    pub fn id(&self) -> ApicId {
        let id = self.registers.read(register::ID);
        ApicId(if self.is_x2apic() { id } else { id >> 24 })
    }

    /// Ends the interrupt in service.
    #[inline]
    pub fn end_of_interrupt(&self) {
        self.registers.write(register::END_OF_INTERRUPT, 0);
    }

    /// Sends `vector` to the CPU with APIC id `destination`.
    ///
    /// # Errors
    /// When the id does not fit this mode, or the APIC is stuck.
    pub fn send(&self, destination: ApicId, vector: Vector) -> Result<(), IpiError> {
        match &self.registers {
            Registers::X2Apic => {
                let command = u64::from(destination.0) << 32 | u64::from(vector.0);
                let number = msr::X2APIC_FIRST + u32::from(register::COMMAND_LOW >> 4);
                // In x2APIC mode an IPI is ordered with memory only by a fence (Intel SDM, volume 3, section 11.12.3).
                core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
                // SAFETY: a fixed interrupt to one CPU; its handler only enqueues.
                unsafe { msr::write(number, command) };
                Ok(())
            }
            Registers::XApic(window) => {
                let id =
                    u8::try_from(destination.0).map_err(|_| IpiError::DestinationTooWide(destination))?;
                let low = usize::from(register::COMMAND_LOW);
                if !(0..DELIVERY_SPINS).any(|_| window.read32(low) & DELIVERY_PENDING == 0) {
                    return Err(IpiError::Stuck);
                }
                window.write32(usize::from(register::COMMAND_HIGH), u32::from(id) << 24);
                window.write32(low, u32::from(vector.0));
                Ok(())
            }
        }
    }

    /// Chooses how the timer counts, with nothing armed.
    pub fn set_timer_source(&self, source: TimerSource) {
        self.disarm_count();
        let mode = match source {
            TimerSource::Count => 0,
            TimerSource::TscDeadline => LVT_TIMER_TSC_DEADLINE,
        };
        self.registers.write(register::LVT_TIMER, mode | u32::from(vectors::TIMER.0));
        // The mode is in memory-mapped form, the deadline an MSR: fence (Intel SDM, volume 3, section 11.5.4.1).
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    }

    /// Starts the timer to count down `ticks` once; 0 stops it.
    #[inline]
    pub fn arm_count(&self, ticks: u32) {
        self.registers.write(register::TIMER_INITIAL, ticks);
    }

    /// Stops the countdown.
    pub fn disarm_count(&self) {
        self.arm_count(0);
    }

    /// What is left of the countdown.
    pub fn remaining_count(&self) -> u32 {
        self.registers.read(register::TIMER_CURRENT)
    }

    /// Lets the timer fire when the TSC reaches `tsc`; 0 stops it. Only with [`TimerSource::TscDeadline`].
    #[inline]
    pub(crate) fn arm_deadline(&self, tsc: u64) {
        // SAFETY: `Timer` comes here only where CPUID shows the TSC deadline.
        unsafe { msr::write(msr::IA32_TSC_DEADLINE, tsc) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xapic(page: &mut [u32; 1024]) -> LocalApic {
        // SAFETY: the array stands in for the page of registers and outlives the APIC.
        let window = unsafe { Mmio::new(page.as_mut_ptr().expose_provenance(), XAPIC_BYTES) };
        LocalApic::start(Registers::XApic(window))
    }

    #[test]
    fn it_starts_enabled_with_every_source_masked_but_the_nmi_pin() {
        let mut page = [0xffff_ffff; 1024];
        let apic = xapic(&mut page);
        let read = |register| apic.registers.read(register);
        assert_eq!(read(register::SPURIOUS), 0x1ff);
        assert_eq!(
            [register::LVT_TIMER, register::LVT_LINT0, register::LVT_ERROR].map(read),
            [0x1_00f0, 0x1_0000, 0x1_0000]
        );
        assert_eq!(read(register::LVT_LINT1), 0x400);
        assert_eq!([register::TASK_PRIORITY, register::TIMER_INITIAL].map(read), [0, 0]);
        assert_eq!(read(register::TIMER_DIVIDE), 0b1011);
    }

    #[test]
    fn an_ipi_goes_out_by_the_high_half_first_and_narrow_ids_only() {
        let mut page = [0; 1024];
        let apic = xapic(&mut page);
        assert_eq!(apic.send(ApicId(3), vectors::MESSAGE), Ok(()));
        assert_eq!(apic.send(ApicId(256), vectors::MESSAGE), Err(IpiError::DestinationTooWide(ApicId(256))));
        let read = |register| apic.registers.read(register);
        assert_eq!((read(register::COMMAND_HIGH), read(register::COMMAND_LOW)), (3 << 24, 0xf1));
        apic.registers.write(register::COMMAND_LOW, DELIVERY_PENDING);
        assert_eq!(apic.send(ApicId(3), vectors::MESSAGE), Err(IpiError::Stuck));
    }

    #[test]
    fn the_id_is_in_the_top_byte() {
        let mut page = [0; 1024];
        let apic = xapic(&mut page);
        apic.registers.write(register::ID, 0x0500_0000);
        assert_eq!((apic.id(), apic.is_x2apic()), (ApicId(5), false));
    }
}
