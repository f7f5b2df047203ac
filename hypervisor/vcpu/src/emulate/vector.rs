//! SSE and AVX moves: whole registers, aligned, unaligned and non-temporal, and the scalars and halves in them.
//!
//! The forms that only move between vector registers never touch memory; of them those are here that share an
//! instruction with a load or store. MMX registers, masks and EVEX are not.
//!
//! Source: Intel SDM, volume 2, MOVAPS to MOVUPS; section 2.7 for VEX.

use super::address::Alignment;
use super::fault::DEVICE_NOT_AVAILABLE;
use super::operand::{RegisterOperand, place_in};
use super::{EmulationContext, EmulationFault, Executor};
use crate::control::{cr0, cr4, xcr0};
use crate::{Access, CpuMode, Exception, VectorValue};
use iced_x86::{Code, Register};

/// How an instruction is encoded decides what becomes of the upper part of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// Bits past 127 stay.
    Legacy,
    /// Bits past the operand become zero.
    Vex,
}

/// Which part of a register is moved, and what becomes of the rest of its low 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// All 16 or 32 bytes.
    Whole,
    /// The low 4 or 8 bytes; the rest becomes zero.
    Scalar,
    /// Bytes 7:0; the others stay, or come from the second operand.
    LowHalf,
    /// Bytes 15:8; the others stay, or come from the second operand.
    HighHalf,
}

#[derive(Clone, Copy, Debug)]
struct Form {
    encoding: Encoding,
    part: Part,
    bytes: u8,
    alignment: Alignment,
}

