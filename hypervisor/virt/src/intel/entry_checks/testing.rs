//! A VMCS that passes every check, to be broken field by field.

use super::bits::{entry, exit, pin, primary, rflags, secondary};
use super::{ControlLimits, Field, FieldReader, Limits, Refusal, View};
use std::collections::BTreeMap;
use vcpu::control::{cr0, cr4, efer};

const MODES: u64 = efer::LMA | efer::LME;

/// A processor with 40 bits of physical addresses and every control but those that tests switch on in vain.
pub const LIMITS: Limits = Limits {
    basic: 0,
    pin: ControlLimits { required: 0x16, allowed: 0xff },
    primary: ControlLimits { required: 0x0400_6172, allowed: 0xfffb_fffe },
    secondary: ControlLimits { required: 0, allowed: 0x7fff_ffff },
    tertiary: 0,
    exit: ControlLimits { required: 0x0003_6dfb, allowed: 0x01ff_ffff },
    entry: ControlLimits { required: 0x11fb, allowed: 0x0003_ffff },
    // Four CR3 targets; HLT and shutdown as activity states.
    misc: 4 << 16 | 1 << 6 | 1 << 7,
    // Write-back tables of four levels.
    ept_vpid: 1 << 6 | 1 << 14,
    cr0: (cr0::PE | cr0::NE | cr0::PG, 0xffff_ffff),
    cr4: (cr4::VMXE, 0x00ff_ffff),
    efer: efer::SCE | efer::LME | efer::LMA | efer::NXE,
    physical_bits: 40,
    linear_bits: 48,
};

/// Fields by encoding; those not named are 0.
pub struct Vmcs(BTreeMap<u64, u64>);

impl Vmcs {
    pub fn set(&mut self, field: Field, value: u64) {
        self.0.insert(field.encoding(), value);
    }

    /// Inverts `bits` of `field`.
    pub fn toggle(&mut self, field: Field, bits: u64) {
        *self.0.entry(field.encoding()).or_default() ^= bits;
    }
}

impl FieldReader for Vmcs {
    fn read(&self, field: Field) -> u64 {
        self.0.get(&field.encoding()).copied().unwrap_or_default()
    }
}

