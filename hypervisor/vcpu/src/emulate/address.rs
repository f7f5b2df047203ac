//! From the operand in an instruction to guest-physical bytes: effective address, segment, alignment, page walk.
//!
//! Sources: Intel SDM, volume 1, section 3.7.5; volume 3, sections 3.4.5, 5.3 to 5.5 and 6.15 (`#AC`).

use super::fault::{ALIGNMENT_CHECK, STACK_FAULT};
use super::flags::ALIGNMENT;
use super::operand::wide_register;
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
    /// `bytes` bytes from `at` on, all in one page.
    pub(super) const fn in_page(at: Gpa, bytes: u8) -> Self {
        Self { head: at, tail: at, head_bytes: bytes, bytes }
    }

    /// The address, if it is one that an atomic access of `size` can be made at.
    pub(super) fn atomic(&self, size: Size) -> Option<Gpa> {
        self.head.is_aligned(size.bytes().into()).then_some(self.head)
    }

    /// The address, if it is all in one page and one access can have it.
    fn whole(&self) -> Option<Gpa> {
        (self.head_bytes == self.bytes && self.bytes <= 8).then_some(self.head)
    }

    const fn pieces(&self) -> Pieces {
        let tail_bytes = self.bytes.saturating_sub(self.head_bytes);
        Pieces { at: self.head, left: self.head_bytes, tail: self.tail, tail_bytes }
    }
}

/// A part of a span, to be accessed in pieces.
struct Pieces {
    at: Gpa,
    left: u8,
    /// What is in the next page.
    tail: Gpa,
    tail_bytes: u8,
}

