//! The rules for writing CR0, CR4, CR8, EFER and XCR0, as pure functions.
//!
//! Each takes the value that the guest wants and the registers as they are, and gives either the exception that the
//! processor raises or what becomes of the registers.
//!
//! ```text
//!   legacy --EFER.LME=1--> long mode enabled --CR0.PG=1--> long mode active (EFER.LMA=1)
//!      ^                        |      ^                         |
//!      +------EFER.LME=0--------+      +--------CR0.PG=0---------+   (only from compatibility mode)
//! ```
//!
//! Sources: Intel SDM, volume 3, sections 2.5 (control registers), 2.2.1 (EFER), 2.6 (XCR0), 4.1 (paging modes),
//! 4.10.4.1 (what invalidates translations), 10.8.5 (entering long mode); AMD APM 24593, volume 2, sections 3.1,
//! 5.5.3, 14.6 and 15.16. Where both vendors differ, the comment says whose rule is taken.

use crate::Exception;

/// Bits of CR0.
pub mod cr0 {
    #![allow(missing_docs)] // the names are the manuals'

    pub const PE: u64 = 1 << 0;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
    pub const ALL: u64 = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

/// Bits of CR4.
pub mod cr4 {
    #![allow(missing_docs)] // the names are the manuals'

    pub const VME: u64 = 1 << 0;
    pub const PVI: u64 = 1 << 1;
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const PCE: u64 = 1 << 8;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const LA57: u64 = 1 << 12;
    pub const VMXE: u64 = 1 << 13;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const PCIDE: u64 = 1 << 17;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
    pub const PKE: u64 = 1 << 22;
    pub const CET: u64 = 1 << 23;
}

/// Bits of EFER.
pub mod efer {
    #![allow(missing_docs)] // the names are the manuals'

    pub const SCE: u64 = 1 << 0;
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
    pub const SVME: u64 = 1 << 12;
    pub const FFXSR: u64 = 1 << 14;
}

/// Components of XCR0.
pub mod xcr0 {
    #![allow(missing_docs)] // the names are the manuals'

    pub const X87: u64 = 1 << 0;
    pub const SSE: u64 = 1 << 1;
    pub const AVX: u64 = 1 << 2;
    pub const OPMASK: u64 = 1 << 5;
    pub const ZMM_HI256: u64 = 1 << 6;
    pub const HI16_ZMM: u64 = 1 << 7;
    pub const AVX512: u64 = OPMASK | ZMM_HI256 | HI16_ZMM;
    pub const PKRU: u64 = 1 << 9;
}

/// Which bits a guest may set, by what its CPUID shows ([`crate::cpuid::Cpuid::allowed`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Bits of CR4.
    pub cr4: u64,
    /// Bits of EFER.
    pub efer: u64,
    /// Components of XCR0; zero without XSAVE.
    pub xcr0: u64,
    /// The width of a guest-physical address in bits (MAXPHYADDR).
    pub physical_bits: u32,
}

/// The registers as they are, before the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// Whether CS is a 64-bit code segment (its L bit).
    pub cs_long: bool,
}

/// What a permitted write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The register's new value.
    pub value: u64,
    /// EFER's new value: a write to CR0 can change LMA.
    pub efer: u64,
    /// Whether cached translations must go.
    pub flush_tlb: bool,
    /// Whether the four PAE directory pointers are loaded anew from CR3 (Intel SDM, volume 3, section 4.4.1).
    pub reload_pdptes: bool,
}

const GP: Exception = Exception::GENERAL_PROTECTION;

/// Whether `value` has a bit of `mask`.
const fn has(value: u64, mask: u64) -> bool {
    value & mask != 0
}

/// Whether these registers mean PAE paging, which caches its four directory pointers in registers.
const fn pae_paging(cr0: u64, cr4: u64, efer: u64) -> bool {
    has(cr0, cr0::PG) && has(cr4, cr4::PAE) && !has(efer, efer::LMA)
}

/// Judges a write of `new` to CR0.
///
/// # Errors
/// The exception that the write raises; nothing changes then.
pub fn check_cr0(new: u64, current: &Current) -> Result<Effect, Exception> {
    // Bits 63:32 fault; reserved bits below are ignored, and ET always reads as one (SDM 2.5).
    if new >> 32 != 0 {
        return Err(GP);
    }
    let value = (new & cr0::ALL) | cr0::ET;
    let impossible = has(value, cr0::PG) && !has(value, cr0::PE)
        || has(value, cr0::NW) && !has(value, cr0::CD)
        || !has(value, cr0::WP) && has(current.cr4, cr4::CET);
    if impossible {
        return Err(GP);
    }
    let changed = value ^ current.cr0;
    let efer = match (has(changed, cr0::PG), has(value, cr0::PG)) {
        (false, _) => current.efer,
        (true, true) => paging_on(current)?,
        (true, false) => paging_off(current)?,
    };
    // A change of CD or NW reloads nothing by itself, but PAE's pointers are reloaded by it (SDM 4.4.1).
    let reloads = has(changed, cr0::PG | cr0::CD | cr0::NW);
    Ok(Effect {
        value,
        efer,
        flush_tlb: has(changed, cr0::PG | cr0::WP),
        reload_pdptes: reloads && pae_paging(value, current.cr4, efer),
    })
}

