//! Checks on activity, interruptibility, pending debug exceptions and the link pointer (SDM 325462, volume 3, section
//! 27.3.1.5).

use super::super::bits::{activity, blocking, debugctl, event, misc, pending_debug, pin, rflags};
use super::super::{Field, Refusal, View, reject_if};

const ACTIVITY: Field = Field::GUEST_ACTIVITY;
const BLOCKING: Field = Field::GUEST_INTERRUPTIBILITY;
const INFO: Field = Field::ENTRY_INTERRUPTION_INFO;

const VECTOR_DB: u64 = 1;
const VECTOR_MC: u64 = 18;

pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    activity(view)?;
    interruptibility(view)?;
    pending_debug(view)?;
    let link = view.read(Field::VMCS_LINK_POINTER);
    reject_if(
        link != u64::MAX && !view.is_page(link),
        "the VMCS link pointer is neither all ones nor a page of physical memory (SDM 27.3.1.5)",
        &[Field::VMCS_LINK_POINTER],
    )
}

fn activity(view: &View<'_>) -> Result<(), Refusal> {
    let state = view.read(ACTIVITY);
    let supported = match state {
        activity::ACTIVE => true,
        1..=3 => view.limits.misc >> (misc::ACTIVITY_SHIFT + state) & 1 != 0,
        _ => false,
    };
    reject_if(!supported, "the processor lacks the guest's activity state (SDM 27.3.1.5)", &[ACTIVITY])?;
    reject_if(
        state == activity::HLT && view.read(Field::GUEST_SS_RIGHTS) >> 5 & 3 != 0,
        "the guest is halted at a privilege level other than 0 (SDM 27.3.1.5)",
        &[ACTIVITY, Field::GUEST_SS_RIGHTS],
    )?;
    reject_if(
        state != activity::ACTIVE && view.has(BLOCKING, blocking::STI | blocking::MOV_SS),
        "the guest is not active while STI or MOV SS blocks interrupts (SDM 27.3.1.5)",
        &[ACTIVITY, BLOCKING],
    )?;
    let Some(event) = view.injected() else {
        return Ok(());
    };
    let exception = |vector| event.kind == event::HARDWARE_EXCEPTION && event.vector == vector;
    let wakes = match state {
        activity::HLT => {
            matches!(event.kind, event::EXTERNAL_INTERRUPT | event::NMI | event::OTHER)
                || exception(VECTOR_DB)
                || exception(VECTOR_MC)
        }
        activity::SHUTDOWN => event.kind == event::NMI || exception(VECTOR_MC),
        activity::WAIT_FOR_SIPI => false,
        _ => true,
    };
    reject_if(
        !wakes,
        "the injected event cannot end the guest's activity state (SDM 27.3.1.5)",
        &[ACTIVITY, INFO],
    )
}

fn interruptibility(view: &View<'_>) -> Result<(), Refusal> {
    let blocked = view.read(BLOCKING);
    let has = |bits| blocked & bits != 0;
    reject_if(
        has(!blocking::DEFINED),
        "guest interruptibility has a reserved bit set (SDM 27.3.1.5)",
        &[BLOCKING],
    )?;
    reject_if(
        has(blocking::STI) && has(blocking::MOV_SS),
        "STI and MOV SS both block the guest's interrupts (SDM 27.3.1.5)",
        &[BLOCKING],
    )?;
    reject_if(
        has(blocking::STI) && !view.has(Field::GUEST_RFLAGS, rflags::IF),
        "STI blocks the guest's interrupts while RFLAGS.IF is clear (SDM 27.3.1.5)",
        &[BLOCKING, Field::GUEST_RFLAGS],
    )?;
    let injected = |kind| view.injected().is_some_and(|event| event.kind == kind);
    reject_if(
        injected(event::EXTERNAL_INTERRUPT) && has(blocking::STI | blocking::MOV_SS)
            || injected(event::NMI) && has(blocking::MOV_SS),
        "an interrupt is injected while STI or MOV SS blocks it (SDM 27.3.1.5)",
        &[BLOCKING, INFO],
    )?;
    reject_if(
        has(blocking::SMI),
        "SMIs are blocked outside system management mode (SDM 27.3.1.5)",
        &[BLOCKING],
    )?;
    reject_if(
        injected(event::NMI) && has(blocking::NMI) && view.has(Field::PIN_CONTROLS, pin::VIRTUAL_NMIS),
        "an NMI is injected while virtual NMIs are blocked (SDM 27.3.1.5)",
        &[BLOCKING, INFO, Field::PIN_CONTROLS],
    )?;
    reject_if(
        has(blocking::ENCLAVE) && has(blocking::MOV_SS),
        "an enclave was interrupted where MOV SS blocks interrupts (SDM 27.3.1.5)",
        &[BLOCKING],
    )
}

