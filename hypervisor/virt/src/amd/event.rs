//! Events as the VMCB encodes them, both ways: EVENTINJ and EXITINTINFO share one format
//! (APM 24593, volume 2, sections 15.7.2 and 15.20).
//!
//! ```text
//!   63        32 31  30     12 11  10   8 7      0
//!   error code   V   reserved  EV  type   vector      EV: an error code is pushed
//! ```

use base::Vector;
use vcpu::{Event, Exception};

const VALID: u64 = 1 << 31;
const ERROR_CODE_VALID: u64 = 1 << 11;
const TYPE_SHIFT: u32 = 8;

const TYPE_INTERRUPT: u64 = 0;
const TYPE_NMI: u64 = 2;
const TYPE_EXCEPTION: u64 = 3;
const TYPE_SOFTWARE_INTERRUPT: u64 = 4;

/// `#BP` and `#OF`, which INT3 and INTO raise: instructions, though the type says exception.
const SOFTWARE_EXCEPTIONS: [u8; 2] = [3, 4];

/// EVENTINJ for `event`.
pub const fn encode(event: Event) -> u64 {
    let (kind, vector, error_code) = match event {
        Event::Interrupt(vector) => (TYPE_INTERRUPT, vector.0, None),
        Event::Nmi => (TYPE_NMI, 2, None),
        Event::Exception(exception) => (TYPE_EXCEPTION, exception.vector.0, exception.error_code),
        Event::SoftwareInterrupt(vector) => (TYPE_SOFTWARE_INTERRUPT, vector.0, None),
    };
    let error = match error_code {
        Some(code) => ERROR_CODE_VALID | (code as u64) << 32,
        None => 0,
    };
    VALID | error | kind << TYPE_SHIFT | vector as u64
}

/// The event that `field` holds, if it is valid and of a known type.
pub const fn decode(field: u64) -> Option<Event> {
    if field & VALID == 0 {
        return None;
    }
    let vector = Vector(field as u8);
    let error_code = if field & ERROR_CODE_VALID != 0 { Some((field >> 32) as u32) } else { None };
    match field >> TYPE_SHIFT & 7 {
        TYPE_INTERRUPT => Some(Event::Interrupt(vector)),
        TYPE_NMI => Some(Event::Nmi),
        TYPE_EXCEPTION => Some(Event::Exception(Exception { vector, error_code })),
        TYPE_SOFTWARE_INTERRUPT => Some(Event::SoftwareInterrupt(vector)),
        _ => None,
    }
}

/// Whether `field` holds an event, of whatever type.
#[inline(always)]
pub const fn is_valid(field: u64) -> bool {
    field & VALID != 0
}

/// What EVENTINJ must hold at the next entry after an exit that left `exit_int_info`.
///
/// What an instruction raised is not injected again: RIP still names the instruction, which raises it anew. Injecting
/// it would need the address behind the instruction, which not every processor tells.
pub fn requeue(exit_int_info: u64) -> u64 {
    match decode(exit_int_info) {
        None | Some(Event::SoftwareInterrupt(_)) => 0,
        Some(Event::Exception(exception)) if SOFTWARE_EXCEPTIONS.contains(&exception.vector.0) => 0,
        Some(event) => encode(event),
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

    #[test]
    fn encodings_are_the_manuals() {
        assert_eq!(encode(Event::Interrupt(Vector(0x30))), 0x8000_0030);
        assert_eq!(encode(Event::Nmi), 0x8000_0202);
        assert_eq!(encode(Event::Exception(Exception::page_fault(7))), 0x7_8000_0b0e);
        assert_eq!(encode(Event::SoftwareInterrupt(Vector(0x80))), 0x8000_0480);
    }

    #[test]
    fn stale_contents_without_the_valid_bit_are_no_event() {
        let stale = encode(Event::Interrupt(Vector(0x30))) & !VALID;
        assert_eq!(decode(stale), None);
        assert_eq!(requeue(stale), 0);
    }

    #[test]
    fn what_an_instruction_raised_is_raised_again_by_the_instruction() {
        let breakpoint = Event::Exception(Exception { vector: Vector(3), error_code: None });
        for event in [Event::SoftwareInterrupt(Vector(0x80)), breakpoint] {
            assert_eq!(requeue(encode(event)), 0);
        }
        let interrupt = encode(Event::Interrupt(Vector(0x30)));
        assert_eq!(requeue(interrupt), interrupt);
    }

    proptest! {
        #[test]
        fn an_event_survives_the_encoding(event in any_event()) {
            prop_assert_eq!(decode(encode(event)), Some(event));
        }

        #[test]
        fn decoding_is_total(field: u64) {
            prop_assert_eq!(decode(field).is_some(), is_valid(field) && matches!(field >> 8 & 7, 0 | 2 | 3 | 4));
        }
    }
}
