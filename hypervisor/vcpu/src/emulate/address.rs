//! From the operand in an instruction to guest-physical bytes: effective address, segment, alignment, page walk.
//!
//! Sources: Intel SDM, volume 1, section 3.7.5; volume 3, sections 3.4.5, 5.3 to 5.5 and 6.15 (`#AC`).

use super::fault::{ALIGNMENT_CHECK, STACK_FAULT};
use super::flags::ALIGNMENT;
use super::operand::{place_in, wide_register};
use super::size::Size;
use super::{EmulationContext, EmulationFault, Executor, Privilege};
use crate::control::{cr0, cr4};
use crate::walk::WalkFault;
use crate::{Access, CpuMode, Exception, Segment, SegmentName};
use base::{Gpa, PAGE_BYTES};
use iced_x86::Register;

/// The widest operand in bytes: a YMM register.
pub(super) const OPERAND_MAX_BYTES: usize = 32;

/// Type bits of a segment's attributes (SDM volume 3, section 3.4.5.1).
const TYPE_CODE: u16 = 1 << 3;
const TYPE_EXPAND_DOWN: u16 = 1 << 2;
/// Writable for data, readable for code.
const TYPE_PERMITTED: u16 = 1 << 1;

/// An operand's address before segmentation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer {
    pub segment: SegmentName,
    pub offset: u64,
    /// What the guest gets when segment or canonical form refuse: `#GP(0)`, or `#SS(0)` for the stack.
    pub refusal: Exception,
}

/// What an operand's alignment means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alignment {
    /// `#AC` if it is not natural and the guest asked for that.
    Checked,
    /// `#GP(0)` if it is not natural, even where a stack would refuse with `#SS(0)`.
    Required,
}

/// Where the bytes of an operand are: in one page, or at the end of one and the start of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    head: Gpa,
    tail: Gpa,
    /// How many bytes are in the first page: all of them, or fewer.
    head_bytes: u8,
    bytes: u8,
}

impl Span {
    /// The address, if it is one that an atomic access of `size` can be made at.
    pub(super) fn atomic(&self, size: Size) -> Option<Gpa> {
        self.head.is_aligned(size.bytes().into()).then_some(self.head)
    }
}

