//! Why an instruction was not executed.

use crate::Exception;
use crate::walk::WalkFault;
use base::Vector;
use seams::MemoryError;

/// `#NM`: CR0.TS is set (Intel SDM, volume 3, section 6.15).
pub(super) const DEVICE_NOT_AVAILABLE: Exception = Exception { vector: Vector(7), error_code: None };
/// `#SS(0)`.
pub(super) const STACK_FAULT: Exception = Exception { vector: Vector(12), error_code: Some(0) };
/// `#AC(0)`.
pub(super) const ALIGNMENT_CHECK: Exception = Exception { vector: Vector(17), error_code: Some(0) };

/// Why an instruction, or an element of a repeated one, was not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmulationFault {
    /// The guest gets this exception.
    Raise(Exception),
    /// The guest gets a page fault.
    PageFault {
        /// The error code.
        error_code: u32,
        /// For CR2.
        linear: u64,
    },
    /// The guest's memory refused what its page tables allow. A part of the instruction may have been done.
    Memory(MemoryError),
    /// Somebody kept changing tables or memory under it: let the guest try again.
    Contended,
    /// The instruction goes on past the bytes given.
    Truncated,
    /// An instruction, but none that is emulated.
    Unsupported,
}

impl EmulationFault {
    /// The exception that the guest gets, if that is the fault's meaning.
    pub const fn exception(self) -> Option<Exception> {
        match self {
            Self::Raise(exception) => Some(exception),
            Self::PageFault { error_code, .. } => Some(Exception::page_fault(error_code)),
            _ => None,
        }
    }
}

impl From<Exception> for EmulationFault {
    fn from(exception: Exception) -> Self {
        Self::Raise(exception)
    }
}

impl From<MemoryError> for EmulationFault {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl From<WalkFault> for EmulationFault {
    fn from(fault: WalkFault) -> Self {
        match fault {
            WalkFault::PageFault { error_code, linear } => Self::PageFault { error_code, linear },
            WalkFault::NotCanonical => Self::Raise(Exception::GENERAL_PROTECTION),
            WalkFault::Memory(error) => Self::Memory(error),
            WalkFault::Contended => Self::Contended,
        }
    }
}
