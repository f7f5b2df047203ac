//! Puts an instruction and its state together.

use crate::case::{Case, MEMORY_BYTES, PAGE, Registers};
use crate::encoding::{self, Count, Encoding, Immediate, Operand, Undefined, Vex};
use crate::native::Arena;
use crate::random::Random;

const CARRY: u64 = 1 << 0;
const PARITY: u64 = 1 << 2;
const ADJUST: u64 = 1 << 4;
const ZERO: u64 = 1 << 6;
const SIGN: u64 = 1 << 7;
const OVERFLOW: u64 = 1 << 11;
const STATUS: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;
const DIRECTION: u64 = 1 << 10;
const ALIGNMENT: u64 = 1 << 18;
/// Bit 1 is always set, and interrupts are enabled.
const ALWAYS: u64 = 0x202;

const RCX: usize = 1;
const RSP: usize = 4;
const RSI: usize = 6;
const RDI: usize = 7;

/// The case that follows from the numbers of `random`.
pub fn case(random: &mut Random, arena: &Arena) -> Case {
    let encoding = random.pick(&encoding::all(arena.has_avx()));
    let mut registers = Registers {
        gprs: core::array::from_fn(|_| random.number()),
        rflags: ALWAYS | random.bits() & STATUS,
        reserved: [0; 7],
        vectors: core::array::from_fn(|_| {
            if arena.has_avx() { core::array::from_fn(|_| random.bits() as u8) } else { [0; 32] }
        }),
    };
    registers.gprs[RSP] = arena.memory_address() + PAGE as u64 + random.below(PAGE as u64 / 8) * 8 + 64;
    // Whether LDDQU checks alignment, and by how many bytes, is the model's: seen with and without on one processor.
    if random.chance(3) && !encoding.name.ends_with("lddqu") {
        registers.rflags |= ALIGNMENT;
    }
    let mut memory: Vec<u8> = (0..MEMORY_BYTES / 8).flat_map(|_| random.bits().to_le_bytes()).collect();
    let code = Writer { random, arena, encoding, registers: &mut registers }.write();
    // Half of all comparisons with the accumulator should find it equal.
    if encoding.name.starts_with("cmp") && random.chance(50) {
        let accumulator = [registers.gprs[0] as u32, registers.gprs[2] as u32].map(u32::to_le_bytes);
        let pattern = accumulator.as_flattened();
        memory.iter_mut().zip(pattern.iter().cycle()).for_each(|(to, from)| *to = *from);
    }
    let undefined = undefined(&encoding, &code, &registers);
    Case { name: encoding.name, code, registers, memory, undefined }
}

struct Writer<'a> {
    random: &'a mut Random,
    arena: &'a Arena,
    encoding: Encoding,
    registers: &'a mut Registers,
}

/// The bits that REX and VEX add to ModRM.
#[derive(Clone, Copy, Default)]
struct Extra {
    wide: bool,
    reg: bool,
    index: bool,
    base: bool,
}

