//! Puts an instruction and its state together.

use crate::case::{Case, Machine, PAGE, Place, Registers};
use crate::code::Code;
use crate::encoding::{self, Encoding, Immediate, Operand, Undefined, Vex};
use crate::random::Random;
use crate::undefined::{self, RCX, STATUS};

const DIRECTION: u64 = 1 << 10;
/// The most bits that every operand can be rotated by, as a mask.
const FEWEST_BITS: u64 = 7;
const ALIGNMENT: u64 = 1 << 18;
/// Bit 1 is always set, and interrupts are enabled.
const ALWAYS: u64 = 0x202;

const RAX: usize = 0;
const RDX: usize = 2;
const RSP: usize = 4;
const RSI: usize = 6;
const RDI: usize = 7;

impl Case {
    /// Makes this the case that follows from `seed` at `place`.
    pub fn generate(&mut self, seed: u64, place: &Place) {
        let random = &mut Random::new(seed);
        let encoding = encoding::pick(random, place.has_avx);
        let registers = &mut self.registers;
        registers.gprs = core::array::from_fn(|_| random.number());
        registers.rflags = ALWAYS | random.bits() & STATUS;
        registers.vectors = match place.has_avx {
            true => core::array::from_fn(|_| core::array::from_fn(|_| random.bits() as u8)),
            false => [[0; 32]; 16],
        };
        registers.gprs[RSP] = place.memory_address + PAGE as u64 + random.below(PAGE as u64 / 8) * 8 + 64;
        // Whether LDDQU checks alignment, and by how many bytes, is the model's: seen with and without on one processor.
        let has_checks = place.machine == Machine::Processor;
        if has_checks && random.chance(3) && !encoding.name.ends_with("lddqu") {
            registers.rflags |= ALIGNMENT;
        }
        for word in self.memory.as_chunks_mut().0 {
            *word = random.bits().to_le_bytes();
        }
        self.name = encoding.name;
        self.code = Writer { random, place, encoding, registers }.write();
        // Half of all comparisons with the accumulator should find it equal.
        if encoding.name.starts_with("cmp") && random.chance(50) {
            let (low, high) = (registers.gprs[RAX] & 0xffff_ffff, registers.gprs[RDX] << 32);
            for pair in self.memory.as_chunks_mut().0 {
                *pair = (high | low).to_le_bytes();
            }
        }
        self.undefined = undefined::flags(&encoding, &self.code, &self.registers);
    }
}

