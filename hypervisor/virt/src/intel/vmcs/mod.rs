//! The virtual-machine control structure (SDM 25): what to exit for, and the state of guest and host.
//!
//! Its fields can be reached only on the CPU that has the structure loaded, by VMREAD and VMWRITE; where they lie in its
//! region is the processor's secret. So a vCPU that is loaded nowhere keeps them in an image:
//!
//! ```text
//!   image ──load: VMCLEAR, VMPTRLD, VMWRITE of every field──> loaded on this CPU
//!     ^──────────unload: VMREAD of every field, VMCLEAR──────────┘
//! ```
//!
//! So the structure is never active on two CPUs, and whoever looks at a vCPU need not know where it is. A turn to another
//! vCPU costs some hundred instructions; it follows a time slice, or a halt.
//!
//! Why unsafe: loading hands a frame to the processor.

mod field;
mod instructions;

pub use field::Field;
pub use instructions::{InstructionFailed, invept, invvpid, vmxon};

use super::entry_checks::{self, FieldReader};
use crate::frames::{FrameSource, Frames, OutOfFrames};
use field::Kind;

/// Where the fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the image.
    Image,
    /// In the processor that executes this.
    Processor,
}

/// A VMCS.
#[derive(Debug)]
pub struct Vmcs {
    place: Place,
    region: Frames,
    image: [u64; Field::COUNT],
}

impl Vmcs {
    /// One with all fields zero, for processors whose structures have `revision` (IA32_VMX_BASIC, bits 30:0).
    ///
    /// # Errors
    /// [`OutOfFrames`] when there is no frame for it.
    pub fn new(revision: u32, frames: &mut impl FrameSource) -> Result<Self, OutOfFrames> {
        Ok(Self { place: Place::Image, region: region(revision, frames)?, image: [0; Field::COUNT] })
    }

    /// Whether it is loaded on this CPU.
    #[inline(always)]
    pub fn is_loaded(&self) -> bool {
        self.place == Place::Processor
    }

    /// The value of `field`, zero-extended; any value for a field that this processor does not have.
    #[inline(always)]
    pub fn read(&self, field: Field) -> u64 {
        match self.place {
            Place::Processor => instructions::vmread(field.encoding()),
            Place::Image => self.image.get(field as usize).copied().unwrap_or_default(),
        }
    }

    /// Makes `value` that of `field`; bits that the field does not have are dropped.
    #[inline(always)]
    pub fn write(&mut self, field: Field, value: u64) {
        match self.place {
            Place::Processor => instructions::vmwrite(field.encoding(), value),
            Place::Image => self.write_image(field, value),
        }
    }

    fn write_image(&mut self, field: Field, value: u64) {
        if let Some(slot) = self.image.get_mut(field as usize) {
            *slot = value & field.mask();
        }
    }

    /// Loads it on the CPU that executes this; one that is loaded stays so. It is to be launched, not resumed, then.
    ///
    /// A field that this processor does not have refuses the write without harm; what needs it is switched off
    /// (`capabilities`).
    ///
    /// # Errors
    /// [`InstructionFailed`] when the processor does not take the region.
    ///
    /// # Safety
    /// This CPU is in VMX operation, and no other VMCS is loaded on it.
    pub unsafe fn load(&mut self) -> Result<(), InstructionFailed> {
        if self.is_loaded() {
            return Ok(());
        }
        // SAFETY: by the contract above; the region is this value's own frame, with the processor's revision.
        unsafe {
            instructions::vmclear(self.region.hpa())?;
            instructions::vmptrld(self.region.hpa())?;
        }
        self.place = Place::Processor;
        for (field, value) in Field::ALL.into_iter().zip(&self.image) {
            if matches!(field.kind(), Kind::Control | Kind::Guest) {
                instructions::vmwrite(field.encoding(), *value);
            }
        }
        Ok(())
    }

    /// Takes it off this CPU; one that is not loaded stays so.
    pub fn unload(&mut self) {
        if !self.is_loaded() {
            return;
        }
        for field in Field::ALL {
            if matches!(field.kind(), Kind::Control | Kind::Guest) {
                self.write_image(field, instructions::vmread_or_zero(field.encoding()));
            }
        }
        self.place = Place::Image;
        // SAFETY: a loaded VMCS shows that the CPU is in VMX operation; the region is this value's own. Clearing what
        // VMPTRLD took cannot fail (SDM 30.3, VMCLEAR).
        let _ = unsafe { instructions::vmclear(self.region.hpa()) };
    }

    /// Gives its frame back. It is not loaded.
    pub fn release(self, frames: &mut impl FrameSource) {
        frames.give_back(self.region);
    }
}

impl FieldReader for Vmcs {
    fn read(&self, field: entry_checks::Field) -> u64 {
        let encoding = field.encoding();
        if self.is_loaded() {
            return instructions::vmread_or_zero(encoding);
        }
        let known = Field::ALL.into_iter().find(|known| known.encoding() == encoding);
        known.map_or(0, |known| Vmcs::read(self, known))
    }
}

/// A frame that begins with `revision`, as VMXON and VMPTRLD want it (SDM 25.2).
///
/// # Errors
/// [`OutOfFrames`] when there is none.
pub fn region(revision: u32, frames: &mut impl FrameSource) -> Result<Frames, OutOfFrames> {
    let mut region = frames.take(1)?;
    if let Some(head) = region.bytes_mut().first_chunk_mut() {
        *head = revision.to_le_bytes();
    }
    Ok(region)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HostFrames;

    #[test]
    fn a_region_begins_with_the_revision() {
        let mut vmcs = Vmcs::new(0x1234, &mut HostFrames).unwrap();
        assert_eq!(vmcs.region.bytes_mut()[..4], 0x1234_u32.to_le_bytes());
        vmcs.release(&mut HostFrames);
    }

    #[test]
    fn a_field_keeps_only_the_bits_that_it_has() {
        let mut vmcs = Vmcs::new(1, &mut HostFrames).unwrap();
        for (field, kept) in
            [(Field::Vpid, 0xffff), (Field::ExceptionBitmap, 0xffff_ffff), (Field::Rip, u64::MAX)]
        {
            vmcs.write(field, u64::MAX);
            assert_eq!(vmcs.read(field), kept, "{field:?}");
        }
        vmcs.release(&mut HostFrames);
    }
}
