//! What the processor itself says of a failed entry (SDM 325462, volume 3, sections 27.8 and 31.4).

use super::{Field, Refusal, View, controls, guest_state, host_state};
use vcpu::OffendingFields;

/// Exit reasons come with this bit when the entry failed.
const ENTRY_FAILURE: u32 = 1 << 31;
const REASON_GUEST_STATE: u32 = 33;
const REASON_MSR_LOADING: u32 = 34;
const REASON_MACHINE_CHECK: u32 = 41;

const ERROR_CONTROLS: u32 = 7;
const ERROR_HOST_STATE: u32 = 8;

/// How VMLAUNCH or VMRESUME ended without running the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By VMfailInvalid: no VMCS is current.
    NoVmcs,
    /// By VMfailValid, with this VM-instruction error.
    Error(u32),
    /// By an exit with bit 31 of this exit reason set.
    Exit {
        /// The exit reason.
        reason: u32,
        /// The exit qualification.
        qualification: u64,
    },
}

impl Outcome {
    /// The VM-instruction error, the exit reason, or 0.
    pub const fn code(self) -> u64 {
        match self {
            Self::NoVmcs => 0,
            Self::Error(number) => number as u64,
            Self::Exit { reason, .. } => reason as u64,
        }
    }

    /// What it is put down to.
    pub(super) fn explain(self, view: &View<'_>) -> Refusal {
        match self {
            Self::NoVmcs => plain("no VMCS is current on this CPU (SDM 31.2)"),
            // The manual lets a processor check both areas in any order.
            Self::Error(number @ (ERROR_CONTROLS | ERROR_HOST_STATE)) => controls::check(view)
                .and_then(|()| host_state::check(view))
                .err()
                .unwrap_or(plain(instruction_error(number))),
            Self::Error(number) => plain(instruction_error(number)),
            Self::Exit { reason, qualification } => failed_exit(reason & !ENTRY_FAILURE, qualification, view),
        }
    }
}

const fn plain(reason: &'static str) -> Refusal {
    Refusal { reason, fields: [None; OffendingFields::MAX] }
}

const fn about(reason: &'static str, field: Field) -> Refusal {
    Refusal { reason, fields: [Some(field), None, None] }
}

fn failed_exit(reason: u32, qualification: u64, view: &View<'_>) -> Refusal {
    match reason {
        REASON_GUEST_STATE => guest_state::check(view).err().unwrap_or(match qualification {
            2 => about("the guest's PDPTEs could not be loaded (SDM 27.8)", Field::GUEST_CR3),
            3 => about(
                "an NMI is injected while STI blocks the guest's interrupts (SDM 27.8)",
                Field::GUEST_INTERRUPTIBILITY,
            ),
            4 => about(
                "the VMCS link pointer leads to no VMCS that suits (SDM 27.8)",
                Field::VMCS_LINK_POINTER,
            ),
            _ => plain(
                "invalid guest state for a reason that none of the documented checks explains (SDM 27.8)",
            ),
        }),
        REASON_MSR_LOADING => about(
            "an MSR of the VM-entry MSR-load area was refused; the qualification is its number, from 1 (SDM 27.8)",
            Field::EXIT_QUALIFICATION,
        ),
        REASON_MACHINE_CHECK => {
            plain("machine check during the entry: the host's hardware failed (SDM 27.9)")
        }
        _ => about("an exit that is no documented entry failure (SDM 27.8)", Field::EXIT_REASON),
    }
}