/// A 64-bit guest at privilege level 0 with interrupts masked, under a 64-bit host, with all of APIC virtualization.
impl Default for Vmcs {
    fn default() -> Self {
        let mut vmcs = Self(BTreeMap::new());
        let fields = [
            (
                Field::PIN_CONTROLS,
                u64::from(LIMITS.pin.required)
                    | pin::EXTERNAL_INTERRUPT_EXITING
                    | pin::NMI_EXITING
                    | pin::VIRTUAL_NMIS
                    | pin::POSTED_INTERRUPTS,
            ),
            (
                Field::PRIMARY_CONTROLS,
                u64::from(LIMITS.primary.required)
                    | primary::TPR_SHADOW
                    | primary::IO_BITMAPS
                    | primary::MSR_BITMAPS
                    | primary::SECONDARY,
            ),
            (
                Field::SECONDARY_CONTROLS,
                secondary::EPT
                    | secondary::X2APIC_MODE
                    | secondary::VPID
                    | secondary::UNRESTRICTED
                    | secondary::APIC_REGISTERS
                    | secondary::INTERRUPT_DELIVERY
                    | secondary::PML
                    | secondary::TSC_SCALING,
            ),
            (
                Field::EXIT_CONTROLS,
                u64::from(LIMITS.exit.required)
                    | exit::HOST_ADDRESS_SPACE
                    | exit::ACKNOWLEDGE_INTERRUPT
                    | exit::LOAD_PAT
                    | exit::LOAD_EFER,
            ),
            (
                Field::ENTRY_CONTROLS,
                u64::from(LIMITS.entry.required)
                    | entry::LOAD_DEBUG_CONTROLS
                    | entry::IA32E_MODE_GUEST
                    | entry::LOAD_PAT
                    | entry::LOAD_EFER,
            ),
            (Field::VPID, 1),
            (Field::POSTED_INTERRUPT_VECTOR, 0xf2),
            (Field::IO_BITMAP_A, 0x1000),
            (Field::IO_BITMAP_B, 0x2000),
            (Field::MSR_BITMAPS, 0x3000),
            (Field::VIRTUAL_APIC_ADDRESS, 0x4000),
            (Field::POSTED_INTERRUPT_DESCRIPTOR, 0x5040),
            (Field::PML_ADDRESS, 0x6000),
            (Field::EPT_POINTER, 0x7000 | 3 << 3 | 6),
            (Field::TSC_MULTIPLIER, 1 << 48),
            (Field::VMCS_LINK_POINTER, u64::MAX),
            (Field::HOST_CR0, cr0::PE | cr0::NE | cr0::WP | cr0::PG),
            (Field::HOST_CR4, cr4::VMXE | cr4::PAE),
            (Field::HOST_CS_SELECTOR, 0x8),
            (Field::HOST_TR_SELECTOR, 0x18),
            (Field::HOST_PAT, 0x0007_0406_0007_0406),
            (Field::HOST_EFER, MODES | efer::NXE),
            (Field::HOST_RIP, 0xffff_ffff_8000_1000),
            (Field::GUEST_CR0, cr0::PE | cr0::NE | cr0::WP | cr0::PG),
            (Field::GUEST_CR4, cr4::VMXE | cr4::PAE),
            (Field::GUEST_DR7, 0x400),
            (Field::GUEST_PAT, 0x0007_0406_0007_0406),
            (Field::GUEST_EFER, MODES),
            (Field::GUEST_RIP, 0xffff_ffff_8100_0000),
            (Field::GUEST_RFLAGS, rflags::FIXED),
            (Field::GUEST_CS_SELECTOR, 0x8),
            (Field::GUEST_CS_RIGHTS, 0xa09b),
            (Field::GUEST_TR_SELECTOR, 0x40),
            (Field::GUEST_TR_LIMIT, 0x67),
            (Field::GUEST_TR_RIGHTS, 0x8b),
            (Field::GUEST_LDTR_LIMIT, 0xffff),
            (Field::GUEST_LDTR_RIGHTS, 0x82),
        ];
        for (field, value) in fields {
            vmcs.set(field, value);
        }
        for limit in [
            Field::GUEST_CS_LIMIT,
            Field::GUEST_SS_LIMIT,
            Field::GUEST_DS_LIMIT,
            Field::GUEST_ES_LIMIT,
            Field::GUEST_FS_LIMIT,
            Field::GUEST_GS_LIMIT,
        ] {
            vmcs.set(limit, 0xffff_ffff);
        }
        for rights in [
            Field::GUEST_SS_RIGHTS,
            Field::GUEST_DS_RIGHTS,
            Field::GUEST_ES_RIGHTS,
            Field::GUEST_FS_RIGHTS,
            Field::GUEST_GS_RIGHTS,
        ] {
            vmcs.set(rights, 0xc093);
        }
        vmcs
    }
}

/// How to break a valid VMCS, and what the failed check says then: part of it, or nothing when none fails.
pub type Case = (fn(&mut Vmcs), &'static str);

/// Asserts that `check` takes the valid VMCS, and of each broken one says just what is expected.
pub fn each_is_named(cases: &[Case], check: fn(&View<'_>) -> Result<(), Refusal>) {
    let judge =
        |vmcs: &Vmcs| check(&View { reader: vmcs, limits: &LIMITS }).map_err(|refusal| refusal.reason);
    assert_eq!(judge(&Vmcs::default()), Ok(()));
    for (spoil, named) in cases {
        let mut vmcs = Vmcs::default();
        spoil(&mut vmcs);
        match judge(&vmcs) {
            Ok(()) => assert_eq!(*named, "", "nothing is refused"),
            Err(reason) => assert!(!named.is_empty() && reason.contains(named), "{reason} is not {named:?}"),
        }
    }
}