/// EFER after paging was switched on (SDM 10.8.5; APM 14.6.1).
fn paging_on(current: &Current) -> Result<u64, Exception> {
    if !has(current.efer, efer::LME) {
        return Ok(current.efer);
    }
    if !has(current.cr4, cr4::PAE) || current.cs_long {
        return Err(GP);
    }
    Ok(current.efer | efer::LMA)
}

/// EFER after paging was switched off (SDM 2.5, CR0.PG, and 4.10.1).
fn paging_off(current: &Current) -> Result<u64, Exception> {
    let in_64_bit_code = has(current.efer, efer::LMA) && current.cs_long;
    if in_64_bit_code || has(current.cr4, cr4::PCIDE) {
        return Err(GP);
    }
    Ok(current.efer & !efer::LMA)
}

/// Judges a write of `new` to CR4.
///
/// # Errors
/// The exception that the write raises; nothing changes then.
pub fn check_cr4(new: u64, current: &Current, allowed: &Allowed) -> Result<Effect, Exception> {
    if has(new, !allowed.cr4) {
        return Err(GP);
    }
    let changed = new ^ current.cr4;
    if has(current.efer, efer::LMA) && (!has(new, cr4::PAE) || has(changed, cr4::LA57)) {
        return Err(GP);
    }
    // PCIDE goes on only in long mode and with PCID 0 in use (SDM 4.10.1).
    if has(changed & new, cr4::PCIDE) && (!has(current.efer, efer::LMA) || current.cr3 & 0xfff != 0) {
        return Err(GP);
    }
    if has(new, cr4::CET) && !has(current.cr0, cr0::WP) {
        return Err(GP);
    }
    // SMEP: only 0 to 1 has to flush (SDM 4.10.4.1); flushing at each change costs nothing that is counted.
    let paging = cr4::PSE | cr4::PAE | cr4::PGE | cr4::LA57 | cr4::PCIDE | cr4::SMEP | cr4::SMAP | cr4::PKE;
    let reloads = cr4::PSE | cr4::PAE | cr4::PGE | cr4::SMEP;
    Ok(Effect {
        value: new,
        efer: current.efer,
        flush_tlb: has(changed, paging),
        reload_pdptes: has(changed, reloads) && pae_paging(current.cr0, new, current.efer),
    })
}

/// Where the four directory pointers of PAE paging are in guest-physical memory, by `cr3` (SDM 4.4.1).
pub const fn pdpte_table(cr3: u64) -> u64 {
    cr3 & 0xffff_ffe0
}

/// Judges the directory pointers of PAE paging when they are loaded, for addresses of `physical_bits` (SDM 4.4.1).
///
/// # Errors
/// The exception that the load raises.
pub fn check_pdptes(pdptes: &[u64; 4], physical_bits: u32) -> Result<(), Exception> {
    const PRESENT: u64 = 1;
    // Bits 2:1 and 8:5 (SDM table 4-8).
    const RESERVED: u64 = 0x1e6;
    let too_high = u64::MAX.checked_shl(physical_bits).unwrap_or_default();
    let refused = pdptes.iter().any(|pdpte| has(*pdpte, PRESENT) && has(*pdpte, RESERVED | too_high));
    if refused { Err(GP) } else { Ok(()) }
}

/// Judges a write of `new` to CR8. The new task priority.
///
/// # Errors
/// The exception that the write raises; nothing changes then.
pub fn check_cr8(new: u64) -> Result<u8, Exception> {
    // Bits 63:4 are reserved (SDM 11.8.6).
    u8::try_from(new).ok().filter(|priority| *priority < 16).ok_or(GP)
}

/// Judges a write of `new` to EFER.
///
/// # Errors
/// The exception that the write raises; nothing changes then.
pub fn check_efer(new: u64, current: &Current, allowed: &Allowed) -> Result<Effect, Exception> {
    // LMA is the processor's: a write to it is ignored (SDM 2.2.1), as most kernels write back what they read.
    let value = (new & !efer::LMA) | (current.efer & efer::LMA);
    if has(value, !(allowed.efer | efer::LMA)) {
        return Err(GP);
    }
    let changed = value ^ current.efer;
    if has(changed, efer::LME) && has(current.cr0, cr0::PG) {
        return Err(GP);
    }
    Ok(Effect { value, efer: value, flush_tlb: has(changed, efer::NXE), reload_pdptes: false })
}

/// Judges XSETBV: register `index`, value `new`, at privilege level `cpl`. The new XCR0.
///
/// # Errors
/// The exception that the instruction raises; nothing changes then.
pub fn check_xcr0(index: u32, new: u64, cpl: u8, cr4: u64, allowed: &Allowed) -> Result<u64, Exception> {
    if !has(cr4, cr4::OSXSAVE) {
        return Err(Exception::INVALID_OPCODE);
    }
    let refused = cpl != 0 || index != 0 || has(new, !allowed.xcr0) || !has(new, xcr0::X87);
    // Each state needs the one it extends; AVX-512 is three that go together (SDM volume 1, 13.3).
    let avx_without_sse = has(new, xcr0::AVX) && !has(new, xcr0::SSE);
    let avx512 = new & xcr0::AVX512;
    let avx512_in_parts = avx512 != 0 && (avx512 != xcr0::AVX512 || !has(new, xcr0::AVX));
    if refused || avx_without_sse || avx512_in_parts {
        return Err(GP);
    }
    Ok(new)
}

#[cfg(test)]
mod tests;
