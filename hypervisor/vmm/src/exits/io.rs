//! Port accesses: IN and OUT, and their string forms in bounded portions.

use crate::exits::{Stop, breakpoints};
use crate::vm::{Host, Vm};
use base::{Gpa, PAGE_BYTES, Port};
use devices::Width;
use seams::GuestMemory;
use vcpu::walk::{self, Paging, WalkFault};
use vcpu::{Access, CpuMode, Direction, Exception, Gpr, IoExit, Segment, SegmentName, StringIo, Vcpu};

/// How many elements of a repeated string access are done before the guest is entered again: a host interrupt waits no
/// longer than this.
const PORTION: usize = 64;

/// RFLAGS.TF: `#DB` follows each instruction.
const TRAP_FLAG: u64 = 1 << 8;

/// RFLAGS.DF: strings run downwards.
const DIRECTION_FLAG: u64 = 1 << 10;

/// The elements of a string access that remain, and where the next one is.
struct StringAccess {
    port: Port,
    width: Width,
    direction: Direction,
    /// Where element addresses are taken from: RDI for INS, RSI for OUTS.
    index: Gpr,
    segment: Segment,
    /// The width of index and counter.
    address_bytes: u8,
}

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    #[inline(always)]
    pub(super) fn io(&mut self, io: &IoExit, host: &impl Host) -> Result<(), Stop> {
        let Some(width) = Width::from_bytes(io.size_bytes) else {
            return Err(Exception::INVALID_OPCODE.into());
        };
        if let Some(string) = &io.string {
            return self.string_io(io, string, width, host);
        }
        let rax = self.vcpu.gprs().get(Gpr::Rax);
        match io.direction {
            Direction::Out => self.port_out(io.port, width, rax as u32, host),
            Direction::In => {
                let value = self.port_in(io.port, width, host);
                self.vcpu.gprs_mut().set(Gpr::Rax, merge(rax, width, value));
            }
        }
        self.vcpu.set_rip(io.next_rip);
        self.port_breakpoints(io.port, width);
        Ok(())
    }

    #[inline]
    fn port_out(&mut self, port: Port, width: Width, value: u32, host: &impl Host) {
        // Where nobody answers, no time passes that anybody could see.
        if !self.board.answers_port(port) {
            return self.count_unclaimed_port();
        }
        self.board_at(host).write_port(port, width, value);
    }

    fn port_in(&mut self, port: Port, width: Width, host: &impl Host) -> u32 {
        if !self.board.answers_port(port) {
            self.count_unclaimed_port();
            return u32::MAX;
        }
        let (value, _) = self.board_at(host).read_port(port, width);
        value
    }

    fn count_unclaimed_port(&mut self) {
        self.stats.unclaimed_ports = self.stats.unclaimed_ports.wrapping_add(1);
    }

    #[inline(never)]
    fn string_io(
        &mut self,
        io: &IoExit,
        string: &StringIo,
        width: Width,
        host: &impl Host,
    ) -> Result<(), Stop> {
        let (index, segment) = match io.direction {
            Direction::In => (Gpr::Rdi, SegmentName::Es),
            Direction::Out => (Gpr::Rsi, self.with_instruction(|bytes, _| source_segment(bytes))?),
        };
        let access = StringAccess {
            port: io.port,
            width,
            direction: io.direction,
            index,
            segment: self.effective_segment(segment),
            address_bytes: string.address_bytes,
        };
        if !string.repeated {
            self.string_element(&access, host)?;
            self.vcpu.set_rip(io.next_rip);
            self.port_breakpoints(io.port, width);
            return Ok(());
        }
        for _ in 0..self.portion() {
            let count = self.address_register(Gpr::Rcx, access.address_bytes);
            if count == 0 {
                self.vcpu.set_rip(io.next_rip);
                return Ok(());
            }
            // What is done stays done when an element faults: registers stand at the element that did.
            self.string_element(&access, host)?;
            self.set_address_register(Gpr::Rcx, access.address_bytes, count.wrapping_sub(1));
        }
        // The rest exits again, unless nothing is left. Each element ends as an instruction does.
        let left = self.address_register(Gpr::Rcx, access.address_bytes);
        self.vcpu.set_rip(if left == 0 { io.next_rip } else { self.vcpu.rip() });
        self.port_breakpoints(io.port, width);
        Ok(())
    }

    /// How many elements are done at once: one for a guest that steps itself or may watch the port, since it is
    /// interrupted behind each.
    fn portion(&self) -> usize {
        let traced = self.vcpu.rflags() & TRAP_FLAG != 0 || self.vcpu.dr7() & breakpoints::ENABLED != 0;
        if traced { 1 } else { PORTION }
    }

    /// Moves one element, then the index.
    fn string_element(&mut self, access: &StringAccess, host: &impl Host) -> Result<(), Stop> {
        let size = access.width.bytes();
        let offset = self.address_register(access.index, access.address_bytes);
        let linear = self.linear(access, offset)?;
        match access.direction {
            Direction::In => {
                // Whatever faults must do so before the port is read, which can have an effect.
                let places = self.places(linear, size, Access::Write)?;
                let value = self.port_in(access.port, access.width, host);
                for (place, byte) in places.into_iter().zip(value.to_le_bytes()).take(size.into()) {
                    self.memory.write(place, &[byte]).map_err(|e| self.walk_fault(WalkFault::Memory(e)))?;
                }
            }
            Direction::Out => {
                let places = self.places(linear, size, Access::Read)?;
                let mut bytes = [0; 4];
                for (place, byte) in places.into_iter().zip(&mut bytes).take(size.into()) {
                    let read = self.memory.read_u8(place);
                    *byte = read.map_err(|e| self.walk_fault(WalkFault::Memory(e)))?;
                }
                self.port_out(access.port, access.width, u32::from_le_bytes(bytes), host);
            }
        }
        let step = u64::from(size);
        let moved = match self.vcpu.rflags() & DIRECTION_FLAG {
            0 => offset.wrapping_add(step),
            _ => offset.wrapping_sub(step),
        };
        self.set_address_register(access.index, access.address_bytes, moved);
        Ok(())
    }

    /// Where the bytes of an element lie; those past `size` repeat the first.
    fn places(&mut self, linear: u64, size: u8, kind: Access) -> Result<[Gpa; 4], Stop> {
        let paging = Paging::of(&self.vcpu, self.cpuid.allowed().physical_bits);
        let first = walk::translate(&self.memory, &paging, linear, kind).map_err(|e| self.walk_fault(e))?;
        let mut places = [first; 4];
        for (n, place) in (0..size.into()).zip(&mut places).skip(1) {
            let next = linear.wrapping_add(n);
            // Only another page leads elsewhere.
            *place = match first.checked_add(n) {
                Some(gpa) if next / PAGE_BYTES == linear / PAGE_BYTES => gpa,
                _ => walk::translate(&self.memory, &paging, next, kind).map_err(|e| self.walk_fault(e))?,
            };
        }
        Ok(places)
    }

    /// In 64-bit mode only FS and GS have a base, and no segment a limit (Intel SDM, volume 1, section 3.4.2.1).
    fn effective_segment(&self, name: SegmentName) -> Segment {
        let segment = self.vcpu.segment(name);
        let flat = !matches!(name, SegmentName::Fs | SegmentName::Gs);
        match self.vcpu.mode() {
            CpuMode::Long64 if flat => Segment { base: 0, ..segment },
            _ => segment,
        }
    }

    fn linear(&self, access: &StringAccess, offset: u64) -> Result<u64, Exception> {
        let linear = access.segment.base.wrapping_add(offset);
        if self.vcpu.mode() == CpuMode::Long64 {
            return Ok(linear);
        }
        let last = offset.saturating_add(u64::from(access.width.bytes()) - 1);
        if last > u64::from(access.segment.limit) {
            return Err(Exception::GENERAL_PROTECTION);
        }
        Ok(linear & 0xffff_ffff)
    }

    fn address_register(&self, register: Gpr, address_bytes: u8) -> u64 {
        let value = self.vcpu.gprs().get(register);
        match address_bytes {
            2 => value & 0xffff,
            4 => value & 0xffff_ffff,
            _ => value,
        }
    }

    /// 16-bit addresses leave the rest of the register; 32-bit ones clear it (Intel SDM, volume 1, section 3.4.1.1).
    fn set_address_register(&mut self, register: Gpr, address_bytes: u8, value: u64) {
        let old = self.vcpu.gprs().get(register);
        let new = match address_bytes {
            2 => (old & !0xffff) | (value & 0xffff),
            4 => value & 0xffff_ffff,
            _ => value,
        };
        self.vcpu.gprs_mut().set(register, new);
    }
}

/// RAX after IN: AL and AX leave the rest, EAX clears it.
#[inline]
fn merge(rax: u64, width: Width, value: u32) -> u64 {
    match width {
        Width::Byte => (rax & !0xff) | u64::from(value & 0xff),
        Width::Word => (rax & !0xffff) | u64::from(value & 0xffff),
        Width::Dword => value.into(),
    }
}

/// The segment that OUTS reads from: the last override among its prefixes, or DS (Intel SDM, volume 2, section 2.1.1).
fn source_segment(bytes: &[u8]) -> SegmentName {
    let mut segment = SegmentName::Ds;
    for byte in bytes {
        match byte {
            0x26 => segment = SegmentName::Es,
            0x2e => segment = SegmentName::Cs,
            0x36 => segment = SegmentName::Ss,
            0x3e => segment = SegmentName::Ds,
            0x64 => segment = SegmentName::Fs,
            0x65 => segment = SegmentName::Gs,
            0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 => {}
            _ => break,
        }
    }
    segment
}
