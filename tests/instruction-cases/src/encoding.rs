//! The instructions, as the opcode maps have them (Intel SDM, volume 2, appendix A).

use crate::random::Random;

/// What follows the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Immediate {
    None,
    /// One byte.
    Byte,
    /// As wide as the operand, four bytes at most.
    Full,
}

/// What the ModRM byte may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register or memory.
    Any,
    /// Memory.
    Memory,
    /// There is no ModRM byte.
    Implicit,
    /// String instructions: what REP does is tried too.
    String,
}

/// The flags that an instruction leaves undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undefined {
    None,
    /// AF.
    Logic,
    /// By the count: in CL, in the immediate, or one.
    Shift(Count),
    Rotate(Count),
    /// As a shift; the result too, when the count is past the operand.
    Double(Count),
    /// OF, SF, AF, PF.
    Bits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    One,
    Cl,
    Immediate,
}

/// One line of an opcode map.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    pub name: &'static str,
    /// Prefix that belongs to the opcode, or 0.
    pub mandatory: u8,
    /// Opcode bytes; for VEX only the last, after map 1.
    pub opcode: &'static [u8],
    /// The reg field, where it belongs to the opcode.
    pub extension: Option<u8>,
    pub operand: Operand,
    pub immediate: Immediate,
    pub undefined: Undefined,
    /// Whether 66 and REX.W may be tried.
    pub sized: bool,
    /// Operands are bytes.
    pub byte: bool,
    /// VEX: whether there is a 256-bit form, and a second source.
    pub vex: Option<Vex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vex {
    /// 128 and 256 bits.
    Both,
    /// 128 bits.
    Short,
    /// 128 bits, and another source.
    ThreeOperands,
}

const fn line(name: &'static str, opcode: &'static [u8], operand: Operand) -> Encoding {
    Encoding {
        name,
        mandatory: 0,
        opcode,
        extension: None,
        operand,
        immediate: Immediate::None,
        undefined: Undefined::None,
        sized: true,
        byte: false,
        vex: None,
    }
}

impl Encoding {
    const fn byte(self) -> Self {
        Self { byte: true, sized: false, ..self }
    }
    const fn ext(self, extension: u8) -> Self {
        Self { extension: Some(extension), ..self }
    }
    const fn imm(self, immediate: Immediate) -> Self {
        Self { immediate, ..self }
    }
    const fn undef(self, undefined: Undefined) -> Self {
        Self { undefined, ..self }
    }
    /// With a mandatory prefix; no other size can be chosen.
    const fn sse(self, mandatory: u8) -> Self {
        Self { mandatory, sized: false, ..self }
    }
    const fn vex(self, mandatory: u8, vex: Vex) -> Self {
        Self { mandatory, sized: false, vex: Some(vex), ..self }
    }
}

use Count::{Cl, Immediate as ByImmediate, One};
use Immediate::{Byte, Full};
use Operand::{Any, Implicit, Memory};
use Undefined::{Bits, Double, Logic, Rotate, Shift};

/// Eight instructions whose opcodes differ in the same bits, in all their forms.
macro_rules! alu {
    ($($name:literal $base:literal $extension:literal $undefined:expr;)*) => {
        [$([
            line($name, &[$base], Any).byte().undef($undefined),
            line($name, &[$base + 1], Any).undef($undefined),
            line($name, &[$base + 2], Any).byte().undef($undefined),
            line($name, &[$base + 3], Any).undef($undefined),
            line($name, &[0x80], Any).ext($extension).byte().imm(Byte).undef($undefined),
            line($name, &[0x81], Any).ext($extension).imm(Full).undef($undefined),
            line($name, &[0x83], Any).ext($extension).imm(Byte).undef($undefined),
        ],)*]
    };
}

macro_rules! shifts {
    ($($name:literal $extension:literal $kind:ident;)*) => {
        [$([
            line($name, &[0xc0], Any).ext($extension).byte().imm(Byte).undef($kind(ByImmediate)),
            line($name, &[0xc1], Any).ext($extension).imm(Byte).undef($kind(ByImmediate)),
            line($name, &[0xd0], Any).ext($extension).byte().undef($kind(One)),
            line($name, &[0xd1], Any).ext($extension).undef($kind(One)),
            line($name, &[0xd2], Any).ext($extension).byte().undef($kind(Cl)),
            line($name, &[0xd3], Any).ext($extension).undef($kind(Cl)),
        ],)*]
    };
}

const ALU: [[Encoding; 7]; 8] = alu! {
    "add" 0x00 0 Undefined::None; "or" 0x08 1 Logic; "adc" 0x10 2 Undefined::None; "sbb" 0x18 3 Undefined::None;
    "and" 0x20 4 Logic; "sub" 0x28 5 Undefined::None; "xor" 0x30 6 Logic; "cmp" 0x38 7 Undefined::None;
};

