//! Checks on the VM-execution control fields (SDM 325462, volume 3, section 27.2.1.1).

use super::super::bits::{ept_vpid, exit, pin, primary, secondary};
use super::super::{Field, Refusal, View, reject_if};

const PIN: Field = Field::PIN_CONTROLS;
const PRIMARY: Field = Field::PRIMARY_CONTROLS;
const SECONDARY: Field = Field::SECONDARY_CONTROLS;

pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    reserved(view)?;
    bitmaps(view)?;
    local_apic(view)?;
    nmis(view)?;
    apic_virtualization(view)?;
    translation(view)?;
    let scaled = view.secondary(secondary::TSC_SCALING);
    reject_if(
        scaled && view.read(Field::TSC_MULTIPLIER) == 0,
        "TSC scaling is on and the TSC multiplier is 0 (SDM 27.2.1.1)",
        &[Field::TSC_MULTIPLIER],
    )
}

impl View<'_> {
    /// Whether any of `bits` is on among the secondary controls, which count only where the primary ones say so.
    pub fn secondary(&self, bits: u64) -> bool {
        self.has(PRIMARY, primary::SECONDARY) && self.has(SECONDARY, bits)
    }
}

fn reserved(view: &View<'_>) -> Result<(), Refusal> {
    let limits = view.limits;
    reject_if(
        !limits.pin.permit(view.read(PIN)),
        "pin-based controls differ from what IA32_VMX_PINBASED_CTLS permits (SDM 27.2.1.1)",
        &[PIN],
    )?;
    reject_if(
        !limits.primary.permit(view.read(PRIMARY)),
        "primary controls differ from what IA32_VMX_PROCBASED_CTLS permits (SDM 27.2.1.1)",
        &[PRIMARY],
    )?;
    reject_if(
        view.has(PRIMARY, primary::SECONDARY) && !limits.secondary.permit(view.read(SECONDARY)),
        "secondary controls differ from what IA32_VMX_PROCBASED_CTLS2 permits (SDM 27.2.1.1)",
        &[SECONDARY],
    )?;
    let tertiary = Field::TERTIARY_CONTROLS;
    reject_if(
        view.has(PRIMARY, primary::TERTIARY) && view.has(tertiary, !limits.tertiary),
        "tertiary controls differ from what IA32_VMX_PROCBASED_CTLS3 permits (SDM 27.2.1.1)",
        &[tertiary],
    )?;
    let targets = Field::CR3_TARGET_COUNT;
    reject_if(
        view.read(targets) > limits.misc >> 16 & 0x1ff,
        "there are more CR3 targets than the processor has (SDM 27.2.1.1)",
        &[targets],
    )
}

fn bitmaps(view: &View<'_>) -> Result<(), Refusal> {
    for bitmap in [Field::IO_BITMAP_A, Field::IO_BITMAP_B] {
        reject_if(
            view.has(PRIMARY, primary::IO_BITMAPS) && !view.is_page(view.read(bitmap)),
            "an I/O bitmap is not a page of physical memory (SDM 27.2.1.1)",
            &[bitmap],
        )?;
    }
    reject_if(
        view.has(PRIMARY, primary::MSR_BITMAPS) && !view.is_page(view.read(Field::MSR_BITMAPS)),
        "the MSR bitmaps are not a page of physical memory (SDM 27.2.1.1)",
        &[Field::MSR_BITMAPS],
    )
}

fn local_apic(view: &View<'_>) -> Result<(), Refusal> {
    let shadowed = view.has(PRIMARY, primary::TPR_SHADOW);
    reject_if(
        shadowed && !view.is_page(view.read(Field::VIRTUAL_APIC_ADDRESS)),
        "the virtual-APIC page is not a page of physical memory (SDM 27.2.1.1)",
        &[Field::VIRTUAL_APIC_ADDRESS],
    )?;
    let delivers = view.secondary(secondary::INTERRUPT_DELIVERY);
    reject_if(
        shadowed && !delivers && view.has(Field::TPR_THRESHOLD, !0xf),
        "the TPR threshold has a bit above 3:0 (SDM 27.2.1.1)",
        &[Field::TPR_THRESHOLD],
    )?;
    let needs_shadow = secondary::X2APIC_MODE | secondary::APIC_REGISTERS | secondary::INTERRUPT_DELIVERY;
    reject_if(
        !shadowed && view.secondary(needs_shadow),
        "APIC virtualization is on without a TPR shadow (SDM 27.2.1.1)",
        &[PRIMARY, SECONDARY],
    )
}

