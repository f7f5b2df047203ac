//! FPU, vector and XCR0 state, switched when a CPU turns to another vCPU.
//!
//! The hypervisor is built for soft floats and never touches these registers, so the guest's contents and its XCR0
//! stay in hardware over any number of exits. XSAVES and IA32_XSS are not offered to guests: XSS stays 0.
//!
//! ```text
//!   reset ──> saved in the area <──save── in hardware
//!                    └────────restore───────^
//! ```
//!
//! Why unsafe: the instructions that move this state are reached by assembly only.

use crate::frames::{FrameSource, Frames, OutOfFrames};
use crate::save_area::SaveArea;
use crate::xsave::Method;
use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use vcpu::VectorValue;
use vcpu::control::{cr0, cr4};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};

/// Where MXCSR lies in the legacy region, and its value after reset (SDM, volume 1, sections 10.5.1 and 11.6.4).
const MXCSR_OFFSET: usize = 24;
const MXCSR_RESET: u32 = 0x1f80;
/// Where the x87 control word lies, and its value after FINIT.
const FCW_OFFSET: usize = 0;
const FCW_INITIAL: u16 = 0x037f;

/// The component with bits 511:256 of ZMM0-15, as CPUID 0xD numbers them.
const ZMM_HIGH: u32 = 6;

/// CPUID 1, ECX: XSAVE.
const CPUID_1_ECX_XSAVE: u32 = 1 << 26;

/// Finds out how this CPU saves its state.
pub fn detect() -> Method {
    if __cpuid(1).ecx & CPUID_1_ECX_XSAVE == 0 {
        return Method::Fxsave;
    }
    let main = __cpuid_count(0xd, 0);
    let supported = u64::from(main.edx) << 32 | u64::from(main.eax);
    Method::choose(supported, |index| {
        let leaf = __cpuid_count(0xd, index);
        (leaf.eax, leaf.ebx)
    })
}

/// Lets this CPU execute the instructions of `method`.
pub fn enable(method: Method) {
    let mut flags = cr4::OSFXSR;
    if method != Method::Fxsave {
        flags |= cr4::OSXSAVE;
    }
    // SAFETY: these flags allow instructions that the hypervisor uses here only; CR0.EM and CR0.TS clear let them run.
    unsafe {
        Cr0::update(|value| value.remove(Cr0Flags::from_bits_retain(cr0::EM | cr0::TS)));
        Cr4::update(|value| value.insert(Cr4Flags::from_bits_retain(flags)));
    }
}

/// One vCPU's state.
#[derive(Debug)]
pub struct Fpu {
    area: Frames,
    method: Method,
    xcr0: u64,
}

impl Fpu {
    /// The state after a reset, on a CPU that saves by `method`.
    ///
    /// # Errors
    /// [`OutOfFrames`] when there is no frame for the save area.
    pub fn new(method: Method, frames: &mut impl FrameSource) -> Result<Self, OutOfFrames> {
        let mut fpu = Self { area: frames.take(1)?, method, xcr0: method.admit(0) };
        fpu.reset();
        Ok(fpu)
    }

    /// Makes the saved state that after a reset. XCR0 has its own setter.
    pub fn reset(&mut self) {
        // A zero header says that every component has its initial value; MXCSR is loaded all the same
        // (SDM, volume 1, section 13.8.1), and FXRSTOR loads everything.
        let bytes = self.area.bytes_mut();
        bytes.fill(0);
        put(bytes, MXCSR_OFFSET, &MXCSR_RESET.to_le_bytes());
        put(bytes, FCW_OFFSET, &FCW_INITIAL.to_le_bytes());
    }

    /// The guest's XCR0.
    pub const fn xcr0(&self) -> u64 {
        self.xcr0
    }

    /// Makes `value` the guest's XCR0 in the saved state, without what the hardware would refuse.
    pub const fn set_xcr0(&mut self, value: u64) {
        self.xcr0 = self.method.admit(value);
    }

