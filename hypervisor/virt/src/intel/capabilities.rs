//! What this CPU's VT-x can do, and the controls that the hypervisor uses there (SDM, volume 3, appendix A).
//!
//! A capability register of controls holds two masks: bits 31:0 must be set where they are set there, bits 63:32 may be
//! set only where they are set there.

use super::controls::{
    APIC, APIC_ALWAYS, NEVER, ON_ENTRY, ON_EXIT, OnEntry, OnExit, PIN, PRIMARY, PRIMARY_OPTIONAL, Pin,
    Primary, SECONDARY, SECONDARY_OPTIONAL, Secondary, WITHOUT_TPR_SHADOW,
};
use super::entry_checks::{ControlLimits, Limits};
use super::refusal::Refusal;
use crate::engine::ApicVirtualization;
use bitflags::{Flags, bitflags};
use core::arch::x86_64::CpuidResult;
use core::fmt;
use vcpu::control::efer;

const BASIC: u32 = 0x480;
const PRIMARY_CONTROLS: u32 = 0x482;
const SECONDARY_CONTROLS: u32 = 0x48b;
const EPT_VPID: u32 = 0x48c;

/// A capability register of controls, with its name for errors.
struct Register {
    index: u32,
    name: &'static str,
}

const TRUE_PIN: Register = Register { index: 0x48d, name: "IA32_VMX_TRUE_PINBASED_CTLS" };
const TRUE_PRIMARY: Register = Register { index: 0x48e, name: "IA32_VMX_TRUE_PROCBASED_CTLS" };
const TRUE_EXIT: Register = Register { index: 0x48f, name: "IA32_VMX_TRUE_EXIT_CTLS" };
const TRUE_ENTRY: Register = Register { index: 0x490, name: "IA32_VMX_TRUE_ENTRY_CTLS" };
const SECOND: Register = Register { index: SECONDARY_CONTROLS, name: "IA32_VMX_PROCBASED_CTLS2" };

/// IA32_VMX_BASIC (SDM A.1): the revision of the structures, and whether there are true controls.
const REVISION: u64 = 0x7fff_ffff;
const HAS_TRUE_CONTROLS: u64 = 1 << 55;

bitflags! {
    /// IA32_VMX_EPT_VPID_CAP (SDM A.10), as far as the hypervisor makes use of it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)] // the names are the manual's
    pub struct Translation: u64 {
        const FOUR_LEVELS = 1 << 6;
        const WRITE_BACK = 1 << 14;
        const PAGES_2M = 1 << 16;
        const PAGES_1G = 1 << 17;
        const INVEPT = 1 << 20;
        const ACCESSED_DIRTY = 1 << 21;
        const INVEPT_SINGLE = 1 << 25;
        const INVEPT_ALL = 1 << 26;
        const INVVPID = 1 << 32;
        const INVVPID_SINGLE = 1 << 41;
        const INVVPID_ALL = 1 << 42;
    }
}

/// What the CPU can do, and the controls to use on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What a VMXON region and a VMCS begin with.
    pub revision: u32,
    /// Pin-based controls.
    pub pin: u32,
    /// Primary processor-based controls, both windows closed.
    pub primary: u32,
    /// Secondary processor-based controls.
    pub secondary: u32,
    /// Exit controls.
    pub on_exit: u32,
    /// Entry controls, for a guest outside IA-32e mode.
    pub on_entry: u32,
    /// How translations are made and dropped.
    pub translation: Translation,
    /// What the processor's checks at an entry go by.
    pub limits: Limits,
}

