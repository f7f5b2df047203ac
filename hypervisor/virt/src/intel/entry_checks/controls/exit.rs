//! Checks on the VM-exit control fields (SDM 325462, volume 3, section 27.2.1.2).

use super::super::bits::{exit, pin};
use super::super::{Field, Refusal, View, reject_if};

const CONTROLS: Field = Field::EXIT_CONTROLS;

pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    reject_if(
        !view.limits.exit.permit(view.read(CONTROLS)),
        "VM-exit controls differ from what IA32_VMX_EXIT_CTLS permits (SDM 27.2.1.2)",
        &[CONTROLS],
    )?;
    let timer = view.has(Field::PIN_CONTROLS, pin::PREEMPTION_TIMER);
    reject_if(
        !timer && view.has(CONTROLS, exit::SAVE_PREEMPTION_TIMER),
        "exits save the VMX-preemption timer, which is off (SDM 27.2.1.2)",
        &[Field::PIN_CONTROLS, CONTROLS],
    )?;
    let stores = (Field::EXIT_MSR_STORE_ADDRESS, Field::EXIT_MSR_STORE_COUNT);
    reject_if(
        !view.is_msr_area(view.read(stores.0), view.read(stores.1)),
        "the VM-exit MSR-store area is not in physical memory (SDM 27.2.1.2)",
        &[stores.0, stores.1],
    )?;
    let loads = (Field::EXIT_MSR_LOAD_ADDRESS, Field::EXIT_MSR_LOAD_COUNT);
    reject_if(
        !view.is_msr_area(view.read(loads.0), view.read(loads.1)),
        "the VM-exit MSR-load area is not in physical memory (SDM 27.2.1.2)",
        &[loads.0, loads.1],
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Case, each_is_named};
    use super::*;

    #[test]
    fn each_broken_exit_control_is_named() {
        let cases: [Case; 4] = [
            (|v| v.toggle(CONTROLS, 1 << 31), "VM-exit controls"),
            (|v| v.toggle(CONTROLS, exit::SAVE_PREEMPTION_TIMER), "which is off"),
            (
                |v| {
                    v.set(Field::EXIT_MSR_STORE_COUNT, 1);
                    v.set(Field::EXIT_MSR_STORE_ADDRESS, 1);
                },
                "MSR-store area",
            ),
            (
                |v| {
                    v.set(Field::EXIT_MSR_LOAD_COUNT, 2);
                    v.set(Field::EXIT_MSR_LOAD_ADDRESS, (1 << 40) - 16);
                },
                "VM-exit MSR-load area",
            ),
        ];
        each_is_named(&cases, super::super::check);
    }
}