impl Writer<'_> {
    fn write(mut self) -> Vec<u8> {
        let encoding = self.encoding;
        let mut extra = Extra { wide: self.random.chance(40), ..Extra::default() };
        // Of 16 bits a double shift by more has no defined result.
        let is_double = matches!(encoding.undefined, Undefined::Double(_));
        let small = encoding.sized && !is_double && self.random.chance(25);
        let short_address = self.random.chance(8);
        if encoding.operand == Operand::String {
            self.strings(short_address);
        }
        // Also with the bytes behind ModRM: they are needed to know where RIP stands.
        let immediate = self.immediate(if small && !extra.wide { 2 } else { 4 });
        let reg = match encoding.extension {
            Some(extension) => extension,
            None => {
                extra.reg = self.random.chance(40);
                self.random.below(8) as u8
            }
        };
        let (operand, rip_relative) = match encoding.operand {
            Operand::Any | Operand::Memory => self.modrm(reg, &mut extra, short_address),
            Operand::Implicit | Operand::String => (Vec::new(), None),
        };

        let mut code = Vec::new();
        // Overrides by these are ignored in 64-bit mode.
        if self.random.chance(3) {
            code.push(self.random.pick(&[0x26, 0x2e, 0x36, 0x3e]));
        }
        if short_address {
            code.push(0x67);
        }
        if small {
            code.push(0x66);
        }
        if self.random.chance(6) && encoding.vex.is_none() {
            code.push(0xf0);
        }
        if encoding.operand == Operand::String && self.random.chance(75) {
            code.push(self.random.pick(&[0xf2, 0xf3]));
        }
        self.opcode(&mut code, extra);
        code.extend_from_slice(&operand);
        if let Some(target) = rip_relative {
            let next = self.arena.code_address() + (code.len() + 4 + immediate.len()) as u64;
            code.extend_from_slice(&(target.wrapping_sub(next) as u32).to_le_bytes());
        }
        code.extend_from_slice(&immediate);
        code
    }

    /// Prefixes that stand directly before the opcode, and the opcode.
    fn opcode(&mut self, code: &mut Vec<u8>, extra: Extra) {
        let Encoding { mandatory, opcode, vex, .. } = self.encoding;
        let Some(vex) = vex else {
            if mandatory != 0 {
                code.push(mandatory);
            }
            let bits = u8::from(extra.wide) << 3 | u8::from(extra.reg) << 2 | u8::from(extra.index) << 1;
            let bits = bits | u8::from(extra.base);
            if bits != 0 || self.random.chance(20) {
                code.push(0x40 | bits);
            }
            code.extend_from_slice(opcode);
            return;
        };
        let inverted = |bit: bool, place: u32| u8::from(!bit) << place;
        let pp = match mandatory {
            0x66 => 1,
            0xf3 => 2,
            0xf2 => 3,
            _ => 0,
        };
        let long = vex == Vex::Both && self.random.chance(50);
        let second = if vex == Vex::ThreeOperands { self.random.below(16) as u8 } else { 0 };
        code.push(0xc4);
        code.push(inverted(extra.reg, 7) | inverted(extra.index, 6) | inverted(extra.base, 5) | 1);
        code.push(u8::from(extra.wide) << 7 | (!second & 15) << 3 | u8::from(long) << 2 | pp);
        code.extend_from_slice(opcode);
    }

    /// ModRM, SIB and displacement. The target of a RIP-relative address is given apart, without a displacement.
    fn modrm(&mut self, reg: u8, extra: &mut Extra, short_address: bool) -> (Vec<u8>, Option<u64>) {
        if self.encoding.operand == Operand::Any && self.random.chance(20) {
            extra.base = self.random.chance(40);
            return (vec![0xc0 | reg << 3 | self.random.below(8) as u8], None);
        }
        let bit_string = self.bit_string(reg, extra.reg);
        let target = match bit_string {
            // Wherever the bit leads, it leads into pages of ours.
            Some(_) => self.arena.memory_address() + PAGE as u64 + self.random.below(2 * PAGE as u64 - 64),
            None => self.target(),
        };
        if self.random.chance(8) {
            // RIP reaches no further than 2 GiB, and must not reach the kernel.
            let near = match bit_string {
                Some(_) => target,
                None => self.arena.memory_address() + target % (3 * PAGE as u64),
            };
            return (vec![reg << 3 | 5], Some(near));
        }
        let base = self.random.pick(&[0_usize, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let base = if bit_string != Some(base) { base } else { 14 + (base + 1) % 2 };
        extra.base = base >= 8;
        let displacement = (self.random.bits() as i32) >> self.random.pick(&[24, 8, 0]);
        let is_byte = i8::try_from(displacement).is_ok();
        let mut address = target.wrapping_sub(displacement as i64 as u64);
        let mode = if is_byte { 0x40 } else { 0x80 };
        let needs_sib = base % 8 == 4;
        let mut bytes = vec![mode | reg << 3 | if needs_sib { 4 } else { base as u8 % 8 }];
        if needs_sib || self.random.chance(40) {
            bytes[0] = mode | reg << 3 | 4;
            let scale = self.random.below(4) as u8;
            // Index 4 is none.
            let index = self.random.pick(&[4_usize, 1, 2, 3, 6, 9, 12, 15]);
            let index = if index == base || bit_string == Some(index) { 4 } else { index };
            if index != 4 {
                extra.index = index >= 8;
                address = address.wrapping_sub(self.registers.gprs[index] << scale);
            }
            bytes.push(scale << 6 | (index as u8 % 8) << 3 | (base as u8 % 8));
        }
        // With 32-bit addresses the upper half means nothing.
        let noise = if short_address { self.random.bits() << 32 } else { 0 };
        self.registers.gprs[base] = address ^ noise;
        match i8::try_from(displacement) {
            Ok(byte) => bytes.push(byte as u8),
            Err(_) => bytes.extend_from_slice(&displacement.to_le_bytes()),
        }
        (bytes, None)
    }

    /// The register that counts bits from an address on, if the instruction has one: made small, since a bit far away
    /// would be this process's.
    fn bit_string(&mut self, reg: u8, high: bool) -> Option<usize> {
        let counts = matches!(self.encoding.opcode, [0x0f, 0xa3 | 0xab | 0xb3 | 0xbb]);
        let register = usize::from(reg) + if high { 8 } else { 0 };
        if counts {
            const FAR_BITS: u64 = 8 * 512;
            self.registers.gprs[register] = self.random.below(2 * FAR_BITS).wrapping_sub(FAR_BITS);
        }
        counts.then_some(register)
    }

    /// An address mostly in the two pages, aligned often; sometimes at an edge, or not even canonical.
    fn target(&mut self) -> u64 {
        let start = self.arena.memory_address();
        let page = PAGE as u64;
        match self.random.below(40) {
            0 => start + 3 * page - self.random.below(34),
            1 => start + page - self.random.below(34),
            2 => start + self.random.below(page - 64),
            // Bit 62 is not as bit 63: not canonical.
            3 => 0x8000_0000_0000_0000 | self.random.bits() >> 2,
            4..10 => start + 2 * page - self.random.below(34),
            10..25 => start + page + (self.random.below(2 * page - 64) & !31),
            _ => start + page + self.random.below(2 * page - 64),
        }
    }

    /// Index registers that point at memory, and a small count.
    fn strings(&mut self, short_address: bool) {
        for register in [RSI, RDI] {
            let noise = if short_address { self.random.bits() << 32 } else { 0 };
            self.registers.gprs[register] = self.target() ^ noise;
        }
        let noise = if short_address { self.random.bits() << 32 } else { 0 };
        self.registers.gprs[RCX] = self.random.below(100) | noise;
        if self.random.chance(30) {
            self.registers.rflags |= DIRECTION;
        }
    }

    fn immediate(&mut self, full: usize) -> Vec<u8> {
        let len = match self.encoding.immediate {
            Immediate::None => 0,
            Immediate::Byte => 1,
            Immediate::Full => full,
        };
        self.random.number().to_le_bytes()[..len].to_vec()
    }
}

/// The flags that the instruction leaves undefined with these operands.
fn undefined(encoding: &Encoding, code: &[u8], registers: &Registers) -> u64 {
    let (small, wide) = sizes(encoding, code);
    let bits: u64 = match () {
        () if encoding.byte => 8,
        () if wide => 64,
        () if small => 16,
        () => 32,
    };
    let counted = |count| {
        let count = match count {
            Count::One => 1,
            Count::Cl => registers.gprs[RCX] & 0xff,
            Count::Immediate => code.last().copied().unwrap_or(0).into(),
        };
        count & if bits == 64 { 0x3f } else { 0x1f }
    };
    match encoding.undefined {
        Undefined::None => 0,
        Undefined::Logic => ADJUST,
        Undefined::Bits => OVERFLOW | SIGN | ADJUST | PARITY,
        Undefined::Rotate(count) if counted(count) == 1 => 0,
        Undefined::Rotate(_) => OVERFLOW,
        Undefined::Shift(count) => match counted(count) {
            0 => 0,
            1 => ADJUST,
            count if count >= bits => ADJUST | OVERFLOW | CARRY,
            _ => ADJUST | OVERFLOW,
        },
        Undefined::Double(count) => match counted(count) {
            0 => 0,
            1 => ADJUST,
            count if count > bits => STATUS,
            _ => ADJUST | OVERFLOW,
        },
    }
}

/// Whether the prefixes say 16 bits, and 64.
fn sizes(encoding: &Encoding, code: &[u8]) -> (bool, bool) {
    let prefixes = code.iter().take_while(|byte| **byte != encoding.opcode[0]);
    prefixes.fold((false, false), |(small, wide), byte| match byte {
        0x66 => (true, wide),
        0x40..0x50 => (small, byte & 8 != 0),
        _ => (small, wide),
    })
}