impl Capabilities {
    /// The capabilities that the registers tell which `read` reads, and CPUID leaf 0x8000_0008 (`sizes`); the processor runs
    /// local APICs as `apics` says.
    ///
    /// # Errors
    /// What the hypervisor cannot do without.
    pub fn detect(
        sizes: &CpuidResult,
        apics: ApicVirtualization,
        mut read: impl FnMut(u32) -> u64,
    ) -> Result<Self, Refusal> {
        // First what an operator may have heard of: old processors lack it, and true controls besides.
        if read(PRIMARY_CONTROLS) >> 32 & u64::from(Primary::SECONDARY_CONTROLS.bits()) == 0 {
            return Err(Refusal::NoNestedPaging);
        }
        let secondary = Adjustment::read(&SECOND, &mut read);
        secondary.check_secondary()?;
        let basic = read(BASIC);
        if basic & HAS_TRUE_CONTROLS == 0 {
            return Err(Refusal::NoTrueControls);
        }
        let primary = Adjustment::read(&TRUE_PRIMARY, &mut read);
        let mut primary_wanted = primary.choose(PRIMARY, PRIMARY_OPTIONAL)?;
        if !primary_wanted.contains(Primary::TPR_SHADOW) {
            primary_wanted |= primary.choose(WITHOUT_TPR_SHADOW, Primary::empty())?;
        }
        primary.refuse_forced(NEVER)?;
        let mut secondary_wanted = secondary.choose(SECONDARY, SECONDARY_OPTIONAL)?;
        let can_run_apics = primary_wanted.contains(Primary::TPR_SHADOW) && secondary.has(APIC);
        if apics == ApicVirtualization::WherePresent && can_run_apics {
            secondary_wanted |= APIC_ALWAYS;
        }
        let translation = Translation::from_bits_truncate(read(EPT_VPID));
        check_translation(translation)?;
        let pin = Adjustment::read(&TRUE_PIN, &mut read);
        let on_exit = Adjustment::read(&TRUE_EXIT, &mut read);
        let on_entry = Adjustment::read(&TRUE_ENTRY, &mut read);
        let mut pin_wanted = pin.choose(PIN, Pin::empty())?;
        let mut exit_wanted = on_exit.choose(ON_EXIT, OnExit::empty())?;
        let runs_apics = secondary_wanted.contains(APIC_ALWAYS);
        if runs_apics && pin.has(Pin::POSTED_INTERRUPTS) && on_exit.has(OnExit::ACKNOWLEDGE_INTERRUPT) {
            // The second is what the processor needs to tell the notification from other interrupts (SDM 27.2.1.1).
            pin_wanted |= Pin::POSTED_INTERRUPTS;
            exit_wanted |= OnExit::ACKNOWLEDGE_INTERRUPT;
        }
        let entry_wanted = on_entry.choose(ON_ENTRY, OnEntry::empty())?;
        Ok(Self {
            revision: (basic & REVISION) as u32,
            pin: pin.complete(pin_wanted),
            primary: primary.complete(primary_wanted - super::controls::WINDOWS),
            secondary: secondary.complete(secondary_wanted),
            on_exit: on_exit.complete(exit_wanted),
            on_entry: on_entry.complete(entry_wanted - OnEntry::IA32E_MODE_GUEST),
            translation,
            limits: limits(sizes, read),
        })
    }

    /// Whether the processor runs guests' local APICs.
    #[inline(always)]
    pub const fn runs_apics(&self) -> bool {
        self.secondary & APIC_ALWAYS.bits() != 0
    }

    /// Whether the processor takes interrupts that are posted to a vCPU. Then an exit for a host interrupt acknowledges that.
    #[inline(always)]
    pub const fn posts_interrupts(&self) -> bool {
        self.pin & Pin::POSTED_INTERRUPTS.bits() != 0
    }

    /// Whether the processor keeps the task priority in the virtual-APIC page.
    pub const fn has_tpr_shadow(&self) -> bool {
        self.primary & Primary::TPR_SHADOW.bits() != 0
    }
}

/// What the checks at an entry go by.
fn limits(sizes: &CpuidResult, mut read: impl FnMut(u32) -> u64) -> Limits {
    const MISC: u32 = 0x485;
    const CR0_FIXED: [u32; 2] = [0x486, 0x487];
    const CR4_FIXED: [u32; 2] = [0x488, 0x489];
    let mut pair = |[first, second]: [u32; 2]| (read(first), read(second));
    let (cr0, cr4) = (pair(CR0_FIXED), pair(CR4_FIXED));
    let mut controls = |register: &Register| ControlLimits::from_msr(read(register.index));
    Limits {
        pin: controls(&TRUE_PIN),
        primary: controls(&TRUE_PRIMARY),
        secondary: controls(&SECOND),
        exit: controls(&TRUE_EXIT),
        entry: controls(&TRUE_ENTRY),
        // Never switched on.
        tertiary: 0,
        basic: read(BASIC),
        misc: read(MISC),
        ept_vpid: read(EPT_VPID),
        cr0,
        cr4,
        efer: efer::SCE | efer::LME | efer::LMA | efer::NXE,
        physical_bits: sizes.eax & 0xff,
        linear_bits: sizes.eax >> 8 & 0xff,
    }
}

/// What one register says.
struct Adjustment {
    must: u32,
    may: u32,
    register: &'static str,
}

impl Adjustment {
    fn read(register: &Register, read: &mut impl FnMut(u32) -> u64) -> Self {
        let value = read(register.index);
        Self { must: value as u32, may: (value >> 32) as u32, register: register.name }
    }

    /// Whether the processor has all of `wanted`.
    fn has(&self, wanted: impl Flags<Bits = u32>) -> bool {
        wanted.bits() & !self.may == 0
    }

    /// All of `required`, and what the processor has of `optional`.
    fn choose<F: Flags<Bits = u32> + Copy>(&self, required: F, optional: F) -> Result<F, Refusal> {
        match required.iter_names().find(|(_, control)| control.bits() & !self.may != 0) {
            Some((name, _)) => Err(Refusal::Control { name, register: self.register }),
            None => Ok(F::from_bits_retain(required.bits() | optional.bits() & self.may)),
        }
    }

