//! Checks on the VM-entry control fields (SDM 325462, volume 3, section 27.2.1.3).

use super::super::bits::{basic, entry, event, misc, secondary};
use super::super::{Field, Refusal, View, reject_if};
use vcpu::control::cr0;

const CONTROLS: Field = Field::ENTRY_CONTROLS;
const INFO: Field = Field::ENTRY_INTERRUPTION_INFO;

/// The longest instruction, in bytes.
const INSTRUCTION_MAX_BYTES: u64 = 15;

/// The exceptions that push an error code: `#DF`, `#TS`, `#NP`, `#SS`, `#GP`, `#PF`, `#AC`.
const WITH_ERROR_CODE: u32 = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17;

pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    reject_if(
        !view.limits.entry.permit(view.read(CONTROLS)),
        "VM-entry controls differ from what IA32_VMX_ENTRY_CTLS permits (SDM 27.2.1.3)",
        &[CONTROLS],
    )?;
    if let Some(event) = view.injected() {
        injection(view, event)?;
    }
    let loads = (Field::ENTRY_MSR_LOAD_ADDRESS, Field::ENTRY_MSR_LOAD_COUNT);
    reject_if(
        !view.is_msr_area(view.read(loads.0), view.read(loads.1)),
        "the VM-entry MSR-load area is not in physical memory (SDM 27.2.1.3)",
        &[loads.0, loads.1],
    )?;
    reject_if(
        view.has(CONTROLS, entry::ENTRY_TO_SMM | entry::DEACTIVATE_DUAL_MONITOR),
        "a control of system management mode is on outside of it (SDM 27.2.1.3)",
        &[CONTROLS],
    )
}

/// An event to inject.
#[derive(Clone, Copy)]
pub struct Injected {
    /// Its type.
    pub kind: u64,
    /// Its vector.
    pub vector: u64,
    info: u64,
}

impl View<'_> {
    /// The event that the entry shall inject.
    pub fn injected(&self) -> Option<Injected> {
        let info = self.read(INFO);
        let event = Injected { kind: info >> 8 & 7, vector: info & 0xff, info };
        (info & event::VALID != 0).then_some(event)
    }
}

fn injection(view: &View<'_>, event: Injected) -> Result<(), Refusal> {
    let Injected { kind, vector, info } = event;
    reject_if(kind == 1, "the injected event's type is reserved (SDM 27.2.1.3)", &[INFO])?;
    let fits = match kind {
        event::NMI => vector == 2,
        event::HARDWARE_EXCEPTION => vector < 32,
        event::OTHER => vector == 0,
        _ => true,
    };
    reject_if(!fits, "the injected event's vector does not fit its type (SDM 27.2.1.3)", &[INFO])?;
    error_code(view, event)?;
    reject_if(
        info & event::RESERVED != 0,
        "the injected event has a reserved bit set (SDM 27.2.1.3)",
        &[INFO],
    )?;
    let code = Field::ENTRY_EXCEPTION_ERROR_CODE;
    reject_if(
        info & event::ERROR_CODE != 0 && view.has(code, !0xffff),
        "the injected event's error code has a bit above 15:0 (SDM 27.2.1.3)",
        &[INFO, code],
    )?;
    let by_instruction = matches!(
        kind,
        event::SOFTWARE_INTERRUPT | event::PRIVILEGED_SOFTWARE_EXCEPTION | event::SOFTWARE_EXCEPTION
    );
    let shortest = if view.limits.misc & misc::INSTRUCTION_LENGTH_0 != 0 { 0 } else { 1 };
    let length = Field::ENTRY_INSTRUCTION_LENGTH;
    reject_if(
        by_instruction && !(shortest..=INSTRUCTION_MAX_BYTES).contains(&view.read(length)),
        "no instruction that raises the injected event has this length (SDM 27.2.1.3)",
        &[INFO, length],
    )
}

fn error_code(view: &View<'_>, event: Injected) -> Result<(), Refusal> {
    let delivers = event.info & event::ERROR_CODE != 0;
    let protected = view.has(Field::GUEST_CR0, cr0::PE) || !view.secondary(secondary::UNRESTRICTED);
    let exception = event.kind == event::HARDWARE_EXCEPTION;
    let right = if !exception || !protected {
        !delivers
    } else {
        let pushes = 1_u32.checked_shl(event.vector as u32).unwrap_or_default() & WITH_ERROR_CODE != 0;
        delivers == pushes || view.limits.basic & basic::ANY_ERROR_CODE != 0
    };
    reject_if(
        !right,
        "the injected event has an error code where it must not, or lacks one (SDM 27.2.1.3)",
        &[INFO, Field::GUEST_CR0],
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Case, each_is_named};
    use super::*;

    const fn info(kind: u64, vector: u64) -> u64 {
        event::VALID | kind << 8 | vector
    }

    #[test]
    fn each_broken_entry_control_is_named() {
        let cases: [Case; 13] = [
            (|v| v.toggle(CONTROLS, 1 << 31), "VM-entry controls"),
            (|v| v.set(INFO, info(1, 0)), "type is reserved"),
            (|v| v.set(INFO, info(event::NMI, 3)), "does not fit its type"),
            (|v| v.set(INFO, info(event::HARDWARE_EXCEPTION, 32)), "does not fit its type"),
            (|v| v.set(INFO, info(event::OTHER, 1)), "does not fit its type"),
            (|v| v.set(INFO, info(event::HARDWARE_EXCEPTION, 13)), "error code where"),
            (|v| v.set(INFO, info(event::EXTERNAL_INTERRUPT, 0x30) | event::ERROR_CODE), "error code where"),
            (|v| v.set(INFO, info(event::NMI, 2) | 1 << 12), "reserved bit"),
            (
                |v| {
                    v.set(INFO, info(event::HARDWARE_EXCEPTION, 14) | event::ERROR_CODE);
                    v.set(Field::ENTRY_EXCEPTION_ERROR_CODE, 1 << 16);
                },
                "error code has a bit",
            ),
            (|v| v.set(INFO, info(event::SOFTWARE_INTERRUPT, 0x80)), "this length"),
            (
                |v| {
                    v.set(INFO, info(event::SOFTWARE_EXCEPTION, 3));
                    v.set(Field::ENTRY_INSTRUCTION_LENGTH, 16);
                },
                "this length",
            ),
            (
                |v| {
                    v.set(Field::ENTRY_MSR_LOAD_COUNT, 1);
                    v.set(Field::ENTRY_MSR_LOAD_ADDRESS, 1 << 40);
                },
                "VM-entry MSR-load area",
            ),
            (|v| v.toggle(CONTROLS, entry::ENTRY_TO_SMM), "system management mode"),
        ];
        each_is_named(&cases, super::super::check);
    }

    #[test]
    fn an_exception_in_real_mode_has_no_error_code() {
        let real: Case = (
            |v| {
                v.toggle(Field::GUEST_CR0, cr0::PE);
                v.set(INFO, info(event::HARDWARE_EXCEPTION, 13) | event::ERROR_CODE);
            },
            "error code where",
        );
        each_is_named(&[real], super::super::check);
    }
}