fn nmis(view: &View<'_>) -> Result<(), Refusal> {
    let virtual_nmis = view.has(PIN, pin::VIRTUAL_NMIS);
    reject_if(
        virtual_nmis && !view.has(PIN, pin::NMI_EXITING),
        "virtual NMIs are on without NMI exiting (SDM 27.2.1.1)",
        &[PIN],
    )?;
    reject_if(
        !virtual_nmis && view.has(PRIMARY, primary::NMI_WINDOW_EXITING),
        "NMI-window exiting is on without virtual NMIs (SDM 27.2.1.1)",
        &[PIN, PRIMARY],
    )
}

fn apic_virtualization(view: &View<'_>) -> Result<(), Refusal> {
    let accesses = view.secondary(secondary::VIRTUALIZE_APIC_ACCESSES);
    reject_if(
        accesses && !view.is_page(view.read(Field::APIC_ACCESS_ADDRESS)),
        "the APIC-access page is not a page of physical memory (SDM 27.2.1.1)",
        &[Field::APIC_ACCESS_ADDRESS],
    )?;
    reject_if(
        accesses && view.secondary(secondary::X2APIC_MODE),
        "x2APIC mode and APIC accesses are both virtualized (SDM 27.2.1.1)",
        &[SECONDARY],
    )?;
    let delivers = view.secondary(secondary::INTERRUPT_DELIVERY);
    reject_if(
        delivers && !view.has(PIN, pin::EXTERNAL_INTERRUPT_EXITING),
        "virtual-interrupt delivery is on without external-interrupt exiting (SDM 27.2.1.1)",
        &[PIN, SECONDARY],
    )?;
    if !view.has(PIN, pin::POSTED_INTERRUPTS) {
        return Ok(());
    }
    reject_if(
        !delivers,
        "posted interrupts are on without virtual-interrupt delivery (SDM 27.2.1.1)",
        &[PIN, SECONDARY],
    )?;
    reject_if(
        !view.has(Field::EXIT_CONTROLS, exit::ACKNOWLEDGE_INTERRUPT),
        "posted interrupts are on, and exits do not acknowledge interrupts (SDM 27.2.1.1)",
        &[PIN, Field::EXIT_CONTROLS],
    )?;
    reject_if(
        view.has(Field::POSTED_INTERRUPT_VECTOR, !0xff),
        "the posted-interrupt notification vector is above 255 (SDM 27.2.1.1)",
        &[Field::POSTED_INTERRUPT_VECTOR],
    )?;
    reject_if(
        !view.is_aligned(view.read(Field::POSTED_INTERRUPT_DESCRIPTOR), 6),
        "the posted-interrupt descriptor is not 64 aligned bytes of physical memory (SDM 27.2.1.1)",
        &[Field::POSTED_INTERRUPT_DESCRIPTOR],
    )
}

fn translation(view: &View<'_>) -> Result<(), Refusal> {
    reject_if(
        view.secondary(secondary::VPID) && view.read(Field::VPID) == 0,
        "the VPID is 0 (SDM 27.2.1.1)",
        &[Field::VPID],
    )?;
    if view.secondary(secondary::EPT) {
        ept_pointer(view)?;
    } else {
        reject_if(
            view.secondary(secondary::PML | secondary::UNRESTRICTED | secondary::MODE_BASED_EXECUTE),
            "a feature of EPT is on without EPT (SDM 27.2.1.1)",
            &[SECONDARY],
        )?;
    }
    reject_if(
        view.secondary(secondary::PML) && !view.is_page(view.read(Field::PML_ADDRESS)),
        "the page-modification log is not a page of physical memory (SDM 27.2.1.1)",
        &[Field::PML_ADDRESS],
    )
}

