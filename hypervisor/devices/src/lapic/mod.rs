//! One virtual CPU's local APIC, in xAPIC and x2APIC mode (Intel SDM, volume 3, chapter 11; sections are its).
//!
//! ```text
//!   Disabled --EN--> XApic --EXTD--> X2Apic        set_apic_base; every other change but to Disabled faults
//!      ^---------------+---------------+
//!
//!   accept, timer, pins --> IRR --acknowledge--> ISR --EOI--> gone   (level: the IOAPICs are told)
//! ```
//! An interrupt is pending when its priority class is above the processor priority's: the higher of TPR's and the
//! highest ISR vector's (11.8.3.1).
//!
//! Unlike other devices it belongs to one vCPU and answers on the hot path, so it takes no [`crate::Cx`]: the time is a
//! parameter, and what others must do is returned.

mod access;
mod handover;
mod message;
mod register;
mod saved;
mod timer;
mod vectors;

pub use handover::Changed;
pub use message::{Delivery, Message, Recipients};
pub use saved::LocalApicImage;
pub use timer::{BUS_HZ, MIN_PERIOD};

use crate::message::{DeliveryMode, Destination, InterruptMessage, Trigger};
use base::{ApicId, Gpa, Instant, TscLine, Vector};
use register::{LVT_MASKED, SVR_ENABLED, error};
use timer::Timer;
use vectors::{FIRST_LEGAL_VECTOR, VectorSet};

/// Whether the processor starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The bootstrap processor.
    Bootstrap,
    /// Another one, started by INIT and SIPI.
    Application,
}

/// The modes of a local APIC (11.12.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Off: CPUID says that there is none.
    Disabled,
    /// Registers in a page of memory.
    XApic,
    /// Registers in MSRs 0x800-0x8FF.
    X2Apic,
}

/// The access raises `#GP(0)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

/// What a register write asks others to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Deliver this message: to each APIC for which [`LocalApic::is_addressed_by`] holds, the sender's not excepted.
    Send(Message),
    /// Tell the IOAPICs that the level-triggered interrupt with this vector has ended.
    EndOfInterrupt(Vector),
}

/// What the processor must do with a message or pin that addressed its APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Nothing: it was refused.
    Ignored,
    /// Look at [`LocalApic::highest_pending`].
    Queued,
    /// Take an NMI.
    Nmi,
    /// Reset to the wait-for-SIPI state, and call [`LocalApic::init`].
    Init,
    /// Start at this 4 KiB page, if waiting for SIPI.
    StartUp(Vector),
    /// Take an interrupt from the 8259A pair.
    ExtInt,
}

/// An interrupt pin of the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// LINT0: the 8259A pair's output.
    Lint0,
    /// LINT1: NMI.
    Lint1,
}

/// Bits of IA32_APIC_BASE (11.4.4, 11.12.1).
mod apic_base {
    pub const BOOTSTRAP: u64 = 1 << 8;
    pub const X2APIC: u64 = 1 << 10;
    pub const ENABLED: u64 = 1 << 11;
    /// Where the xAPIC page is; kept by the guest as it likes within 52 bits.
    pub const PAGE: u64 = 0x000f_ffff_ffff_f000;
    pub const PAGE_RESET: u64 = 0xfee0_0000;
}

/// The version register: an integrated APIC with six LVT entries and no suppression of EOI broadcasts (11.4.8).
const VERSION: u32 = 0x0005_0014;
const LVT_ENTRIES: usize = (register::LVT_LAST - register::LVT_FIRST + 1) as usize;
const DFR_FLAT: u32 = 0xf000_0000;

/// A local APIC.
///
/// Invariants: IRR, ISR and TMR hold no vector below 16; writable registers hold only bits that exist; while
/// software-disabled every LVT entry is masked; `timer.mode` is what its LVT entry selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalApic {
    id: ApicId,
    role: Role,
    mode: Mode,
    page: u64,
    task_priority: u32,
    /// In xAPIC mode; x2APIC mode derives it from the id.
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    lvt: [u32; LVT_ENTRIES],
    command: [u32; 2],
    errors_shown: u32,
    errors_since: u32,
    irr: VectorSet,
    isr: VectorSet,
    tmr: VectorSet,
    timer: Timer,
}

impl LocalApic {
    /// The APIC after power-on: in xAPIC mode, software-disabled.
    pub fn new(id: ApicId, role: Role) -> Self {
        Self {
            id,
            role,
            mode: Mode::XApic,
            page: apic_base::PAGE_RESET,
            task_priority: 0,
            logical_destination: 0,
            destination_format: DFR_FLAT,
            spurious: 0xff,
            lvt: [LVT_MASKED; LVT_ENTRIES],
            command: [0; 2],
            errors_shown: 0,
            errors_since: 0,
            irr: VectorSet::default(),
            isr: VectorSet::default(),
            tmr: VectorSet::default(),
            timer: Timer::RESET,
        }
    }