impl<C: EmulationContext> Executor<'_, C> {
    /// The address in the instruction's memory operand, `bias` bytes further up.
    pub(super) fn pointer(&self, bias: u64) -> Result<Pointer, EmulationFault> {
        let instruction = &self.instruction;
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let displacement = instruction.memory_displacement64();
        let mut offset = displacement.wrapping_add(bias);
        let mut address_bytes = None;
        // The decoder has added RIP or EIP to the displacement already.
        match base {
            Register::RIP => address_bytes = Some(8),
            Register::EIP => address_bytes = Some(4),
            Register::None => {}
            _ => {
                let (gpr, bytes) = wide_register(base).ok_or(EmulationFault::Unsupported)?;
                offset = offset.wrapping_add(self.cx.gprs().get(gpr));
                address_bytes = Some(bytes);
            }
        }
        if index != Register::None {
            let (gpr, bytes) = wide_register(index).ok_or(EmulationFault::Unsupported)?;
            let scaled = self.cx.gprs().get(gpr).wrapping_mul(instruction.memory_index_scale().into());
            offset = offset.wrapping_add(scaled);
            address_bytes = address_bytes.or(Some(bytes));
        }
        let address_bytes = address_bytes.unwrap_or(instruction.memory_displ_size() as u8);
        let segment = self.memory_segment()?;
        let refusal = match segment {
            SegmentName::Fs | SegmentName::Gs => Exception::GENERAL_PROTECTION,
            // In 64-bit mode an override by another segment is ignored: what the base implies stands.
            _ if self.mode == CpuMode::Long64 => match base {
                Register::RSP | Register::RBP | Register::ESP | Register::EBP => STACK_FAULT,
                _ => Exception::GENERAL_PROTECTION,
            },
            SegmentName::Ss => STACK_FAULT,
            _ => Exception::GENERAL_PROTECTION,
        };
        Ok(Pointer { segment, offset: offset & address_mask(address_bytes), refusal })
    }

    /// The segment of the instruction's memory operand, override or default.
    pub(super) fn memory_segment(&self) -> Result<SegmentName, EmulationFault> {
        segment_name(self.instruction.memory_segment()).ok_or(EmulationFault::Unsupported)
    }

    /// Where the `bytes` bytes at `pointer` are, once everything has agreed that they may be accessed.
    pub(super) fn span(
        &mut self,
        pointer: &Pointer,
        bytes: u8,
        access: Access,
        alignment: Alignment,
    ) -> Result<Span, EmulationFault> {
        let linear = self.linear(pointer, bytes, access, alignment)?;
        self.check_alignment(linear, bytes, alignment)?;
        self.span_at(linear, bytes, access, Privilege::Current, pointer.refusal)
    }

    /// Where the `bytes` bytes at `linear` are. `refusal` is for an address that is not canonical.
    pub(super) fn span_at(
        &mut self,
        linear: u64,
        bytes: u8,
        access: Access,
        privilege: Privilege,
        refusal: Exception,
    ) -> Result<Span, EmulationFault> {
        let refuse = |fault| match fault {
            WalkFault::NotCanonical => EmulationFault::Raise(refusal),
            other => other.into(),
        };
        let head = self.cx.translate(linear, access, privilege).map_err(refuse)?;
        let in_page = PAGE_BYTES - linear % PAGE_BYTES;
        if u64::from(bytes) <= in_page {
            return Ok(Span { head, tail: head, head_bytes: bytes, bytes });
        }
        let next = self.truncated(linear.wrapping_add(in_page));
        let tail = self.cx.translate(next, access, privilege).map_err(refuse)?;
        // Less than `bytes`, by the branch above.
        Ok(Span { head, tail, head_bytes: in_page as u8, bytes })
    }

    /// The bytes of a span; those past it are zero.
    pub(super) fn read_span(&mut self, span: &Span) -> Result<[u8; OPERAND_MAX_BYTES], EmulationFault> {
        let mut buffer = [0; OPERAND_MAX_BYTES];
        let used = buffer.get_mut(..usize::from(span.bytes)).ok_or(EmulationFault::Unsupported)?;
        let (head, tail) =
            used.split_at_mut_checked(span.head_bytes.into()).ok_or(EmulationFault::Unsupported)?;
        self.cx.read(span.head, head)?;
        if !tail.is_empty() {
            self.cx.read(span.tail, tail)?;
        }
        Ok(buffer)
    }

    /// Replaces the bytes of a span by the first of `bytes`.
    pub(super) fn write_span(&mut self, span: &Span, bytes: &[u8]) -> Result<(), EmulationFault> {
        let used = bytes.get(..usize::from(span.bytes)).ok_or(EmulationFault::Unsupported)?;
        let (head, tail) =
            used.split_at_checked(span.head_bytes.into()).ok_or(EmulationFault::Unsupported)?;
        self.cx.write(span.head, head)?;
        if !tail.is_empty() {
            self.cx.write(span.tail, tail)?;
        }
        Ok(())
    }

    /// The number in a span.
    pub(super) fn read_scalar(&mut self, span: &Span) -> Result<u64, EmulationFault> {
        let [a, b, c, d, e, f, g, h, ..] = self.read_span(span)?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Replaces the number in a span.
    pub(super) fn write_scalar(&mut self, span: &Span, value: u64) -> Result<(), EmulationFault> {
        self.write_span(span, &value.to_le_bytes())
    }

    /// The linear address, if segment and canonical form agree.
    fn linear(
        &self,
        pointer: &Pointer,
        bytes: u8,
        access: Access,
        alignment: Alignment,
    ) -> Result<u64, Exception> {
        let segment = self.cx.segment(pointer.segment);
        if self.mode == CpuMode::Long64 {
            // Only FS and GS have a base, and no segment a limit (SDM volume 1, section 3.4.2.1).
            let has_base = matches!(pointer.segment, SegmentName::Fs | SegmentName::Gs);
            let linear = if has_base { segment.base } else { 0 }.wrapping_add(pointer.offset);
            let last = linear.wrapping_add(u64::from(bytes).saturating_sub(1));
            let canonical = self.is_canonical(linear) && self.is_canonical(last);
            if !canonical && alignment == Alignment::Required {
                self.check_alignment(linear, bytes, alignment)?;
            }
            return if canonical { Ok(linear) } else { Err(pointer.refusal) };
        }
        let is_protected = matches!(self.mode, CpuMode::Protected16 | CpuMode::Protected32);
        if is_protected && !allows(&segment, access) {
            return Err(pointer.refusal);
        }
        let last = pointer.offset.saturating_add(u64::from(bytes).saturating_sub(1));
        if !within_limit(&segment, pointer.offset, last) {
            return Err(pointer.refusal);
        }
        Ok(self.truncated(segment.base.wrapping_add(pointer.offset)))
    }

    /// Outside of 64-bit mode linear addresses are 32 bits wide and wrap.
    fn truncated(&self, linear: u64) -> u64 {
        if self.mode == CpuMode::Long64 { linear } else { linear & u64::from(u32::MAX) }
    }

    fn is_canonical(&self, linear: u64) -> bool {
        let unused = if self.cx.cr4() & cr4::LA57 != 0 { 64 - 57 } else { 64 - 48 };
        ((linear << unused) as i64 >> unused) as u64 == linear
    }

    fn check_alignment(&self, linear: u64, bytes: u8, alignment: Alignment) -> Result<(), Exception> {
        // Where alignment is not required, 16 bytes are the most that processors were seen to check.
        let natural = if alignment == Alignment::Required { bytes } else { bytes.min(16) };
        if linear.is_multiple_of(u64::from(natural)) {
            return Ok(());
        }
        match alignment {
            Alignment::Required => Err(Exception::GENERAL_PROTECTION),
            Alignment::Checked if self.checks_alignment() => Err(ALIGNMENT_CHECK),
            Alignment::Checked => Ok(()),
        }
    }

    fn checks_alignment(&self) -> bool {
        self.cx.cpl() == 3 && self.cx.cr0() & cr0::AM != 0 && self.cx.rflags() & ALIGNMENT != 0
    }
}