    /// Loads XCR0 into this CPU.
    pub fn load_xcr0(&self) {
        if self.method != Method::Fxsave {
            xsetbv(self.xcr0);
        }
    }

    /// Loads the saved state into this CPU.
    pub fn restore(&self) {
        let area = self.area.pointer().as_ptr();
        match self.method {
            // SAFETY: the area is a page of this vCPU's, aligned, and holds an image that FXSAVE or `reset` wrote.
            Method::Fxsave => unsafe {
                asm!("fxrstor64 [{}]", in(reg) area, options(nostack, preserves_flags))
            },
            Method::Xsave { components } => {
                xsetbv(components);
                // SAFETY: the area is a page of this vCPU's, which all of `components` fit into (`Method::choose`),
                // and holds an image that XSAVE or `reset` wrote, so that no reserved bit is set.
                unsafe {
                    asm!("xrstor64 [{}]", in(reg) area, in("eax") components as u32, in("edx") (components >> 32) as u32,
                         options(nostack, preserves_flags));
                }
                self.load_xcr0();
            }
        }
    }

    /// Saves the state from this CPU.
    ///
    /// All components are saved, also those that the guest's XCR0 excludes now: their registers keep their contents.
    pub fn save(&mut self) {
        let area = self.area.pointer().as_ptr();
        match self.method {
            // SAFETY: the area is a page of this vCPU's, aligned, and borrowed mutably.
            Method::Fxsave => unsafe {
                asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags))
            },
            Method::Xsave { components } => {
                xsetbv(components);
                // SAFETY: the area is a page of this vCPU's, which all of `components` fit into, borrowed mutably.
                unsafe {
                    asm!("xsave64 [{}]", in(reg) area, in("eax") components as u32, in("edx") (components >> 32) as u32,
                         options(nostack, preserves_flags));
                }
            }
        }
    }

    /// Bits 255:0 of vector register `number` in the saved state.
    pub fn vector(&mut self, number: u8) -> [u8; 32] {
        self.saved().vector(number)
    }

    /// Replaces vector register `number` in the saved state.
    pub fn set_vector(&mut self, number: u8, value: VectorValue) {
        self.saved().set_vector(number, value);
    }

    fn saved(&mut self) -> SaveArea<'_> {
        let zmm_high_offset = match self.method {
            Method::Fxsave => 0,
            Method::Xsave { .. } => __cpuid_count(0xd, ZMM_HIGH).ebx as usize,
        };
        SaveArea { bytes: self.area.bytes_mut(), method: self.method, zmm_high_offset }
    }

    /// Gives the save area back.
    pub fn release(self, frames: &mut impl FrameSource) {
        frames.give_back(self.area);
    }
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..value.len())) {
        place.copy_from_slice(value);
    }
}

/// Writes XCR0. `value` comes from `Method::choose` or `Method::admit`.
fn xsetbv(value: u64) {
    // SAFETY: CR4.OSXSAVE is set (`enable`), and the value is a valid combination of supported components; it governs
    // registers that the hypervisor does not use.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nomem, nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HostFrames;

    #[test]
    fn a_reset_area_holds_the_initial_control_words_and_an_empty_header() {
        let mut fpu = Fpu::new(Method::Xsave { components: 7 }, &mut HostFrames).unwrap();
        let bytes = fpu.area.bytes_mut();
        assert_eq!(bytes[..2], [0x7f, 0x03]);
        assert_eq!(bytes[24..28], [0x80, 0x1f, 0, 0]);
        assert!(bytes[512..].iter().all(|byte| *byte == 0));
        fpu.release(&mut HostFrames);
    }

    #[test]
    fn xcr0_never_holds_what_is_not_offered() {
        let mut fpu = Fpu::new(Method::Xsave { components: 7 }, &mut HostFrames).unwrap();
        fpu.set_xcr0(u64::MAX);
        assert_eq!(fpu.xcr0(), 7);
        fpu.set_xcr0(0);
        assert_eq!(fpu.xcr0(), 1);
        fpu.release(&mut HostFrames);
    }
}
