//! Registers that are only kept or only answered: nothing else in the VM depends on them.
//!
//! Sources: Intel SDM, volume 4, chapter 2, and volume 3, section 12.11 (MTRRs); AMD APM 24593, volume 2, appendix A,
//! and the processors' BIOS and kernel developer's guides for the registers at 0xC001_xxxx.

use vcpu::permission::msr;

/// IA32_MTRRCAP: 8 variable ranges, fixed ranges, write-combining.
const MTRR_CAP: u64 = 8 | 1 << 8 | 1 << 10;
/// IA32_MTRR_DEF_TYPE as firmware leaves it: enabled, everything write-back.
const MTRR_DEF_TYPE_BOOT: u64 = 1 << 11 | 6;
/// The bits of IA32_MTRR_DEF_TYPE: type, fixed ranges enabled, enabled.
const MTRR_DEF_TYPE_MASK: u64 = 0xff | 1 << 10 | 1 << 11;
/// A variable range's mask register: valid.
const MTRR_MASK_VALID: u64 = 1 << 11;

/// IA32_MISC_ENABLE: fast strings; neither branch trace storage nor precise event sampling.
const MISC_ENABLE_BOOT: u64 = 1 | 1 << 11 | 1 << 12;

/// A microcode revision above that of any erratum, where Intel (high half) and where AMD (low half) report it.
const MICROCODE_REVISION: u64 = 0x7fff_ffff_7fff_ffff;

/// HWCR: the TSC counts at the frequency of P-state 0.
const HWCR_TSC_FREQUENCY: u64 = 1 << 24;
/// VM_CR: SVM is disabled, and that is locked.
const VM_CR_DISABLED: u64 = 1 << 3 | 1 << 4;
/// DE_CFG: LFENCE serializes.
const DE_CFG_LFENCE: u64 = 1 << 1;
/// IA32_DEBUGCTL: last-branch records and single-step on branches.
const DEBUG_CONTROL_KNOWN: u64 = 0b11;

/// The registers.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    misc_enable: u64,
    mcg_status: u64,
    mtrr_def_type: u64,
    mtrr_variable: [u64; 16],
    mtrr_fixed: [u64; 11],
    hwcr: u64,
    nb_cfg: u64,
}

impl Kept {
    /// As firmware leaves them.
    pub(super) const fn new() -> Self {
        Self {
            misc_enable: MISC_ENABLE_BOOT,
            mcg_status: 0,
            mtrr_def_type: MTRR_DEF_TYPE_BOOT,
            mtrr_variable: [0; 16],
            mtrr_fixed: [0; 11],
            hwcr: HWCR_TSC_FREQUENCY,
            nb_cfg: 0,
        }
    }

    /// The value of register `index`, or `None` if it is none of these.
    pub(super) fn read(&self, index: u32) -> Option<u64> {
        Some(match index {
            msr::MISC_ENABLE => self.misc_enable,
            msr::MTRR_CAP => MTRR_CAP,
            msr::MTRR_DEF_TYPE => self.mtrr_def_type,
            msr::MTRR_PHYS_FIRST..=msr::MTRR_PHYS_LAST => *self.mtrr_variable.get(variable_index(index))?,
            msr::MCG_STATUS => self.mcg_status,
            msr::BIOS_SIGN_ID => MICROCODE_REVISION,
            msr::PLATFORM_ID | msr::MCG_CAP | msr::DEBUG_CONTROL | msr::SYSCFG | msr::INT_PENDING => 0,
            msr::HWCR => self.hwcr,
            msr::NB_CFG => self.nb_cfg,
            msr::VM_CR => VM_CR_DISABLED,
            msr::DE_CFG => DE_CFG_LFENCE,
            msr::DC_CFG..=msr::TW_CFG | msr::BU_CFG2 => 0,
            _ => *self.mtrr_fixed.get(fixed_index(index)?)?,
        })
    }

    /// Writes register `index`; `None` if it is none of these, is only to be read, or refuses `value`.
    pub(super) fn write(&mut self, index: u32, value: u64, physical_bits: u32) -> Option<()> {
        match index {
            msr::MISC_ENABLE => self.misc_enable = value,
            msr::MTRR_DEF_TYPE => {
                self.mtrr_def_type = allow(is_memory_type(value) && value & !MTRR_DEF_TYPE_MASK == 0, value)?;
            }
            msr::MTRR_PHYS_FIRST..=msr::MTRR_PHYS_LAST => {
                let allowed = is_variable_mtrr(index, value, physical_bits);
                *self.mtrr_variable.get_mut(variable_index(index))? = allow(allowed, value)?;
            }
            msr::MCG_STATUS => self.mcg_status = allow(value == 0, value)?,
            msr::DEBUG_CONTROL => {
                allow(value & !DEBUG_CONTROL_KNOWN == 0, value)?;
            }
            msr::HWCR => self.hwcr = value | HWCR_TSC_FREQUENCY,
            msr::NB_CFG => self.nb_cfg = value,
            // Errata bits and the like: without effect on a virtual processor.
            msr::BIOS_SIGN_ID | msr::SYSCFG | msr::INT_PENDING => {}
            msr::DC_CFG..=msr::TW_CFG | msr::DE_CFG..=msr::BU_CFG2 => {}
            _ => {
                let allowed = value.to_le_bytes().into_iter().all(|byte| is_memory_type(byte.into()));
                *self.mtrr_fixed.get_mut(fixed_index(index)?)? = allow(allowed, value)?;
            }
        }
        Some(())
    }
}