/// SDM, volume 3, section 25.6.11: memory type 2:0, levels less one 5:3, accessed and dirty flags 6, root from 12.
fn ept_pointer(view: &View<'_>) -> Result<(), Refusal> {
    let pointer = view.read(Field::EPT_POINTER);
    let can = |ability| view.limits.ept_vpid & ability != 0;
    let fields = [Field::EPT_POINTER];
    let type_exists = match pointer & 7 {
        0 => can(ept_vpid::UNCACHEABLE),
        6 => can(ept_vpid::WRITE_BACK),
        _ => false,
    };
    reject_if(!type_exists, "the EPT pointer has an unsupported memory type (SDM 27.2.1.1)", &fields)?;
    let levels_exist = match pointer >> 3 & 7 {
        3 => true,
        4 => can(ept_vpid::FIVE_LEVELS),
        _ => false,
    };
    reject_if(!levels_exist, "the EPT pointer has an unsupported number of levels (SDM 27.2.1.1)", &fields)?;
    reject_if(
        pointer & 1 << 6 != 0 && !can(ept_vpid::ACCESSED_DIRTY),
        "the EPT pointer asks for accessed and dirty flags, which the processor lacks (SDM 27.2.1.1)",
        &fields,
    )?;
    reject_if(
        pointer & 0xf80 != 0 || !view.is_physical(pointer),
        "the EPT pointer has a reserved bit set (SDM 27.2.1.1)",
        &fields,
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Case, each_is_named};
    use super::*;

    #[test]
    fn each_broken_execution_control_is_named() {
        let cases: [Case; 29] = [
            (|v| v.set(PIN, 0), "pin-based controls"),
            (|v| v.set(PRIMARY, 0), "primary controls"),
            (|v| v.toggle(SECONDARY, 1 << 31), "secondary controls"),
            (
                |v| {
                    v.toggle(PRIMARY, primary::TERTIARY);
                    v.set(Field::TERTIARY_CONTROLS, 1);
                },
                "tertiary controls",
            ),
            (|v| v.set(Field::CR3_TARGET_COUNT, 5), "CR3 targets"),
            (|v| v.set(Field::IO_BITMAP_A, 1), "I/O bitmap"),
            (|v| v.set(Field::IO_BITMAP_B, 1 << 40), "I/O bitmap"),
            (|v| v.set(Field::MSR_BITMAPS, 0x800), "MSR bitmaps"),
            (|v| v.set(Field::VIRTUAL_APIC_ADDRESS, 8), "virtual-APIC page"),
            (
                |v| {
                    v.toggle(PIN, pin::POSTED_INTERRUPTS);
                    v.toggle(SECONDARY, secondary::INTERRUPT_DELIVERY);
                    v.set(Field::TPR_THRESHOLD, 16);
                },
                "TPR threshold",
            ),
            (|v| v.toggle(PRIMARY, primary::TPR_SHADOW), "without a TPR shadow"),
            (|v| v.toggle(PIN, pin::NMI_EXITING), "without NMI exiting"),
            (
                |v| {
                    v.toggle(PIN, pin::VIRTUAL_NMIS);
                    v.toggle(PRIMARY, primary::NMI_WINDOW_EXITING);
                },
                "without virtual NMIs",
            ),
            (
                |v| {
                    v.toggle(SECONDARY, secondary::VIRTUALIZE_APIC_ACCESSES | secondary::X2APIC_MODE);
                    v.set(Field::APIC_ACCESS_ADDRESS, 1);
                },
                "APIC-access page",
            ),
            (|v| v.toggle(SECONDARY, secondary::VIRTUALIZE_APIC_ACCESSES), "both virtualized"),
            (|v| v.toggle(PIN, pin::EXTERNAL_INTERRUPT_EXITING), "without external-interrupt exiting"),
            (|v| v.toggle(SECONDARY, secondary::INTERRUPT_DELIVERY), "without virtual-interrupt delivery"),
            (|v| v.toggle(Field::EXIT_CONTROLS, exit::ACKNOWLEDGE_INTERRUPT), "do not acknowledge"),
            (|v| v.set(Field::POSTED_INTERRUPT_VECTOR, 0x100), "notification vector"),
            (|v| v.set(Field::POSTED_INTERRUPT_DESCRIPTOR, 32), "posted-interrupt descriptor"),
            (|v| v.set(Field::VPID, 0), "VPID is 0"),
            (|v| v.toggle(Field::EPT_POINTER, 1), "unsupported memory type"),
            (|v| v.toggle(Field::EPT_POINTER, 1 << 3), "number of levels"),
            (|v| v.toggle(Field::EPT_POINTER, 1 << 6), "accessed and dirty"),
            (|v| v.toggle(Field::EPT_POINTER, 1 << 7), "EPT pointer has a reserved bit"),
            (|v| v.toggle(Field::EPT_POINTER, 1 << 40), "EPT pointer has a reserved bit"),
            (|v| v.toggle(SECONDARY, secondary::EPT), "without EPT"),
            (|v| v.set(Field::PML_ADDRESS, 1), "page-modification log"),
            (|v| v.set(Field::TSC_MULTIPLIER, 0), "TSC multiplier"),
        ];
        each_is_named(&cases, super::super::check);
    }
}