/// SDM, volume 3, table 31-1, as far as an entry can lead to it.
const fn instruction_error(number: u32) -> &'static str {
    match number {
        4 => "VMLAUNCH with a VMCS that is not clear (SDM 31.4)",
        5 => "VMRESUME with a VMCS that has not been launched (SDM 31.4)",
        6 => "VMRESUME after VMXOFF (SDM 31.4)",
        ERROR_CONTROLS => {
            "invalid controls for a reason that none of the documented checks explains (SDM 31.4)"
        }
        ERROR_HOST_STATE => {
            "invalid host state for a reason that none of the documented checks explains (SDM 31.4)"
        }
        12 => "an access to a field that the processor does not have (SDM 31.4)",
        13 => "a write to a read-only field (SDM 31.4)",
        25 => "invalid execution controls in the executive VMCS (SDM 31.4)",
        26 => "an entry while MOV SS blocks events (SDM 31.4)",
        28 => "invalid operand of INVEPT or INVVPID (SDM 31.4)",
        _ => "a VM-instruction error that has no business with entries (SDM 31.4)",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{LIMITS, Vmcs};
    use super::super::{FieldReader, explain};
    use super::*;
    use proptest::prelude::*;
    use vcpu::EntryFailure;

    fn failed(reason: u32, qualification: u64) -> Outcome {
        Outcome::Exit { reason: reason | ENTRY_FAILURE, qualification }
    }

    fn of(outcome: Outcome, spoil: impl FnOnce(&mut Vmcs)) -> EntryFailure {
        let mut vmcs = Vmcs::default();
        spoil(&mut vmcs);
        explain(outcome, &vmcs, &LIMITS)
    }

    #[test]
    fn a_failure_carries_the_code_the_reason_and_the_offending_fields_with_their_values() {
        let failure = of(failed(33, 0), |v| v.set(Field::GUEST_CR3, 1 << 45));
        assert_eq!(failure.code, 0x8000_0021);
        assert!(failure.reason.starts_with("guest CR3 has a bit beyond"), "{}", failure.reason);
        let fields: std::vec::Vec<_> = failure.fields.iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(fields, [("guest CR3", 1 << 45)]);
    }

    #[test]
    fn controls_and_host_state_are_searched_for_both_of_their_errors() {
        for number in [ERROR_CONTROLS, ERROR_HOST_STATE] {
            let host = of(Outcome::Error(number), |v| v.set(Field::HOST_CR3, 1 << 40));
            assert!(host.reason.contains("host CR3"), "{}", host.reason);
            let controls = of(Outcome::Error(number), |v| v.set(Field::VPID, 0));
            assert!(controls.reason.contains("VPID is 0"), "{}", controls.reason);
        }
    }

    #[test]
    fn what_no_check_explains_is_said_to_be_unexplained() {
        for outcome in [Outcome::Error(7), Outcome::Error(8), failed(33, 0)] {
            let failure = of(outcome, |_| ());
            assert!(failure.reason.contains("none of the documented checks"), "{}", failure.reason);
        }
    }

    #[test]
    fn the_qualification_tells_what_the_fields_cannot() {
        let cases = [
            (failed(33, 2), "PDPTEs"),
            (failed(33, 3), "STI"),
            (failed(33, 4), "link pointer"),
            (failed(34, 1), "MSR-load"),
            (failed(41, 0), "machine check"),
            (failed(1, 0), "no documented entry failure"),
            (Outcome::NoVmcs, "no VMCS"),
            (Outcome::Error(5), "has not been launched"),
            (Outcome::Error(26), "MOV SS"),
            (Outcome::Error(99), "no business"),
        ];
        for (outcome, named) in cases {
            let reason = of(outcome, |_| ()).reason;
            assert!(reason.contains(named), "{reason} does not name {named}");
        }
    }

    #[test]
    fn every_reason_names_a_section_of_the_manual() {
        for number in 0..32 {
            assert!(of(Outcome::Error(number), |_| ()).reason.ends_with("(SDM 31.4)"));
        }
    }

    /// Fields that follow from a seed and nothing else.
    struct Noise(u64);

    impl FieldReader for Noise {
        fn read(&self, field: Field) -> u64 {
            let mixed = (self.0 ^ field.encoding()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed.rotate_left((self.0 % 64) as u32) >> (mixed % 64)
        }
    }

    proptest! {
        #[test]
        fn any_fields_are_explained_without_a_panic(
            seed: u64, number: u32, reason: u32, qualification: u64, physical_bits: u32, linear_bits: u32,
        ) {
            let limits = super::super::Limits { physical_bits, linear_bits, ..LIMITS };
            for limits in [&LIMITS, &limits] {
                for outcome in [
                    Outcome::Error(7), Outcome::Error(number), failed(33, qualification),
                    Outcome::Exit { reason, qualification },
                ] {
                    prop_assert!(explain(outcome, &Noise(seed), limits).reason.contains("(SDM "));
                }
            }
        }

        #[test]
        fn one_random_field_in_a_valid_state_is_explained_without_a_panic(index: prop::sample::Index, value: u64) {
            let fields = Field::all();
            let field = fields[index.index(fields.len())];
            let mut vmcs = Vmcs::default();
            vmcs.set(field, value);
            for outcome in [Outcome::Error(7), failed(33, 0)] {
                prop_assert!(explain(outcome, &vmcs, &LIMITS).reason.contains("(SDM "));
            }
        }
    }
}
