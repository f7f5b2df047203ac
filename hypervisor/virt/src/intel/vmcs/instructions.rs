//! The instructions of VMX that take a region, a field or a descriptor (SDM, volume 3, chapter 31).
//!
//! They tell failure by CF (no VMCS is loaded) or ZF (the loaded one has the error's number).
//!
//! Why unsafe: they are reached by assembly only, and hand memory to the processor.

use base::Hpa;
use core::arch::asm;

/// An instruction of VMX failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstructionFailed;

/// Executes `$instruction` with the address of an operand in memory, and tells whether CF and ZF stayed clear.
macro_rules! with_operand {
    ($instruction:literal, $operand:expr $(, $name:ident = $value:expr)?) => {{
        let failed: u8;
        asm!(
            concat!($instruction, " [{operand}]"),
            "setbe {failed}",
            operand = in(reg) $operand,
            $($name = in(reg) $value,)?
            failed = out(reg_byte) failed,
            options(nostack),
        );
        if failed == 0 { Ok(()) } else { Err(InstructionFailed) }
    }};
}

/// Enters VMX operation with the region at `region`.
///
/// # Errors
/// [`InstructionFailed`] when the region does not suit the processor.
///
/// # Safety
/// CR4.VMXE and the fixed bits of CR0 and CR4 are set and IA32_FEATURE_CONTROL allows it; the region is a frame with the
/// processor's revision that nobody else uses until the CPU stops.
pub unsafe fn vmxon(region: Hpa) -> Result<(), InstructionFailed> {
    let region = region.as_u64();
    // SAFETY: by the contract above.
    unsafe { with_operand!("vmxon", &raw const region) }
}

/// Writes what the processor holds of the VMCS at `region` back, and makes it "clear".
///
/// # Safety
/// The CPU is in VMX operation; the region is a frame with the processor's revision that is used as a VMCS only.
pub unsafe fn vmclear(region: Hpa) -> Result<(), InstructionFailed> {
    let region = region.as_u64();
    // SAFETY: by the contract above.
    unsafe { with_operand!("vmclear", &raw const region) }
}

/// Loads the VMCS at `region`.
///
/// # Safety
/// As for [`vmclear`]; and the VMCS is active on no other CPU.
pub unsafe fn vmptrld(region: Hpa) -> Result<(), InstructionFailed> {
    let region = region.as_u64();
    // SAFETY: by the contract above.
    unsafe { with_operand!("vmptrld", &raw const region) }
}

/// The field of the loaded VMCS that every processor has; of another one any value.
#[inline(always)]
pub fn vmread(encoding: u64) -> u64 {
    let value;
    // SAFETY: the caller is the type that knows that a VMCS is loaded, so the CPU is in VMX operation; the instruction
    // touches no memory of ours, and where it fails the register keeps what it held.
    unsafe {
        asm!("vmread {}, {}", out(reg) value, in(reg) encoding, options(nomem, nostack));
    }
    value
}

/// The field of the loaded VMCS; 0 where there is no such field.
pub fn vmread_or_zero(encoding: u64) -> u64 {
    let mut value = 0;
    // SAFETY: as for `vmread`.
    unsafe {
        asm!("vmread {}, {}", inout(reg) value, in(reg) encoding, options(nomem, nostack));
    }
    value
}

/// Writes a field of the loaded VMCS; nothing happens where there is no such field.
#[inline(always)]
pub fn vmwrite(encoding: u64, value: u64) {
    // SAFETY: as for `vmread`. What the fields say is judged where the guest is entered.
    unsafe {
        asm!("vmwrite {}, {}", in(reg) encoding, in(reg) value, options(nomem, nostack));
    }
}

/// Drops linear and combined translations: `kind` of those under `vpid` (SDM 29.4.3.1).
///
/// # Errors
/// [`InstructionFailed`] when the processor has no such kind.
///
/// # Safety
/// The CPU is in VMX operation.
pub unsafe fn invvpid(kind: u64, vpid: u16) -> Result<(), InstructionFailed> {
    let descriptor = [u64::from(vpid), 0];
    // SAFETY: by the contract above; dropping translations changes no meaning.
    unsafe { with_operand!("invvpid {kind},", &raw const descriptor, kind = kind) }
}

/// Drops guest-physical and combined translations: `kind` of those by the tables of `ept_pointer` (SDM 29.4.3.1).
///
/// # Errors
/// [`InstructionFailed`] when the processor has no such kind.
///
/// # Safety
/// The CPU is in VMX operation.
pub unsafe fn invept(kind: u64, ept_pointer: u64) -> Result<(), InstructionFailed> {
    let descriptor = [ept_pointer, 0];
    // SAFETY: by the contract above; dropping translations changes no meaning.
    unsafe { with_operand!("invept {kind},", &raw const descriptor, kind = kind) }
}