    /// The state after INIT: id, mode and page stay (11.4.7.3).
    pub fn init(&mut self) {
        *self = Self { mode: self.mode, page: self.page, ..Self::new(self.id, self.role) };
    }

    /// What PC firmware leaves to an operating system: virtual wire mode, in which the 8259A pair interrupts through
    /// LINT0 and NMIs come through LINT1 (MultiProcessor Specification 1.4, section 3.6.2.2).
    pub fn enter_virtual_wire_mode(&mut self) {
        const NMI: u32 = 4 << 8;
        const EXT_INT: u32 = 7 << 8;
        self.spurious |= SVR_ENABLED;
        self.set_lvt(register::LVT_LINT0, EXT_INT);
        self.set_lvt(register::LVT_LINT1, NMI);
    }

    /// The hardware id.
    pub const fn id(&self) -> ApicId {
        self.id
    }

    /// The mode.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// IA32_APIC_BASE.
    pub fn apic_base(&self) -> u64 {
        let mode = match self.mode {
            Mode::Disabled => 0,
            Mode::XApic => apic_base::ENABLED,
            Mode::X2Apic => apic_base::ENABLED | apic_base::X2APIC,
        };
        let role = if self.role == Role::Bootstrap { apic_base::BOOTSTRAP } else { 0 };
        self.page | mode | role
    }

    /// The page where the registers are, in xAPIC mode.
    pub fn page(&self) -> Option<Gpa> {
        (self.mode == Mode::XApic).then(|| Gpa::from_low_bits(self.page))
    }