/// A mask of the bits of an address of `bytes` bytes.
pub(super) const fn address_mask(bytes: u8) -> u64 {
    match bytes {
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// The segment register that the decoder calls `register`.
pub(super) fn segment_name(register: Register) -> Option<SegmentName> {
    use SegmentName as S;
    const ORDER: [SegmentName; 6] = [S::Es, S::Cs, S::Ss, S::Ds, S::Fs, S::Gs];
    ORDER.get(place_in(register, Register::ES, ORDER.len())?).copied()
}

/// Whether a segment's type allows the access; a null selector's segment is not present.
const fn allows(segment: &Segment, access: Access) -> bool {
    let (code, permitted) = (segment.attributes & TYPE_CODE != 0, segment.attributes & TYPE_PERMITTED != 0);
    let by_type = match access {
        Access::Write => !code && permitted,
        _ => !code || permitted,
    };
    segment.attributes & Segment::PRESENT != 0 && by_type
}

const fn within_limit(segment: &Segment, first: u64, last: u64) -> bool {
    let limit = segment.limit as u64;
    if segment.attributes & (TYPE_CODE | TYPE_EXPAND_DOWN) != TYPE_EXPAND_DOWN {
        return last <= limit;
    }
    let top = if segment.attributes & Segment::DEFAULT_BIG != 0 { 0xffff_ffff } else { 0xffff };
    first > limit && last <= top
}