impl Form {
    fn of(code: Code) -> Option<Self> {
        let form = |encoding, part, bytes, alignment| Some(Self { encoding, part, bytes, alignment });
        let whole = |encoding, bytes, alignment| form(encoding, Part::Whole, bytes, alignment);
        let scalar = |encoding, bytes| form(encoding, Part::Scalar, bytes, Alignment::Checked);
        let half = |encoding, part| form(encoding, part, 8, Alignment::Checked);
        use Encoding::{Legacy, Vex};
        match code {
            Code::Movups_xmm_xmmm128 | Code::Movups_xmmm128_xmm => whole(Legacy, 16, Alignment::Checked),
            Code::Movupd_xmm_xmmm128 | Code::Movupd_xmmm128_xmm => whole(Legacy, 16, Alignment::Checked),
            Code::Movdqu_xmm_xmmm128 | Code::Movdqu_xmmm128_xmm => whole(Legacy, 16, Alignment::Checked),
            Code::Lddqu_xmm_m128 => whole(Legacy, 16, Alignment::Checked),
            Code::Movaps_xmm_xmmm128 | Code::Movaps_xmmm128_xmm => whole(Legacy, 16, Alignment::Required),
            Code::Movapd_xmm_xmmm128 | Code::Movapd_xmmm128_xmm => whole(Legacy, 16, Alignment::Required),
            Code::Movdqa_xmm_xmmm128 | Code::Movdqa_xmmm128_xmm => whole(Legacy, 16, Alignment::Required),
            Code::Movntps_m128_xmm | Code::Movntpd_m128_xmm => whole(Legacy, 16, Alignment::Required),
            Code::Movntdq_m128_xmm | Code::Movntdqa_xmm_m128 => whole(Legacy, 16, Alignment::Required),

            Code::VEX_Vmovups_xmm_xmmm128 | Code::VEX_Vmovups_xmmm128_xmm => {
                whole(Vex, 16, Alignment::Checked)
            }
            Code::VEX_Vmovupd_xmm_xmmm128 | Code::VEX_Vmovupd_xmmm128_xmm => {
                whole(Vex, 16, Alignment::Checked)
            }
            Code::VEX_Vmovdqu_xmm_xmmm128 | Code::VEX_Vmovdqu_xmmm128_xmm => {
                whole(Vex, 16, Alignment::Checked)
            }
            Code::VEX_Vlddqu_xmm_m128 => whole(Vex, 16, Alignment::Checked),
            Code::VEX_Vmovaps_xmm_xmmm128 | Code::VEX_Vmovaps_xmmm128_xmm => {
                whole(Vex, 16, Alignment::Required)
            }
            Code::VEX_Vmovapd_xmm_xmmm128 | Code::VEX_Vmovapd_xmmm128_xmm => {
                whole(Vex, 16, Alignment::Required)
            }
            Code::VEX_Vmovdqa_xmm_xmmm128 | Code::VEX_Vmovdqa_xmmm128_xmm => {
                whole(Vex, 16, Alignment::Required)
            }
            Code::VEX_Vmovntps_m128_xmm | Code::VEX_Vmovntpd_m128_xmm => whole(Vex, 16, Alignment::Required),
            Code::VEX_Vmovntdq_m128_xmm | Code::VEX_Vmovntdqa_xmm_m128 => whole(Vex, 16, Alignment::Required),

            Code::VEX_Vmovups_ymm_ymmm256 | Code::VEX_Vmovups_ymmm256_ymm => {
                whole(Vex, 32, Alignment::Checked)
            }
            Code::VEX_Vmovupd_ymm_ymmm256 | Code::VEX_Vmovupd_ymmm256_ymm => {
                whole(Vex, 32, Alignment::Checked)
            }
            Code::VEX_Vmovdqu_ymm_ymmm256 | Code::VEX_Vmovdqu_ymmm256_ymm => {
                whole(Vex, 32, Alignment::Checked)
            }
            Code::VEX_Vlddqu_ymm_m256 => whole(Vex, 32, Alignment::Checked),
            Code::VEX_Vmovaps_ymm_ymmm256 | Code::VEX_Vmovaps_ymmm256_ymm => {
                whole(Vex, 32, Alignment::Required)
            }
            Code::VEX_Vmovapd_ymm_ymmm256 | Code::VEX_Vmovapd_ymmm256_ymm => {
                whole(Vex, 32, Alignment::Required)
            }
            Code::VEX_Vmovdqa_ymm_ymmm256 | Code::VEX_Vmovdqa_ymmm256_ymm => {
                whole(Vex, 32, Alignment::Required)
            }
            Code::VEX_Vmovntps_m256_ymm | Code::VEX_Vmovntpd_m256_ymm => whole(Vex, 32, Alignment::Required),
            Code::VEX_Vmovntdq_m256_ymm | Code::VEX_Vmovntdqa_ymm_m256 => whole(Vex, 32, Alignment::Required),

            Code::Movd_xmm_rm32 | Code::Movd_rm32_xmm => scalar(Legacy, 4),
            Code::Movss_xmm_xmmm32 | Code::Movss_xmmm32_xmm => scalar(Legacy, 4),
            Code::Movq_xmm_rm64 | Code::Movq_rm64_xmm => scalar(Legacy, 8),
            Code::Movq_xmm_xmmm64 | Code::Movq_xmmm64_xmm => scalar(Legacy, 8),
            Code::Movsd_xmm_xmmm64 | Code::Movsd_xmmm64_xmm => scalar(Legacy, 8),
            Code::VEX_Vmovd_xmm_rm32 | Code::VEX_Vmovd_rm32_xmm => scalar(Vex, 4),
            Code::VEX_Vmovss_xmm_m32 | Code::VEX_Vmovss_m32_xmm => scalar(Vex, 4),
            Code::VEX_Vmovq_xmm_rm64 | Code::VEX_Vmovq_rm64_xmm => scalar(Vex, 8),
            Code::VEX_Vmovq_xmm_xmmm64 | Code::VEX_Vmovq_xmmm64_xmm => scalar(Vex, 8),
            Code::VEX_Vmovsd_xmm_m64 | Code::VEX_Vmovsd_m64_xmm => scalar(Vex, 8),

            Code::Movlps_xmm_m64 | Code::Movlps_m64_xmm => half(Legacy, Part::LowHalf),
            Code::Movlpd_xmm_m64 | Code::Movlpd_m64_xmm => half(Legacy, Part::LowHalf),
            Code::Movhps_xmm_m64 | Code::Movhps_m64_xmm => half(Legacy, Part::HighHalf),
            Code::Movhpd_xmm_m64 | Code::Movhpd_m64_xmm => half(Legacy, Part::HighHalf),
            Code::VEX_Vmovlps_xmm_xmm_m64 | Code::VEX_Vmovlps_m64_xmm => half(Vex, Part::LowHalf),
            Code::VEX_Vmovlpd_xmm_xmm_m64 | Code::VEX_Vmovlpd_m64_xmm => half(Vex, Part::LowHalf),
            Code::VEX_Vmovhps_xmm_xmm_m64 | Code::VEX_Vmovhps_m64_xmm => half(Vex, Part::HighHalf),
            Code::VEX_Vmovhpd_xmm_xmm_m64 | Code::VEX_Vmovhpd_m64_xmm => half(Vex, Part::HighHalf),
            _ => None,
        }
    }

    /// Where the part begins in its register.
    const fn offset(&self) -> usize {
        if matches!(self.part, Part::HighHalf) { 8 } else { 0 }
    }
}