const SHIFTS: [[Encoding; 6]; 8] = shifts! {
    "rol" 0 Rotate; "ror" 1 Rotate; "rcl" 2 Rotate; "rcr" 3 Rotate;
    "shl" 4 Shift; "shr" 5 Shift; "sal" 6 Shift; "sar" 7 Shift;
};

const OTHERS: &[Encoding] = &[
    line("test", &[0x84], Any).byte().undef(Logic),
    line("test", &[0x85], Any).undef(Logic),
    line("test", &[0xf6], Any).ext(0).byte().imm(Byte).undef(Logic),
    line("test", &[0xf7], Any).ext(0).imm(Full).undef(Logic),
    line("not", &[0xf6], Any).ext(2).byte(),
    line("not", &[0xf7], Any).ext(2),
    line("neg", &[0xf6], Any).ext(3).byte(),
    line("neg", &[0xf7], Any).ext(3),
    line("inc", &[0xfe], Any).ext(0).byte(),
    line("inc", &[0xff], Any).ext(0),
    line("dec", &[0xfe], Any).ext(1).byte(),
    line("dec", &[0xff], Any).ext(1),
    line("shld", &[0x0f, 0xa4], Any).imm(Byte).undef(Double(ByImmediate)),
    line("shld", &[0x0f, 0xa5], Any).undef(Double(Cl)),
    line("shrd", &[0x0f, 0xac], Any).imm(Byte).undef(Double(ByImmediate)),
    line("shrd", &[0x0f, 0xad], Any).undef(Double(Cl)),
    line("xchg", &[0x86], Any).byte(),
    line("xchg", &[0x87], Any),
    line("xadd", &[0x0f, 0xc0], Any).byte(),
    line("xadd", &[0x0f, 0xc1], Any),
    line("cmpxchg", &[0x0f, 0xb0], Any).byte(),
    line("cmpxchg", &[0x0f, 0xb1], Any),
    line("cmpxchg8b/16b", &[0x0f, 0xc7], Memory).ext(1),
    line("bt", &[0x0f, 0xa3], Any).undef(Bits),
    line("bts", &[0x0f, 0xab], Any).undef(Bits),
    line("btr", &[0x0f, 0xb3], Any).undef(Bits),
    line("btc", &[0x0f, 0xbb], Any).undef(Bits),
    line("bt", &[0x0f, 0xba], Any).ext(4).imm(Byte).undef(Bits),
    line("bts", &[0x0f, 0xba], Any).ext(5).imm(Byte).undef(Bits),
    line("btr", &[0x0f, 0xba], Any).ext(6).imm(Byte).undef(Bits),
    line("btc", &[0x0f, 0xba], Any).ext(7).imm(Byte).undef(Bits),
    line("mov", &[0x88], Any).byte(),
    line("mov", &[0x89], Any),
    line("mov", &[0x8a], Any).byte(),
    line("mov", &[0x8b], Any),
    line("mov", &[0xc6], Any).ext(0).byte().imm(Byte),
    line("mov", &[0xc7], Any).ext(0).imm(Full),
    line("movzx", &[0x0f, 0xb6], Any),
    line("movzx", &[0x0f, 0xb7], Any),
    line("movsx", &[0x0f, 0xbe], Any),
    line("movsx", &[0x0f, 0xbf], Any),
    // With 66 vendors disagree whether two bytes are read or four.
    line("movsxd", &[0x63], Any).sse(0),
    line("movbe", &[0x0f, 0x38, 0xf0], Memory),
    line("movbe", &[0x0f, 0x38, 0xf1], Memory),
    line("movnti", &[0x0f, 0xc3], Memory).sse(0),
    line("push", &[0xff], Any).ext(6),
    line("pop", &[0x8f], Any).ext(0),
    line("push", &[0x53], Implicit),
    line("push", &[0x54], Implicit),
    line("pop", &[0x5b], Implicit),
    line("pop", &[0x5c], Implicit),
    line("push", &[0x6a], Implicit).imm(Byte),
    line("push", &[0x68], Implicit).imm(Full),
    line("movs", &[0xa4], Operand::String).byte(),
    line("movs", &[0xa5], Operand::String),
    line("cmps", &[0xa6], Operand::String).byte(),
    line("cmps", &[0xa7], Operand::String),
    line("stos", &[0xaa], Operand::String).byte(),
    line("stos", &[0xab], Operand::String),
    line("lods", &[0xac], Operand::String).byte(),
    line("lods", &[0xad], Operand::String),
    line("scas", &[0xae], Operand::String).byte(),
    line("scas", &[0xaf], Operand::String),
    line("movups", &[0x0f, 0x10], Any).sse(0),
    line("movups", &[0x0f, 0x11], Any).sse(0),
    line("movupd", &[0x0f, 0x10], Any).sse(0x66),
    line("movaps", &[0x0f, 0x28], Any).sse(0),
    line("movaps", &[0x0f, 0x29], Any).sse(0),
    line("movapd", &[0x0f, 0x29], Any).sse(0x66),
    line("movdqa", &[0x0f, 0x6f], Any).sse(0x66),
    line("movdqa", &[0x0f, 0x7f], Any).sse(0x66),
    line("movdqu", &[0x0f, 0x6f], Any).sse(0xf3),
    line("movdqu", &[0x0f, 0x7f], Any).sse(0xf3),
    line("lddqu", &[0x0f, 0xf0], Memory).sse(0xf2),
    line("movntps", &[0x0f, 0x2b], Memory).sse(0),
    line("movntdq", &[0x0f, 0xe7], Memory).sse(0x66),
    line("movntdqa", &[0x0f, 0x38, 0x2a], Memory).sse(0x66),
    line("movd/movq", &[0x0f, 0x6e], Any).sse(0x66),
    line("movd/movq", &[0x0f, 0x7e], Any).sse(0x66),
    line("movq", &[0x0f, 0x7e], Any).sse(0xf3),
    line("movq", &[0x0f, 0xd6], Any).sse(0x66),
    line("movss", &[0x0f, 0x10], Memory).sse(0xf3),
    line("movss", &[0x0f, 0x11], Memory).sse(0xf3),
    line("movsd", &[0x0f, 0x10], Memory).sse(0xf2),
    line("movsd", &[0x0f, 0x11], Memory).sse(0xf2),
    line("movlps", &[0x0f, 0x12], Memory).sse(0),
    line("movlps", &[0x0f, 0x13], Memory).sse(0),
    line("movhps", &[0x0f, 0x16], Memory).sse(0),
    line("movhps", &[0x0f, 0x17], Memory).sse(0),
    line("movlpd", &[0x0f, 0x12], Memory).sse(0x66),
    line("movhpd", &[0x0f, 0x17], Memory).sse(0x66),
];