fn pending_debug(view: &View<'_>) -> Result<(), Refusal> {
    const PENDING: Field = Field::GUEST_PENDING_DEBUG;
    reject_if(
        view.has(PENDING, pending_debug::RESERVED),
        "guest pending debug exceptions have a reserved bit set (SDM 27.3.1.5)",
        &[PENDING],
    )?;
    let held = view.has(BLOCKING, blocking::STI | blocking::MOV_SS) || view.read(ACTIVITY) == activity::HLT;
    let steps = view.has(Field::GUEST_RFLAGS, rflags::TF) && !view.has(Field::GUEST_DEBUGCTL, debugctl::BTF);
    reject_if(
        held && view.has(PENDING, pending_debug::SINGLE_STEP) != steps,
        "the pending single step contradicts guest RFLAGS.TF and IA32_DEBUGCTL.BTF (SDM 27.3.1.5)",
        &[PENDING, Field::GUEST_RFLAGS, Field::GUEST_DEBUGCTL],
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Case, Vmcs, each_is_named};
    use super::*;

    fn inject(v: &mut Vmcs, kind: u64, vector: u64) {
        v.set(INFO, event::VALID | kind << 8 | vector);
    }

    #[test]
    fn each_broken_activity_is_named() {
        let cases: [Case; 8] = [
            (|v| v.set(ACTIVITY, 4), "lacks the guest's activity state"),
            (|v| v.set(ACTIVITY, activity::WAIT_FOR_SIPI), "lacks the guest's activity state"),
            (
                |v| {
                    v.set(ACTIVITY, activity::HLT);
                    v.set(Field::GUEST_CS_RIGHTS, 0xa0fb);
                    v.set(Field::GUEST_SS_RIGHTS, 0xc0f3);
                },
                "halted at a privilege level",
            ),
            (
                |v| {
                    v.set(ACTIVITY, activity::HLT);
                    v.set(BLOCKING, blocking::MOV_SS);
                },
                "not active while STI or MOV SS",
            ),
            (
                |v| {
                    v.set(ACTIVITY, activity::HLT);
                    inject(v, event::SOFTWARE_INTERRUPT, 0x80);
                },
                "cannot end the guest's activity",
            ),
            (
                |v| {
                    v.set(ACTIVITY, activity::SHUTDOWN);
                    inject(v, event::HARDWARE_EXCEPTION, VECTOR_DB);
                },
                "cannot end the guest's activity",
            ),
            (
                |v| {
                    v.set(ACTIVITY, activity::HLT);
                    inject(v, event::NMI, 2);
                },
                "",
            ),
            (
                |v| {
                    v.set(ACTIVITY, activity::SHUTDOWN);
                    inject(v, event::HARDWARE_EXCEPTION, VECTOR_MC);
                },
                "",
            ),
        ];
        each_is_named(&cases, super::super::check);
    }

    #[test]
    fn each_broken_interruptibility_is_named() {
        let cases: [Case; 9] = [
            (|v| v.set(BLOCKING, 1 << 5), "interruptibility has a reserved bit"),
            (|v| v.set(BLOCKING, 3), "both block"),
            (|v| v.set(BLOCKING, blocking::STI), "RFLAGS.IF is clear"),
            (
                |v| {
                    v.toggle(Field::GUEST_RFLAGS, rflags::IF);
                    v.set(BLOCKING, blocking::STI);
                    inject(v, event::EXTERNAL_INTERRUPT, 0x30);
                },
                "injected while STI or MOV SS",
            ),
            (
                |v| {
                    v.set(BLOCKING, blocking::MOV_SS);
                    inject(v, event::NMI, 2);
                },
                "injected while STI or MOV SS",
            ),
            (|v| v.set(BLOCKING, blocking::SMI), "SMIs are blocked"),
            (
                |v| {
                    v.set(BLOCKING, blocking::NMI);
                    inject(v, event::NMI, 2);
                },
                "virtual NMIs are blocked",
            ),
            (|v| v.set(BLOCKING, blocking::ENCLAVE | blocking::MOV_SS), "enclave"),
            (|v| v.set(BLOCKING, blocking::NMI), ""),
        ];
        each_is_named(&cases, super::super::check);
    }

    #[test]
    fn each_broken_debug_exception_or_link_is_named() {
        let cases: [Case; 5] = [
            (|v| v.set(Field::GUEST_PENDING_DEBUG, 1 << 13), "debug exceptions have a reserved bit"),
            (
                |v| {
                    v.set(BLOCKING, blocking::MOV_SS);
                    v.toggle(Field::GUEST_RFLAGS, rflags::TF);
                },
                "contradicts",
            ),
            (
                |v| {
                    v.set(ACTIVITY, activity::HLT);
                    v.set(Field::GUEST_PENDING_DEBUG, pending_debug::SINGLE_STEP);
                },
                "contradicts",
            ),
            (|v| v.set(Field::VMCS_LINK_POINTER, 0x800), "link pointer"),
            (|v| v.set(Field::VMCS_LINK_POINTER, 1 << 40), "link pointer"),
        ];
        each_is_named(&cases, super::super::check);
    }
}