/// The contents of a register.
type Vector = [u8; 32];

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    pub(super) fn vector_move(&mut self) -> Result<(), EmulationFault> {
        let form = Form::of(self.instruction.code()).ok_or(EmulationFault::Unsupported)?;
        self.check_enabled(form.encoding)?;
        let source = self.instruction.op_count().saturating_sub(1);
        // Between registers MOVSS and MOVSD merge, which no other scalar does.
        let merges = matches!(self.instruction.code(), Code::Movss_xmm_xmmm32 | Code::Movsd_xmm_xmmm64)
            || matches!(self.instruction.code(), Code::Movss_xmmm32_xmm | Code::Movsd_xmmm64_xmm);
        if merges && !self.is_memory(source) && !self.is_memory(0) {
            return Err(EmulationFault::Unsupported);
        }

        let part = self.read_part(source, &form)?;
        if self.is_memory(0) {
            let pointer = self.pointer(0)?;
            let span = self.span(&pointer, form.bytes, Access::Write, form.alignment)?;
            return self.write_span(&span, &part);
        }
        if let Some(to) = RegisterOperand::of(self.register(0)?) {
            let [a, b, c, d, e, f, g, h, ..] = part;
            to.write(self.cx.gprs_mut(), u64::from_le_bytes([a, b, c, d, e, f, g, h]));
            return Ok(());
        }
        self.write_register(&form, part)
    }

    /// The part moved, at the start of 32 bytes whose others are zero.
    fn read_part(&mut self, source: u32, form: &Form) -> Result<Vector, EmulationFault> {
        let whole = if self.is_memory(source) {
            let pointer = self.pointer(0)?;
            let span = self.span(&pointer, form.bytes, Access::Read, form.alignment)?;
            return self.read_span(&span);
        } else if let Some(from) = RegisterOperand::of(self.register(source)?) {
            let mut whole = [0; 32];
            copy(&mut whole, &from.read(self.cx.gprs()).to_le_bytes());
            whole
        } else {
            self.vector_operand(source)?
        };
        let mut part = [0; 32];
        let end = form.offset() + usize::from(form.bytes);
        copy(&mut part, whole.get(form.offset()..end).unwrap_or_default());
        Ok(part)
    }

    fn write_register(&mut self, form: &Form, part: Vector) -> Result<(), EmulationFault> {
        let mut new = match form.part {
            Part::Whole | Part::Scalar => [0; 32],
            // VEX names the source of the other half, legacy SSE keeps it.
            Part::LowHalf | Part::HighHalf => {
                self.vector_operand(if form.encoding == Encoding::Vex { 1 } else { 0 })?
            }
        };
        let bytes = part.get(..usize::from(form.bytes)).unwrap_or_default();
        copy(new.get_mut(form.offset()..).unwrap_or_default(), bytes);
        let low: [u8; 16] = new.first_chunk().copied().unwrap_or_default();
        let value = match form.encoding {
            Encoding::Legacy => VectorValue::Xmm(low),
            Encoding::Vex if form.bytes == 32 => VectorValue::Ymm(new),
            Encoding::Vex => {
                let mut extended = [0; 32];
                copy(&mut extended, &low);
                VectorValue::Ymm(extended)
            }
        };
        let number = vector_number(self.register(0)?).ok_or(EmulationFault::Unsupported)?;
        self.cx.set_vector(number, value);
        Ok(())
    }

    fn vector_operand(&mut self, operand: u32) -> Result<Vector, EmulationFault> {
        let number = vector_number(self.register(operand)?).ok_or(EmulationFault::Unsupported)?;
        Ok(self.cx.vector(number))
    }

    /// What the operating system has enabled (SDM volume 1, sections 13.1.3 and 14.3; volume 2, tables 2-17 to 2-21).
    fn check_enabled(&self, encoding: Encoding) -> Result<(), EmulationFault> {
        const AVX: u64 = xcr0::SSE | xcr0::AVX;
        let (cr0, cr4) = (self.cx.cr0(), self.cx.cr4());
        let enabled = match encoding {
            Encoding::Legacy => cr0 & cr0::EM == 0 && cr4 & cr4::OSFXSR != 0,
            Encoding::Vex => {
                let has_vex = !matches!(self.mode, CpuMode::Real | CpuMode::Virtual8086);
                has_vex && cr4 & cr4::OSXSAVE != 0 && self.cx.xcr0() & AVX == AVX
            }
        };
        if !enabled {
            return Err(Exception::INVALID_OPCODE.into());
        }
        if cr0 & cr0::TS != 0 {
            return Err(DEVICE_NOT_AVAILABLE.into());
        }
        Ok(())
    }
}

/// The number of an XMM or YMM register that VEX can name.
fn vector_number(register: Register) -> Option<u8> {
    let place = place_in(register, Register::XMM0, 16).or_else(|| place_in(register, Register::YMM0, 16))?;
    u8::try_from(place).ok()
}

/// Copies as much of `from` as `to` has room for.
fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