    /// Writes IA32_APIC_BASE. The bootstrap flag is the processor's and stays.
    ///
    /// # Errors
    /// Reserved bits, or a change that figure 11-27 of section 11.12.5 does not have.
    pub fn set_apic_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        let known = apic_base::PAGE | apic_base::ENABLED | apic_base::X2APIC | apic_base::BOOTSTRAP;
        if value & !known != 0 {
            return Err(GeneralProtection);
        }
        let wanted = match (value & apic_base::ENABLED != 0, value & apic_base::X2APIC != 0) {
            (false, false) => Mode::Disabled,
            (true, false) => Mode::XApic,
            (true, true) => Mode::X2Apic,
            (false, true) => return Err(GeneralProtection),
        };
        match (self.mode, wanted) {
            (Mode::X2Apic, Mode::XApic) | (Mode::Disabled, Mode::X2Apic) => return Err(GeneralProtection),
            // Disabling loses all state (11.4.3).
            (Mode::XApic | Mode::X2Apic, Mode::Disabled) => *self = Self::new(self.id, self.role),
            // The high half of the command register is undefined afterwards: cleared (11.12.5.1).
            (Mode::XApic, Mode::X2Apic) => self.command = [0; 2],
            _ => {}
        }
        (self.mode, self.page) = (wanted, value & apic_base::PAGE);
        Ok(())
    }

    /// IA32_TSC_DEADLINE: zero once it has passed.
    pub fn tsc_deadline(&mut self, now: Instant) -> u64 {
        self.advance(now);
        self.timer.deadline_tsc
    }

    /// Writes IA32_TSC_DEADLINE; `tsc` is the guest's counter. Ignored when the timer is in another mode.
    pub fn set_tsc_deadline(&mut self, value: u64, now: Instant, tsc: &TscLine) {
        self.advance(now);
        self.timer.set_deadline(value, tsc);
        self.advance(now);
    }

    /// The guest's counter has moved to `tsc`: an armed TSC deadline comes at another time.
    pub fn move_tsc(&mut self, tsc: &TscLine) {
        if self.timer.deadline_tsc != 0 {
            self.timer.set_deadline(self.timer.deadline_tsc, tsc);
        }
    }

    /// CR8: bits 7:4 of TPR (11.8.6).
    pub const fn task_priority(&self) -> u8 {
        (self.task_priority >> 4 & 0xf) as u8
    }

    /// Takes over CR8, which the hardware keeps while the guest runs. When it has changed, bits 3:0 of TPR become zero.
    #[inline]
    pub fn set_task_priority(&mut self, priority: u8) {
        if priority & 0xf != self.task_priority() {
            self.task_priority = u32::from(priority & 0xf) << 4;
        }
    }

    /// Whether `message`, sent by the APIC with id `sender` or by none, addresses this one (11.6.2, 11.12.10).
    pub fn is_addressed_by(&self, message: &Message, sender: Option<ApicId>) -> bool {
        let is_sender = sender == Some(self.id);
        match message.recipients {
            Recipients::Physical(id) => id == self.id,
            Recipients::Logical(destination) => self.matches_logical(destination),
            Recipients::All => true,
            Recipients::Others => !is_sender,
            Recipients::Sender => is_sender,
        }
    }

    fn matches_logical(&self, destination: u32) -> bool {
        let own = match self.mode {
            Mode::Disabled => return false,
            Mode::X2Apic if destination == u32::MAX => return true,
            Mode::X2Apic => {
                let own = self.x2apic_logical_id();
                return own >> 16 == destination >> 16 && own & destination & 0xffff != 0;
            }
            Mode::XApic => self.logical_destination >> 24,
        };
        if destination > 0xff {
            return false;
        }
        match self.destination_format == DFR_FLAT {
            true => own & destination != 0,
            false => {
                let same_cluster = destination >> 4 == 0xf || destination >> 4 == own >> 4;
                same_cluster && own & destination & 0xf != 0
            }
        }
    }

    /// The logical id in x2APIC mode: cluster in the high half, a bit in the low one (11.12.10.2).
    const fn x2apic_logical_id(&self) -> u32 {
        let ApicId(id) = self.id;
        (id >> 4) << 16 | 1 << (id & 0xf)
    }

    /// Takes a message that addresses this APIC.
    pub fn accept(&mut self, message: &Message) -> Accepted {
        match message.delivery {
            // A disabled APIC still answers these (11.4.7.2).
            Delivery::Nmi => Accepted::Nmi,
            Delivery::Init => Accepted::Init,
            Delivery::StartUp(page) => Accepted::StartUp(page),
            Delivery::Smi => Accepted::Ignored,
            Delivery::ExtInt if self.mode == Mode::Disabled => Accepted::Ignored,
            Delivery::ExtInt => Accepted::ExtInt,
            Delivery::Fixed(vector) | Delivery::LowestPriority(vector) => {
                self.accept_vector(vector, message.trigger)
            }
        }
    }

    /// Takes a message from a device or an IOAPIC, if it addresses this APIC.
    #[inline]
    pub fn accept_from_device(&mut self, message: InterruptMessage) -> Accepted {
        let is_addressed = match message.destination {
            Destination::Physical(id) => id == 0xff || self.id == ApicId(id.into()),
            Destination::Logical(mask) => self.matches_logical(mask.into()),
        };
        match message.delivery {
            _ if !is_addressed => Accepted::Ignored,
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                self.accept_vector(message.vector, message.trigger)
            }
            _ => self.accept(&message.into()),
        }
    }

    #[inline(never)]
    fn accept_vector(&mut self, vector: Vector, trigger: Trigger) -> Accepted {
        if !self.software_enabled() {
            return Accepted::Ignored;
        }
        if vector.0 < FIRST_LEGAL_VECTOR {
            return self.refuse_vector();
        }
        self.irr.insert(vector);
        match trigger {
            Trigger::Level => self.tmr.insert(vector),
            Trigger::Edge if self.tmr.contains(vector) => self.no_more_by_level(vector),
            Trigger::Edge => {}
        }
        Accepted::Queued
    }

    #[cold]
    #[inline(never)]
    fn no_more_by_level(&mut self, vector: Vector) {
        self.tmr.remove(vector);
    }

    #[cold]
    #[inline(never)]
    fn refuse_vector(&mut self) -> Accepted {
        self.report(error::RECEIVE_ILLEGAL_VECTOR);
        Accepted::Ignored
    }

    /// What an asserted pin does now.
    pub fn pin(&mut self, pin: Pin) -> Accepted {
        if self.mode == Mode::Disabled {
            // The pins are INTR and NMI of the processor then (11.4.3).
            return match pin {
                Pin::Lint0 => Accepted::ExtInt,
                Pin::Lint1 => Accepted::Nmi,
            };
        }
        let entry = self.lvt_entry(match pin {
            Pin::Lint0 => register::LVT_LINT0,
            Pin::Lint1 => register::LVT_LINT1,
        });
        if entry & LVT_MASKED != 0 {
            return Accepted::Ignored;
        }
        match entry >> 8 & 7 {
            0 => self.accept_vector(Vector(entry as u8), Trigger::Edge),
            4 => Accepted::Nmi,
            5 => Accepted::Init,
            7 => Accepted::ExtInt,
            _ => Accepted::Ignored,
        }
    }

    /// Whether the 8259A pair's output reaches the processor now: what [`LocalApic::pin`] would say of LINT0.
    pub fn passes_ext_int(&self) -> bool {
        let entry = self.lvt_entry(register::LVT_LINT0);
        self.mode == Mode::Disabled || entry & LVT_MASKED == 0 && entry >> 8 & 7 == 7
    }

    /// Whether the 8259A pair's output would be an NMI, as a watchdog has it.
    pub fn takes_lint0_for_nmi(&self) -> bool {
        let entry = self.lvt_entry(register::LVT_LINT0);
        self.mode != Mode::Disabled && entry & LVT_MASKED == 0 && entry >> 8 & 7 == 4
    }

    /// The vector that the processor would take now, if it took interrupts.
    #[inline]
    pub fn highest_pending(&self) -> Option<Vector> {
        let vector = self.irr.highest()?;
        (u32::from(vector.0 >> 4) > self.processor_priority() >> 4).then_some(vector)
    }

    /// Whether it is the task priority alone that holds an interrupt back: lowering it would make one pending.
    #[inline]
    pub fn is_held_back_by_task_priority(&self) -> bool {
        let Some(vector) = self.irr.highest() else { return false };
        let in_service = self.isr.highest().map_or(0, |vector| vector.0 >> 4);
        let class = vector.0 >> 4;
        class > in_service && class <= self.task_priority()
    }

    /// The processor takes [`LocalApic::highest_pending`]: it moves from IRR to ISR (11.8.4).
    #[inline]
    pub fn acknowledge(&mut self) -> Option<Vector> {
        let vector = self.highest_pending()?;
        self.irr.remove(vector);
        self.isr.insert(vector);
        Some(vector)
    }

    /// When [`LocalApic::advance`] must be called next; `None` when the timer is stopped or masked.
    #[inline]
    pub fn next_deadline(&self) -> Option<Instant> {
        let masked = self.lvt_entry(register::LVT_TIMER) & LVT_MASKED != 0;
        self.timer.due.filter(|_| !masked)
    }

    /// Fires the timer if it is due.
    #[inline]
    pub fn advance(&mut self, now: Instant) {
        if !self.timer.expire(now) {
            return;
        }
        let entry = self.lvt_entry(register::LVT_TIMER);
        if entry & LVT_MASKED == 0 {
            self.accept_vector(Vector(entry as u8), Trigger::Edge);
        }
    }

    /// Whether it takes vectors: switched on by IA32_APIC_BASE and by SVR (11.4.7.2).
    pub const fn software_enabled(&self) -> bool {
        self.spurious & SVR_ENABLED != 0 && !matches!(self.mode, Mode::Disabled)
    }

    /// The higher of TPR and the highest ISR vector's class (11.8.3.1).
    #[inline]
    fn processor_priority(&self) -> u32 {
        let in_service = self.isr.highest().map_or(0, |vector| u32::from(vector.0));
        match self.task_priority >> 4 >= in_service >> 4 {
            true => self.task_priority,
            false => in_service & 0xf0,
        }
    }

    fn lvt_entry(&self, register: u32) -> u32 {
        let entry = self.lvt.get(register.wrapping_sub(register::LVT_FIRST) as usize);
        entry.copied().unwrap_or(LVT_MASKED)
    }

    /// Whether the end of the interrupt in service concerns nobody else: it came by an edge, and none waits behind it.
    #[inline]
    pub fn may_end_quietly(&self) -> bool {
        let in_service = self.isr.highest();
        in_service.is_some_and(|vector| !self.tmr.contains(vector)) && self.irr.highest().is_none()
    }

    /// The guest has ended the interrupt in service by other means than EOI.
    #[inline]
    pub fn end_quietly(&mut self) {
        let _nobody_is_told = self.end_of_interrupt();
    }

    #[inline]
    fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.isr.highest() else { return Effect::None };
        self.isr.remove(vector);
        match self.tmr.contains(vector) {
            true => Effect::EndOfInterrupt(vector),
            false => Effect::None,
        }
    }

    #[inline]
    fn send_to_self(&mut self, vector: Vector) -> Effect {
        if vector.0 < FIRST_LEGAL_VECTOR {
            self.report(error::SEND_ILLEGAL_VECTOR);
        } else {
            self.accept_vector(vector, Trigger::Edge);
        }
        Effect::None
    }

    /// Notes an error; a new one raises the error interrupt (11.5.3).
    fn report(&mut self, error: u32) {
        let is_new = self.errors_since & error == 0;
        self.errors_since |= error;
        let entry = self.lvt_entry(register::LVT_ERROR);
        let vector = Vector(entry as u8);
        // An illegal vector here is itself an error, but must not report itself for ever.
        if is_new && entry & LVT_MASKED == 0 && vector.0 >= FIRST_LEGAL_VECTOR {
            self.accept_vector(vector, Trigger::Edge);
        }
    }
}

#[cfg(test)]
mod tests;