const AVX: &[Encoding] = &[
    line("vmovups", &[0x10], Any).vex(0, Vex::Both),
    line("vmovups", &[0x11], Any).vex(0, Vex::Both),
    line("vmovaps", &[0x28], Any).vex(0, Vex::Both),
    line("vmovaps", &[0x29], Any).vex(0, Vex::Both),
    line("vmovapd", &[0x28], Any).vex(0x66, Vex::Both),
    line("vmovdqa", &[0x6f], Any).vex(0x66, Vex::Both),
    line("vmovdqa", &[0x7f], Any).vex(0x66, Vex::Both),
    line("vmovdqu", &[0x6f], Any).vex(0xf3, Vex::Both),
    line("vmovdqu", &[0x7f], Any).vex(0xf3, Vex::Both),
    line("vlddqu", &[0xf0], Memory).vex(0xf2, Vex::Both),
    line("vmovntps", &[0x2b], Memory).vex(0, Vex::Both),
    line("vmovntdq", &[0xe7], Memory).vex(0x66, Vex::Both),
    line("vmovd/vmovq", &[0x6e], Any).vex(0x66, Vex::Short),
    line("vmovd/vmovq", &[0x7e], Any).vex(0x66, Vex::Short),
    line("vmovq", &[0x7e], Any).vex(0xf3, Vex::Short),
    line("vmovq", &[0xd6], Any).vex(0x66, Vex::Short),
    line("vmovss", &[0x10], Memory).vex(0xf3, Vex::Short),
    line("vmovsd", &[0x11], Memory).vex(0xf2, Vex::Short),
    line("vmovlps", &[0x12], Memory).vex(0, Vex::ThreeOperands),
    line("vmovhps", &[0x16], Memory).vex(0, Vex::ThreeOperands),
    line("vmovhpd", &[0x17], Memory).vex(0x66, Vex::Short),
];

/// One line of the table.
pub fn pick(random: &mut Random, with_avx: bool) -> Encoding {
    let tables = [ALU.as_flattened(), SHIFTS.as_flattened(), OTHERS, if with_avx { AVX } else { &[] }];
    let lines = tables.iter().map(|table| table.len() as u64).sum();
    let chosen = random.below(lines) as usize;
    // Below the number of lines, so there is one.
    tables.into_iter().flatten().nth(chosen).copied().unwrap_or(OTHERS[0])
}