struct Writer<'a> {
    random: &'a mut Random,
    place: &'a Place,
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
    fn write(mut self) -> Code {
        let encoding = self.encoding;
        let mut extra = Extra { wide: self.random.chance(40), ..Extra::default() };
        let on_emulator = self.place.machine == Machine::Emulator;
        // Of 16 bits a double shift by more has no defined result.
        let is_double = matches!(encoding.undefined, Undefined::Double(_));
        let small = encoding.sized && !is_double && self.random.chance(25);
        let small = small && !(on_emulator && extra.wide && encoding.name == "movbe");
        let short_address = self.random.chance(8);
        if encoding.operand == Operand::String {
            self.strings(short_address);
        }
        // Also with the bytes behind ModRM: they are needed to know where RIP stands.
        let mut immediate = self.immediate(if small && !extra.wide { 2 } else { 4 });
        if on_emulator && matches!(encoding.name, "rcl" | "rcr") {
            self.registers.gprs[RCX] &= !0xff | FEWEST_BITS;
            immediate = Code::of(&[self.random.below(FEWEST_BITS) as u8][..immediate.len()]);
        }
        let reg = match encoding.extension {
            Some(extension) => extension,
            None => {
                extra.reg = self.random.chance(40);
                self.random.below(8) as u8
            }
        };
        let (operand, rip_relative) = match encoding.operand {
            Operand::Any | Operand::Memory => self.modrm(reg, &mut extra, short_address),
            Operand::Implicit | Operand::String => (Code::new(), None),
        };

        let mut code = Code::new();
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
        code.extend(&operand);
        if let Some(target) = rip_relative {
            let next = self.place.code_address + (code.len() + 4 + immediate.len()) as u64;
            code.extend(&(target.wrapping_sub(next) as u32).to_le_bytes());
        }
        code.extend(&immediate);
        code
    }

    /// Prefixes that stand directly before the opcode, and the opcode.
    fn opcode(&mut self, code: &mut Code, extra: Extra) {
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
            code.extend(opcode);
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
        code.extend(opcode);
    }

    /// ModRM, SIB and displacement. The target of a RIP-relative address is given apart, without a displacement.
    fn modrm(&mut self, reg: u8, extra: &mut Extra, short_address: bool) -> (Code, Option<u64>) {
        if self.encoding.operand == Operand::Any && self.random.chance(20) {
            extra.base = self.random.chance(40);
            return (Code::of(&[0xc0 | reg << 3 | self.random.below(8) as u8]), None);
        }
        let bit_string = self.bit_string(reg, extra.reg);
        let target = match bit_string {
            // Wherever the bit leads, it leads into pages of ours.
            Some(_) => self.place.memory_address + PAGE as u64 + self.random.below(2 * PAGE as u64 - 64),
            None => self.target(),
        };
        if self.random.chance(8) {
            // RIP reaches no further than 2 GiB, and must not reach the kernel.
            let near = match bit_string {
                Some(_) => target,
                None => self.place.memory_address + target % (3 * PAGE as u64 - self.kept_from_end()),
            };
            return (Code::of(&[reg << 3 | 5]), Some(near));
        }
        let base = self.random.pick(&[0_usize, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let base = if bit_string != Some(base) { base } else { 14 + (base + 1) % 2 };
        extra.base = base >= 8;
        let displacement = (self.random.bits() as i32) >> self.random.pick(&[24, 8, 0]);
        let is_byte = i8::try_from(displacement).is_ok();
        let mut address = target.wrapping_sub(displacement as i64 as u64);
        let mode = if is_byte { 0x40 } else { 0x80 };
        let needs_sib = base % 8 == 4;
        let has_sib = needs_sib || self.random.chance(40);
        let mut bytes = Code::of(&[mode | reg << 3 | if has_sib { 4 } else { base as u8 % 8 }]);
        if has_sib {
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
            Err(_) => bytes.extend(&displacement.to_le_bytes()),
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
        let start = self.place.memory_address;
        let page = PAGE as u64;
        match self.random.below(40) {
            0 if self.kept_from_end() == 0 => start + 3 * page - self.random.below(34),
            1 => start + page - self.random.below(34),
            2 => start + self.random.below(page - 64),
            // Bit 62 is not as bit 63: not canonical.
            3 => 0x8000_0000_0000_0000 | self.random.bits() >> 2,
            4..10 => start + 2 * page - self.random.below(34),
            10..25 => start + page + (self.random.below(2 * page - 64) & !31),
            _ => start + page + self.random.below(2 * page - 64),
        }
    }

    /// How many bytes before the page that is not there no operand begins at.
    fn kept_from_end(&self) -> u64 {
        const LONGEST: u64 = 32;
        match self.place.machine {
            Machine::Emulator if self.encoding.vex.is_some() => LONGEST,
            _ => 0,
        }
    }

    /// No target begins within the first element of its source.
    fn keep_apart(&mut self) {
        const LONGEST: u32 = 8;
        let distance = (self.registers.gprs[RDI] as u32).wrapping_sub(self.registers.gprs[RSI] as u32);
        if (1..LONGEST).contains(&distance) {
            self.registers.gprs[RDI] = self.registers.gprs[RDI].wrapping_add(LONGEST.into());
        }
    }

    /// Index registers that point at memory, and a small count.
    fn strings(&mut self, short_address: bool) {
        for register in [RSI, RDI] {
            let noise = if short_address { self.random.bits() << 32 } else { 0 };
            self.registers.gprs[register] = self.target() ^ noise;
        }
        if self.place.machine == Machine::Emulator && self.encoding.name == "movs" {
            self.keep_apart();
        }
        let noise = if short_address { self.random.bits() << 32 } else { 0 };
        self.registers.gprs[RCX] = self.random.below(100) | noise;
        if self.random.chance(30) {
            self.registers.rflags |= DIRECTION;
        }
    }

    fn immediate(&mut self, full: usize) -> Code {
        let len = match self.encoding.immediate {
            Immediate::None => 0,
            Immediate::Byte => 1,
            Immediate::Full => full,
        };
        Code::of(&self.random.number().to_le_bytes()[..len])
    }
}
