//! One virtual CPU's local APIC, in xAPIC and x2APIC mode (Intel SDM, volume 3, chapter 11).

pub mod message;
pub use message::{Delivery, Message, Recipients};

use base::{ApicId, Instant, TscLine, Vector};

/// Whether the processor starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The bootstrap processor.
    Bootstrap,
    /// Another one, started by INIT and SIPI.
    Application,
}

/// The modes of a local APIC (SDM 11.12.1).
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
    /// Deliver this message.
    Send(Message),
    /// Tell the IOAPICs that the level-triggered interrupt with this vector has ended.
    EndOfInterrupt(Vector),
}

/// What the processor must do with a message that addressed its APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Nothing: the message was refused, or it was there already.
    Ignored,
    /// Look at [`LocalApic::highest_pending`].
    Queued,
    /// Take an NMI.
    Nmi,
    /// Reset to the wait-for-SIPI state.
    Init,
    /// Start at this page number, if waiting for SIPI.
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

/// A local APIC.
#[derive(Clone, Debug)]
pub struct LocalApic {
    id: ApicId,
}

impl LocalApic {
    /// The APIC after power-on: in xAPIC mode, software-disabled.
    pub fn new(id: ApicId, _role: Role) -> Self {
        Self { id }
    }
    /// The hardware id.
    pub fn id(&self) -> ApicId {
        self.id
    }
    /// As after INIT: id and mode stay (SDM 11.4.7.3).
    pub fn init(&mut self) {
        todo!()
    }
    /// The mode.
    pub fn mode(&self) -> Mode {
        todo!()
    }
    /// IA32_APIC_BASE.
    pub fn apic_base(&self) -> u64 {
        todo!()
    }
    /// Writes IA32_APIC_BASE.
    ///
    /// # Errors
    /// Reserved bits or a forbidden transition.
    pub fn set_apic_base(&mut self, _value: u64) -> Result<(), GeneralProtection> {
        todo!()
    }
    /// Reads the aligned 32-bit register at `offset` of the page.
    pub fn read_mmio(&mut self, _offset: u32, _now: Instant) -> u32 {
        todo!()
    }
    /// Writes the aligned 32-bit register at `offset` of the page.
    pub fn write_mmio(&mut self, _offset: u32, _value: u32, _now: Instant) -> Effect {
        todo!()
    }
    /// Reads MSR `index` of 0x800-0x8FF.
    ///
    /// # Errors
    /// Not in x2APIC mode, no such register, or write-only.
    pub fn read_msr(&mut self, _index: u32, _now: Instant) -> Result<u64, GeneralProtection> {
        todo!()
    }
    /// Writes MSR `index` of 0x800-0x8FF.
    ///
    /// # Errors
    /// Not in x2APIC mode, no such register, read-only, or reserved bits.
    pub fn write_msr(&mut self, _index: u32, _value: u64, _now: Instant) -> Result<Effect, GeneralProtection> {
        todo!()
    }
    /// IA32_TSC_DEADLINE.
    pub fn tsc_deadline(&self) -> u64 {
        todo!()
    }
    /// Writes IA32_TSC_DEADLINE; `tsc` is the guest's counter.
    pub fn set_tsc_deadline(&mut self, _value: u64, _now: Instant, _tsc: &TscLine) {
        todo!()
    }
    /// The guest's counter was moved: an armed TSC deadline comes at another time.
    pub fn move_tsc(&mut self, _tsc: &TscLine) {
        todo!()
    }
    /// CR8: bits 7:4 of TPR.
    pub fn task_priority(&self) -> u8 {
        todo!()
    }
    /// Writes CR8.
    pub fn set_task_priority(&mut self, _priority: u8) {
        todo!()
    }
    /// Whether `message`, sent by `sender`'s APIC (or by none), addresses this one.
    pub fn is_addressed_by(&self, _message: &Message, _sender: Option<ApicId>) -> bool {
        todo!()
    }
    /// Takes a message that addresses this APIC.
    pub fn accept(&mut self, _message: &Message) -> Accepted {
        todo!()
    }
    /// What an asserted pin does now.
    pub fn pin(&mut self, _pin: Pin) -> Accepted {
        todo!()
    }
    /// The vector that the processor would take now, if it took interrupts.
    pub fn highest_pending(&self) -> Option<Vector> {
        todo!()
    }
    /// The processor takes [`LocalApic::highest_pending`]: IRR to ISR.
    pub fn acknowledge(&mut self) -> Option<Vector> {
        todo!()
    }
    /// When [`LocalApic::advance`] must be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// Fires the timer if it is due.
    pub fn advance(&mut self, _now: Instant) {
        todo!()
    }
}
