//! The local APIC as saved state.

use super::{LVT_ENTRIES, LocalApic, Mode, Role, VectorSet, register, timer::Timer, timer::TimerMode};
use super::{apic_base, register::writable_bits};
use base::{
    ApicId, Instant,
    state::{SavedState, StateError},
};

/// A local APIC as plain data: its registers, and the timer's next expiry.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
#[allow(missing_docs)] // the fields are the registers of their names
pub struct LocalApicImage {
    #[n(0)]
    pub id: u32,
    /// IA32_APIC_BASE: mode, role and page.
    #[n(1)]
    pub apic_base: u64,
    #[n(2)]
    pub task_priority: u32,
    #[n(3)]
    pub logical_destination: u32,
    #[n(4)]
    pub destination_format: u32,
    #[n(5)]
    pub spurious: u32,
    /// Timer, thermal, performance, LINT0, LINT1, error.
    #[n(6)]
    pub lvt: [u32; LVT_ENTRIES],
    /// The interrupt command register, low half first.
    #[n(7)]
    pub command: [u32; 2],
    /// ESR as it reads, and what the next write to it will show.
    #[n(8)]
    pub errors: [u32; 2],
    #[n(9)]
    pub irr: [u64; 4],
    #[n(10)]
    pub isr: [u64; 4],
    #[n(11)]
    pub tmr: [u64; 4],
    #[n(12)]
    pub divide: u32,
    #[n(13)]
    pub initial_count: u32,
    #[n(14)]
    pub deadline_tsc: u64,
    /// In nanoseconds of the VM's time.
    #[n(15)]
    pub due: Option<u64>,
}

const fn refuse(field: &'static str) -> StateError {
    StateError::OutOfRange { section: LocalApic::SECTION, field }
}

/// `value`, which must have no bit that `register` does not have.
fn checked(value: u32, register: u32, field: &'static str) -> Result<u32, StateError> {
    if value & !writable_bits(register) == 0 { Ok(value) } else { Err(refuse(field)) }
}

impl LocalApicImage {
    fn mode(&self) -> Result<Mode, StateError> {
        let known = apic_base::PAGE | apic_base::ENABLED | apic_base::X2APIC | apic_base::BOOTSTRAP;
        if self.apic_base & !known != 0 {
            return Err(refuse("apic_base"));
        }
        match (self.apic_base & apic_base::ENABLED != 0, self.apic_base & apic_base::X2APIC != 0) {
            (false, false) => Ok(Mode::Disabled),
            (true, false) => Ok(Mode::XApic),
            (true, true) => Ok(Mode::X2Apic),
            (false, true) => Err(refuse("apic_base")),
        }
    }

    fn command(&self, mode: Mode) -> Result<[u32; 2], StateError> {
        let [low, high] = self.command;
        let low = checked(low, register::ICR, "command")?;
        match mode {
            Mode::X2Apic => Ok([low, high]),
            _ => Ok([low, checked(high, register::ICR_HIGH, "command")?]),
        }
    }

    fn errors(&self) -> Result<[u32; 2], StateError> {
        let [shown, since] = self.errors;
        if (shown | since) & !register::error::ALL != 0 { Err(refuse("errors")) } else { Ok(self.errors) }
    }

    fn lvt(&self, enabled: bool) -> Result<[u32; LVT_ENTRIES], StateError> {
        for (entry, register) in self.lvt.iter().zip(register::LVT_FIRST..) {
            checked(*entry, register, "lvt")?;
            if !enabled && entry & register::LVT_MASKED == 0 {
                return Err(refuse("lvt"));
            }
        }
        Ok(self.lvt)
    }

    fn timer(&self) -> Result<Timer, StateError> {
        let [entry, ..] = self.lvt;
        let mode = TimerMode::of(entry);
        if mode != TimerMode::TscDeadline && self.deadline_tsc != 0 {
            return Err(refuse("deadline_tsc"));
        }
        if mode == TimerMode::TscDeadline && self.initial_count != 0 {
            return Err(refuse("initial_count"));
        }
        let divide = checked(self.divide, register::DIVIDE, "divide")?;
        let (initial_count, deadline_tsc) = (self.initial_count, self.deadline_tsc);
        Ok(Timer { mode, divide, initial_count, deadline_tsc, due: self.due.map(Instant) })
    }
}

impl SavedState for LocalApic {
    const SECTION: &'static str = "local-apic";
    const VERSION: u16 = 1;
    type Image = LocalApicImage;

    fn save(&self) -> LocalApicImage {
        LocalApicImage {
            id: self.id.0,
            apic_base: self.apic_base(),
            task_priority: self.task_priority,
            logical_destination: self.logical_destination,
            destination_format: self.destination_format,
            spurious: self.spurious,
            lvt: self.lvt,
            command: self.command,
            errors: [self.errors_shown, self.errors_since],
            irr: self.irr.words(),
            isr: self.isr.words(),
            tmr: self.tmr.words(),
            divide: self.timer.divide,
            initial_count: self.timer.initial_count,
            deadline_tsc: self.timer.deadline_tsc,
            due: self.timer.due.map(|Instant(ns)| ns),
        }
    }

    fn load(&mut self, image: LocalApicImage) -> Result<(), StateError> {
        let mode = image.mode()?;
        let bootstrap = image.apic_base & apic_base::BOOTSTRAP != 0;
        let spurious = checked(image.spurious, register::SVR, "spurious")?;
        let enabled = spurious & register::SVR_ENABLED != 0 && mode != Mode::Disabled;
        let [errors_shown, errors_since] = image.errors()?;
        *self = Self {
            id: ApicId(image.id),
            role: if bootstrap { Role::Bootstrap } else { Role::Application },
            mode,
            page: image.apic_base & apic_base::PAGE,
            task_priority: checked(image.task_priority, register::TPR, "task_priority")?,
            logical_destination: checked(image.logical_destination, register::LDR, "logical_destination")?,
            destination_format: checked(image.destination_format, register::DFR, "destination_format")?,
            spurious,
            lvt: image.lvt(enabled)?,
            command: image.command(mode)?,
            errors_shown,
            errors_since,
            irr: VectorSet::from_words(image.irr).ok_or(refuse("irr"))?,
            isr: VectorSet::from_words(image.isr).ok_or(refuse("isr"))?,
            tmr: VectorSet::from_words(image.tmr).ok_or(refuse("tmr"))?,
            timer: image.timer()?,
        };
        Ok(())
    }
}