impl Pieces {
    /// The next piece: its address, and 1, 2, 4 or 8 bytes.
    fn next(&mut self) -> Option<(Gpa, u8)> {
        if self.left == 0 {
            (self.at, self.left) = (self.tail, core::mem::take(&mut self.tail_bytes));
        }
        let bytes = match self.left {
            0 => return None,
            1 => 1,
            2 | 3 => 2,
            4..8 => 4,
            _ => 8,
        };
        let at = self.at;
        self.at = Gpa::from_low_bits(at.as_u64().wrapping_add(bytes.into()));
        self.left -= bytes;
        Some((at, bytes))
    }
}

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    /// The address in the instruction's memory operand, `bias` bytes further up.
    #[inline(always)]
    pub(super) fn pointer(&self, bias: u64) -> Result<Pointer, EmulationFault> {
        let instruction = &self.instruction;
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let displacement = instruction.memory_displacement64();
        let mut offset = displacement.wrapping_add(bias);
        let mut address_bytes = None;
        if let Some((gpr, bytes)) = wide_register(base) {
            offset = offset.wrapping_add(self.cx.gprs().get(gpr));
            address_bytes = Some(bytes);
        } else {
            // The decoder has added RIP or EIP to the displacement already.
            match base {
                Register::RIP => address_bytes = Some(8),
                Register::EIP => address_bytes = Some(4),
                Register::None => {}
                _ => return Err(EmulationFault::Unsupported),
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
    #[inline(always)]
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
        let linear = self.checked(pointer, bytes, access, alignment)?;
        self.span_at(linear, bytes, access, Privilege::Current, pointer.refusal)
    }

    /// The linear address of the `bytes` bytes at `pointer`, once segment and alignment have agreed.
    #[inline(always)]
    pub(super) fn checked(
        &self,
        pointer: &Pointer,
        bytes: u8,
        access: Access,
        alignment: Alignment,
    ) -> Result<u64, Exception> {
        let linear = self.linear(pointer, bytes, access, alignment)?;
        self.check_alignment(linear, bytes, alignment)?;
        Ok(linear)
    }

    /// Where the `bytes` bytes at `linear` are. `refusal` is for an address that is not canonical.
    #[inline(always)]
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
            return Ok(Span::in_page(head, bytes));
        }
        let next = self.truncated(linear.wrapping_add(in_page));
        let tail = self.cx.translate(next, access, privilege).map_err(refuse)?;
        // Less than `bytes`, by the branch above.
        Ok(Span { head, tail, head_bytes: in_page as u8, bytes })
    }

    /// The bytes of a span; those past it are zero.
    pub(super) fn read_span(&mut self, span: &Span) -> Result<[u8; OPERAND_MAX_BYTES], EmulationFault> {
        let mut buffer = [0; OPERAND_MAX_BYTES];
        let mut rest = buffer.as_mut_slice();
        let mut pieces = span.pieces();
        while let Some((gpa, bytes)) = pieces.next() {
            let value = self.cx.read(gpa, bytes)?;
            let (now, later) = rest.split_at_mut_checked(bytes.into()).ok_or(EmulationFault::Unsupported)?;
            now.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
            rest = later;
        }
        Ok(buffer)
    }

    /// Replaces the bytes of a span by the first of `bytes`.
    pub(super) fn write_span(&mut self, span: &Span, bytes: &[u8]) -> Result<(), EmulationFault> {
        let mut rest = bytes;
        let mut pieces = span.pieces();
        while let Some((gpa, bytes)) = pieces.next() {
            let (now, later) = rest.split_at_checked(bytes.into()).ok_or(EmulationFault::Unsupported)?;
            let mut value = [0; 8];
            value.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.cx.write(gpa, bytes, u64::from_le_bytes(value))?;
            rest = later;
        }
        Ok(())
    }

    /// The number in a span.
    pub(super) fn read_scalar(&mut self, span: &Span) -> Result<u64, EmulationFault> {
        if let Some(gpa) = span.whole() {
            return Ok(self.cx.read(gpa, span.bytes)?);
        }
        let [a, b, c, d, e, f, g, h, ..] = self.read_span(span)?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Replaces the number in a span.
    pub(super) fn write_scalar(&mut self, span: &Span, value: u64) -> Result<(), EmulationFault> {
        match span.whole() {
            Some(gpa) => Ok(self.cx.write(gpa, span.bytes, value)?),
            None => self.write_span(span, &value.to_le_bytes()),
        }
    }

    /// The linear address, if segment and canonical form agree.
    #[inline(always)]
    fn linear(
        &self,
        pointer: &Pointer,
        bytes: u8,
        access: Access,
        alignment: Alignment,
    ) -> Result<u64, Exception> {
        if self.mode == CpuMode::Long64 {
            // Only FS and GS have a base, and no segment a limit (SDM volume 1, section 3.4.2.1).
            let base = match pointer.segment {
                SegmentName::Fs | SegmentName::Gs => self.cx.segment(pointer.segment).base,
                _ => 0,
            };
            let linear = base.wrapping_add(pointer.offset);
            let last = linear.wrapping_add(u64::from(bytes).saturating_sub(1));
            let canonical = self.are_canonical(linear, last);
            if !canonical && alignment == Alignment::Required {
                self.check_alignment(linear, bytes, alignment)?;
            }
            return if canonical { Ok(linear) } else { Err(pointer.refusal) };
        }
        let segment = self.cx.segment(pointer.segment);
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
    #[inline]
    fn truncated(&self, linear: u64) -> u64 {
        if self.mode == CpuMode::Long64 { linear } else { linear & u64::from(u32::MAX) }
    }

    #[inline]
    fn are_canonical(&self, first: u64, last: u64) -> bool {
        let unused = if self.cx.cr4() & cr4::LA57 != 0 { 64 - 57 } else { 64 - 48 };
        let is_canonical = |linear: u64| ((linear << unused) as i64 >> unused) as u64 == linear;
        is_canonical(first) && is_canonical(last)
    }

    #[inline(always)]
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

    #[inline]
    fn checks_alignment(&self) -> bool {
        self.cx.cpl() == 3 && self.cx.cr0() & cr0::AM != 0 && self.cx.rflags() & ALIGNMENT != 0
    }
}

/// A mask of the bits of an address of `bytes` bytes.
#[inline]
pub(super) const fn address_mask(bytes: u8) -> u64 {
    match bytes {
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// The segment register that the decoder calls `register`.
#[inline]
pub(super) fn segment_name(register: Register) -> Option<SegmentName> {
    use SegmentName as S;
    Some(match register {
        Register::ES => S::Es,
        Register::CS => S::Cs,
        Register::SS => S::Ss,
        Register::DS => S::Ds,
        Register::FS => S::Fs,
        Register::GS => S::Gs,
        _ => return None,
    })
}

/// Whether a segment's type allows the access; a null selector's segment is not present.
#[inline]
const fn allows(segment: &Segment, access: Access) -> bool {
    let (code, permitted) = (segment.attributes & TYPE_CODE != 0, segment.attributes & TYPE_PERMITTED != 0);
    let by_type = match access {
        Access::Write => !code && permitted,
        _ => !code || permitted,
    };
    segment.attributes & Segment::PRESENT != 0 && by_type
}

#[inline]
const fn within_limit(segment: &Segment, first: u64, last: u64) -> bool {
    let limit = segment.limit as u64;
    if segment.attributes & (TYPE_CODE | TYPE_EXPAND_DOWN) != TYPE_EXPAND_DOWN {
        return last <= limit;
    }
    let top = if segment.attributes & Segment::DEFAULT_BIG != 0 { 0xffff_ffff } else { 0xffff };
    first > limit && last <= top
}
