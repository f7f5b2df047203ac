//! What can be delivered to a vCPU at entry.

use base::Vector;

/// An exception with its error code, if the vector has one (Intel SDM, volume 3, table 6-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// 0-31.
    pub vector: Vector,
    /// The error code that is pushed.
    pub error_code: Option<u32>,
}

impl Exception {
    /// `#DB`.
    pub const DEBUG: Self = Self { vector: Vector(1), error_code: None };
    /// `#UD`.
    pub const INVALID_OPCODE: Self = Self { vector: Vector(6), error_code: None };
    /// `#GP(0)`.
    pub const GENERAL_PROTECTION: Self = Self { vector: Vector(13), error_code: Some(0) };

    /// `#MC`.
    pub const MACHINE_CHECK: Self = Self { vector: Vector(18), error_code: None };

    /// `#PF` with its error code. CR2 is set apart, by [`crate::Vcpu::set_cr2`].
    pub const fn page_fault(error_code: u32) -> Self {
        Self { vector: Vector(14), error_code: Some(error_code) }
    }
}

/// An event to inject, or one whose delivery an exit interrupted and that must be injected again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A maskable external interrupt.
    Interrupt(Vector),
    /// A non-maskable interrupt.
    Nmi,
    /// A hardware exception.
    Exception(Exception),
    /// `INT n`; the instruction's length is needed where the hardware pushes the next RIP by itself.
    SoftwareInterrupt(Vector),
}