fn allow(allowed: bool, value: u64) -> Option<u64> {
    allowed.then_some(value)
}

/// Whether the low byte of `value` is a memory type (Intel SDM, volume 3, table 12-8).
fn is_memory_type(value: u64) -> bool {
    matches!(value & 0xff, 0 | 1 | 4 | 5 | 6)
}

/// Whether all eight entries of a page-attribute table are types: those of ranges, and UC- (table 12-10).
pub(super) fn is_pat(value: u64) -> bool {
    const UNCACHED: u8 = 7;
    value.to_le_bytes().into_iter().all(|entry| entry == UNCACHED || is_memory_type(entry.into()))
}

/// Whether a base (even index) or mask (odd) of a variable range may be `value`.
fn is_variable_mtrr(index: u32, value: u64, physical_bits: u32) -> bool {
    let address = ((1_u64 << physical_bits.min(52)) - 1) & !0xfff;
    match index % 2 {
        0 => value & !(address | 0xff) == 0 && is_memory_type(value),
        _ => value & !(address | MTRR_MASK_VALID) == 0,
    }
}

fn variable_index(index: u32) -> usize {
    index.saturating_sub(msr::MTRR_PHYS_FIRST) as usize
}

/// The place of a fixed range's register among the eleven.
fn fixed_index(index: u32) -> Option<usize> {
    Some(match index {
        msr::MTRR_FIX_64K => 0,
        msr::MTRR_FIX_16K_FIRST..=msr::MTRR_FIX_16K_LAST => 1 + (index - msr::MTRR_FIX_16K_FIRST) as usize,
        msr::MTRR_FIX_4K_FIRST..=msr::MTRR_FIX_4K_LAST => 3 + (index - msr::MTRR_FIX_4K_FIRST) as usize,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vcpu::permission::{MSRS, Permission};

    /// Registers that a device, the vCPU or the clock holds.
    const ELSEWHERE: [(u32, u32); 8] = [
        (msr::TSC, msr::TSC),
        (msr::APIC_BASE, msr::APIC_BASE),
        (msr::TSC_DEADLINE, msr::TSC_DEADLINE),
        (msr::X2APIC_FIRST, msr::X2APIC_LAST),
        (msr::KVM_WALL_CLOCK, msr::KVM_SYSTEM_TIME),
        (msr::KVM_PV_EOI, msr::KVM_PV_EOI),
        (msr::EFER, msr::EFER),
        (msr::PAT, msr::PAT),
    ];

    fn is_elsewhere(index: u32) -> bool {
        ELSEWHERE.iter().any(|&(first, last)| (first..=last).contains(&index))
    }

    #[test]
    fn every_register_that_the_permission_table_has_emulated_is_answered() {
        for rule in MSRS {
            for index in (rule.first..=rule.last).filter(|&index| !is_elsewhere(index)) {
                let mut kept = Kept::new();
                assert_eq!(kept.read(index).is_some(), rule.read == Permission::Emulate, "{index:#x}");
                let value = kept.read(index).filter(|_| index != msr::BIOS_SIGN_ID).unwrap_or(0);
                let written = kept.write(index, value, 40).is_some();
                assert_eq!(written, rule.write == Permission::Emulate, "{index:#x}");
            }
        }
    }

    #[test]
    fn mtrrs_keep_what_they_are_told_and_refuse_reserved_bits() {
        let mut kept = Kept::new();
        assert_eq!(kept.write(0x200, 0x8000_0006, 40), Some(()));
        assert_eq!(kept.write(0x201, 0xff_8000_0800, 40), Some(()));
        assert_eq!((kept.read(0x200), kept.read(0x201)), (Some(0x8000_0006), Some(0xff_8000_0800)));
        assert_eq!(kept.write(0x200, 0x8000_0002, 40), None);
        assert_eq!(kept.write(0x201, 1 << 40 | 0x800, 40), None);
        assert_eq!(kept.write(msr::MTRR_DEF_TYPE, 0x1006, 40), None);
        assert_eq!(kept.write(0x26f, 0x0606_0606_0606_0607, 40), None);
        assert_eq!(kept.write(0x26f, 0x0606_0606_0606_0606, 40), Some(()));
        assert_eq!(kept.read(0x26f), Some(0x0606_0606_0606_0606));
    }

    proptest::proptest! {
        #[test]
        fn no_access_panics(index: u32, value: u64, physical_bits: u32) {
            let mut kept = Kept::new();
            let _ = kept.write(index, value, physical_bits);
            let _ = kept.read(index);
        }
    }
}