    /// Refuses a processor that cannot do without one of `unwanted`.
    fn refuse_forced(&self, unwanted: Primary) -> Result<(), Refusal> {
        match unwanted.iter_names().find(|(_, control)| control.bits() & self.must != 0) {
            Some((name, _)) => Err(Refusal::Control { name, register: self.register }),
            None => Ok(()),
        }
    }

    /// What an operator may have heard of is refused by its own name.
    const fn check_secondary(&self) -> Result<(), Refusal> {
        if self.may & Secondary::EPT.bits() == 0 {
            return Err(Refusal::NoNestedPaging);
        }
        if self.may & Secondary::UNRESTRICTED_GUEST.bits() == 0 {
            return Err(Refusal::NoUnrestrictedGuest);
        }
        if self.may & Secondary::VPID.bits() == 0 {
            return Err(Refusal::NoVpid);
        }
        Ok(())
    }

    /// `wanted` with what the processor insists on.
    fn complete(&self, wanted: impl Flags<Bits = u32>) -> u32 {
        wanted.bits() | self.must
    }
}

/// Whether the nested tables can be used, and translations dropped by one of two ways.
const fn check_translation(translation: Translation) -> Result<(), Refusal> {
    const TABLES: Translation =
        Translation::FOUR_LEVELS.union(Translation::WRITE_BACK).union(Translation::PAGES_2M);
    const INVEPT_KINDS: Translation = Translation::INVEPT_SINGLE.union(Translation::INVEPT_ALL);
    const INVVPID_KINDS: Translation = Translation::INVVPID_SINGLE.union(Translation::INVVPID_ALL);
    if !translation.contains(TABLES) {
        return Err(Refusal::NoSuitableNestedPaging);
    }
    let drops_nested = translation.contains(Translation::INVEPT) && translation.intersects(INVEPT_KINDS);
    let drops_guest = translation.contains(Translation::INVVPID) && translation.intersects(INVVPID_KINDS);
    if drops_nested && drops_guest { Ok(()) } else { Err(Refusal::NoInvalidation) }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |control: Secondary| self.secondary & control.bits() != 0;
        let features = [
            (self.has_tpr_shadow(), "tpr-shadow"),
            (self.runs_apics(), "apic-virtualization"),
            (self.posts_interrupts(), "posted-interrupts"),
            (has(Secondary::PAUSE_LOOP_EXITING), "pause-loop-exiting"),
            (has(Secondary::INVPCID), "invpcid"),
            (self.translation.contains(Translation::PAGES_1G), "1g-pages"),
            (self.translation.contains(Translation::ACCESSED_DIRTY), "accessed-dirty"),
        ];
        f.write_str("VT-x, ept vpid unrestricted-guest")?;
        for (_, name) in features.iter().filter(|(has, _)| *has) {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::string::ToString;

    /// The registers of an Intel Core i7 Skylake-X, as Bochs 3.0 lists them (`cpudb/intel/corei7_skylake-x.cc`).
    pub fn skylake(index: u32) -> u64 {
        match index {
            BASIC => 0x00da_0400_0000_0004,
            PRIMARY_CONTROLS => 0xfff9_fffe_0401_e172,
            0x48b => 0x025d_3fff_0000_0000,
            0x48c => 0x0f01_0673_4141,
            0x48d => 0x00ff_0000_0016,
            0x48e => 0xfff9_fffe_0400_6172,
            0x48f => 0x01ff_ffff_0003_6dfb,
            0x485 => 0x7004_c1e7,
            0x486 => 0x8000_0021,
            0x487 => 0xffff_ffff,
            0x488 => 0x2000,
            0x489 => 0x0037_27ff,
            0x490 => 0x0003_ffff_0000_11fb,
            _ => 0,
        }
    }

    /// 52 and 48 bits of physical and linear addresses: the frames of tests are anywhere.
    const SIZES: CpuidResult = CpuidResult { eax: 0x3034, ebx: 0, ecx: 0, edx: 0 };

    /// Its capabilities.
    pub fn capabilities() -> Capabilities {
        Capabilities::detect(&SIZES, ApicVirtualization::WherePresent, skylake).unwrap()
    }

    /// What is said of a Skylake whose register `index` lacks `bits`.
    fn without(index: u32, bits: u64) -> Result<Capabilities, Refusal> {
        Capabilities::detect(&SIZES, ApicVirtualization::WherePresent, |asked| {
            skylake(asked) & if asked == index { !bits } else { u64::MAX }
        })
    }

    #[test]
    fn the_log_names_what_the_cpu_has() {
        let expected = "VT-x, ept vpid unrestricted-guest tpr-shadow apic-virtualization posted-interrupts pause-loop-exiting invpcid 1g-pages accessed-dirty";
        assert_eq!(capabilities().to_string(), expected);
    }

    #[test]
    fn what_the_processor_insists_on_is_set_and_what_nobody_wants_is_not() {
        let capabilities = capabilities();
        assert_eq!(capabilities.pin, 0xbf);
        assert_eq!(capabilities.primary & 0x0400_6172, 0x0400_6172);
        assert_eq!(capabilities.primary & (NEVER | super::super::controls::WINDOWS).bits(), 0);
        assert_eq!(capabilities.on_entry & OnEntry::IA32E_MODE_GUEST.bits(), 0);
        assert_eq!(capabilities.revision, 4);
    }

    #[test]
    fn each_thing_that_is_missing_is_named() {
        let secondary = |bit: u32| without(0x48b, 1 << (32 + bit));
        let cases = [
            (without(PRIMARY_CONTROLS, 1 << 63), "no EPT (IA32_VMX_PROCBASED_CTLS2"),
            (without(BASIC, HAS_TRUE_CONTROLS), "true controls"),
            (secondary(1), "no EPT (IA32_VMX_PROCBASED_CTLS2"),
            (secondary(5), "no VPID"),
            (secondary(7), "no unrestricted guest"),
            (secondary(6), "WBINVD_EXITING (IA32_VMX_PROCBASED_CTLS2)"),
            (without(0x48c, 1 << 6), "four levels"),
            (without(0x48c, 1 << 20), "INVEPT"),
            (without(0x48c, 3 << 41), "INVVPID"),
            (without(0x48d, 1 << 37), "VIRTUAL_NMIS (IA32_VMX_TRUE_PINBASED_CTLS)"),
            (without(0x48e, 1 << 60), "MSR_BITMAPS"),
            (without(0x48f, 1 << 53), "LOAD_EFER (IA32_VMX_TRUE_EXIT_CTLS)"),
            (without(0x490, 1 << 47), "LOAD_EFER (IA32_VMX_TRUE_ENTRY_CTLS)"),
        ];
        for (refused, named) in cases {
            let message = refused.unwrap_err().to_string();
            assert!(
                message.contains(named) && message.contains("newer CPU"),
                "{message} does not name {named}"
            );
        }
    }

    #[test]
    fn moves_to_cr3_that_must_exit_are_refused() {
        let forced = Capabilities::detect(&SIZES, ApicVirtualization::WherePresent, |index| {
            skylake(index) | u64::from(index == 0x48e) << 15
        });
        assert!(forced.unwrap_err().to_string().contains("CR3_LOAD_EXITING"));
    }

    #[test]
    fn without_a_tpr_shadow_accesses_to_cr8_exit() {
        let capabilities = without(0x48e, 1 << (32 + 21)).unwrap();
        assert!(!capabilities.has_tpr_shadow());
        assert_eq!(capabilities.primary & WITHOUT_TPR_SHADOW.bits(), WITHOUT_TPR_SHADOW.bits());
    }

    #[test]
    fn apics_are_run_where_the_cpu_has_all_that_it_takes_and_nobody_switched_that_off() {
        for part in [0, 4, 8, 9] {
            let capabilities = without(0x48b, 1 << (32 + part)).unwrap();
            assert!(!capabilities.runs_apics() && capabilities.secondary & APIC.bits() == 0, "bit {part}");
        }
        assert!(!without(0x48e, 1 << (32 + 21)).unwrap().runs_apics());
        let off = Capabilities::detect(&SIZES, ApicVirtualization::Off, skylake).unwrap();
        assert!(!off.runs_apics() && off.has_tpr_shadow());
        assert!(!off.posts_interrupts() && off.on_exit & OnExit::ACKNOWLEDGE_INTERRUPT.bits() == 0);
        // How the guest reaches it is the vCPU's to say.
        assert_eq!(capabilities().secondary & APIC.bits(), APIC_ALWAYS.bits());
    }

    #[test]
    fn interrupts_are_posted_where_exits_acknowledge_them() {
        assert!(capabilities().posts_interrupts());
        for (register, bit) in [(0x48d, 7), (0x48f, 15)] {
            let capabilities = without(register, 1 << (32 + bit)).unwrap();
            assert!(capabilities.runs_apics() && !capabilities.posts_interrupts());
            assert_eq!(capabilities.on_exit & OnExit::ACKNOWLEDGE_INTERRUPT.bits(), 0);
        }
    }

    #[test]
    fn a_processor_without_monitor_and_mwait_is_taken() {
        let capabilities = without(0x48e, 1 << (32 + 10) | 1 << (32 + 29)).unwrap();
        assert_eq!(capabilities.primary & Primary::MONITOR_EXITING.bits(), 0);
    }
}
