//! Events as the VMCS encodes them, both ways: VM-entry interruption information, VM-exit interruption information and
//! IDT-vectoring information share one format (SDM 25.8.3, 25.9.2 and 25.9.3). The error code has a field of its own.
//!
//! ```text
//!   31  30      13 12  11 10   8 7      0
//!   V   reserved   UN  EV  type   vector      EV: an error code is pushed; UN: IRET has unblocked NMIs (exits only)
//! ```

use base::Vector;
use vcpu::{Event, Exception};

const VALID: u64 = 1 << 31;
const NMI_UNBLOCKED: u64 = 1 << 12;
const ERROR_CODE_VALID: u64 = 1 << 11;
const TYPE_SHIFT: u32 = 8;

const TYPE_INTERRUPT: u64 = 0;
const TYPE_NMI: u64 = 2;
const TYPE_HARDWARE_EXCEPTION: u64 = 3;
const TYPE_SOFTWARE_INTERRUPT: u64 = 4;
const TYPE_PRIVILEGED_SOFTWARE_EXCEPTION: u64 = 5;

/// `#DF`: the information about NMIs is undefined with it (SDM table 25-18).
const DOUBLE_FAULT: u8 = 8;

/// INT n is two bytes long; the processor pushes RIP plus the length that it is told.
pub const SOFTWARE_INTERRUPT_BYTES: u64 = 2;

/// An event in the processor's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The information field.
    pub information: u64,
    /// The error code, 0 without one.
    pub error_code: u64,
}

/// Whether exceptions push error codes: not in real mode (SDM 27.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCodes {
    /// CR0.PE is set.
    Pushed,
    /// CR0.PE is clear.
    Absent,
}

/// The fields for `event`.
pub const fn encode(event: Event, error_codes: ErrorCodes) -> Encoded {
    let (kind, vector, error_code) = match event {
        Event::Interrupt(vector) => (TYPE_INTERRUPT, vector.0, None),
        Event::Nmi => (TYPE_NMI, 2, None),
        Event::Exception(exception) => (TYPE_HARDWARE_EXCEPTION, exception.vector.0, exception.error_code),
        Event::SoftwareInterrupt(vector) => (TYPE_SOFTWARE_INTERRUPT, vector.0, None),
    };
    let (flag, error_code) = match (error_code, error_codes) {
        (Some(code), ErrorCodes::Pushed) => (ERROR_CODE_VALID, code as u64),
        _ => (0, 0),
    };
    Encoded { information: VALID | flag | kind << TYPE_SHIFT | vector as u64, error_code }
}

/// The event that the fields hold, if they are valid. What an instruction raised as an exception is an exception.
pub const fn decode(Encoded { information, error_code }: Encoded) -> Option<Event> {
    if information & VALID == 0 {
        return None;
    }
    let vector = Vector(information as u8);
    let error_code = if information & ERROR_CODE_VALID != 0 { Some(error_code as u32) } else { None };
    match information >> TYPE_SHIFT & 7 {
        TYPE_INTERRUPT => Some(Event::Interrupt(vector)),
        TYPE_NMI => Some(Event::Nmi),
        TYPE_HARDWARE_EXCEPTION | TYPE_PRIVILEGED_SOFTWARE_EXCEPTION..=6 => {
            Some(Event::Exception(Exception { vector, error_code }))
        }
        TYPE_SOFTWARE_INTERRUPT => Some(Event::SoftwareInterrupt(vector)),
        _ => None,
    }
}

/// Whether `information` holds an event, of whatever type.
#[inline(always)]
pub const fn is_valid(information: u64) -> bool {
    information & VALID != 0
}

/// Whether the event of an exit is an NMI.
pub const fn is_nmi(information: u64) -> bool {
    is_valid(information) && information >> TYPE_SHIFT & 7 == TYPE_NMI
}

/// Whether the event of an exit is the `#DB` of INT1: RIP names that instruction still.
pub const fn is_int1(information: u64) -> bool {
    is_valid(information) && information >> TYPE_SHIFT & 7 == TYPE_PRIVILEGED_SOFTWARE_EXCEPTION
}

/// Whether the exception of an exit was met by an IRET that had unblocked NMIs already: they are blocked until it has
/// succeeded (SDM 25.9.2).
pub const fn met_by_iret(information: u64) -> bool {
    is_valid(information) && information & NMI_UNBLOCKED != 0 && information as u8 != DOUBLE_FAULT
}

/// What must be injected at the next entry after an exit that left these fields of IDT-vectoring information.
///
/// What an instruction raised is not injected again: RIP still names the instruction, which raises it anew.
pub const fn requeue(vectoring: Encoded) -> Option<Event> {
    let Encoded { information, .. } = vectoring;
    match information >> TYPE_SHIFT & 7 {
        TYPE_INTERRUPT | TYPE_NMI | TYPE_HARDWARE_EXCEPTION => decode(vectoring),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            any::<u8>().prop_map(|v| Event::Interrupt(Vector(v))),
            Just(Event::Nmi),
            any::<u8>().prop_map(|v| Event::SoftwareInterrupt(Vector(v))),
            (0_u8..32, any::<Option<u32>>())
                .prop_map(|(v, error_code)| Event::Exception(Exception { vector: Vector(v), error_code })),
        ]
    }

    fn pushed(event: Event) -> (u64, u64) {
        let Encoded { information, error_code } = encode(event, ErrorCodes::Pushed);
        (information, error_code)
    }

    #[test]
    fn encodings_are_the_manuals() {
        assert_eq!(pushed(Event::Interrupt(Vector(0x30))), (0x8000_0030, 0));
        assert_eq!(pushed(Event::Nmi), (0x8000_0202, 0));
        assert_eq!(pushed(Event::Exception(Exception::page_fault(7))), (0x8000_0b0e, 7));
        assert_eq!(pushed(Event::SoftwareInterrupt(Vector(0x80))), (0x8000_0480, 0));
    }

    #[test]
    fn in_real_mode_no_error_code_is_pushed() {
        let fault = Event::Exception(Exception::GENERAL_PROTECTION);
        assert_eq!(encode(fault, ErrorCodes::Absent).information, 0x8000_030d);
    }

    #[test]
    fn what_an_instruction_raised_is_raised_again_by_the_instruction() {
        for kind in [4, 5, 6] {
            assert_eq!(requeue(Encoded { information: VALID | kind << TYPE_SHIFT | 3, error_code: 0 }), None);
        }
        let interrupt = Event::Interrupt(Vector(0x30));
        assert_eq!(requeue(encode(interrupt, ErrorCodes::Pushed)), Some(interrupt));
    }

    #[test]
    fn an_iret_that_faulted_is_told_but_for_a_double_fault() {
        assert!(met_by_iret(VALID | NMI_UNBLOCKED | 14));
        assert!(!met_by_iret(VALID | 14));
        assert!(!met_by_iret(VALID | NMI_UNBLOCKED | 8));
    }

    proptest! {
        #[test]
        fn an_event_survives_the_encoding(event in any_event()) {
            prop_assert_eq!(decode(encode(event, ErrorCodes::Pushed)), Some(event));
        }

        #[test]
        fn decoding_is_total(information: u64, error_code: u64) {
            let known = information >> 8 & 7 != 1 && information >> 8 & 7 != 7;
            prop_assert_eq!(decode(Encoded { information, error_code }).is_some(), is_valid(information) && known);
        }
    }
}
