//! Port accesses: IN and OUT, of which all is known; INS and OUTS are the emulator's.

use crate::exits::Stop;
use crate::platform::Board;
use crate::vm::{Fault, Host, Vm};
use base::Port;
use devices::Width;
use seams::GuestMemory;
use vcpu::{Direction, Exception, Gpr, IoExit, IoOperand, Vcpu};

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    #[inline(always)]
    pub(super) fn io(&mut self, io: &IoExit, host: &impl Host) -> Result<(), Stop> {
        let Some(width) = Width::from_bytes(io.size_bytes) else {
            return Err(Exception::INVALID_OPCODE.into());
        };
        if io.operand == IoOperand::String {
            return self.string_io(io.port, width, host);
        }
        let rax = self.vcpu.gprs().get(Gpr::Rax);
        match io.direction {
            Direction::Out if !self.board.answers_port(io.port) => self.count_unclaimed_port(),
            // A kernel writes its console byte by byte: here, and all else apart.
            Direction::Out if Board::is_serial(io.port) => {
                self.board_at(host).write_port(io.port, width, rax as u32);
            }
            Direction::Out => return self.out_elsewhere(io, width, rax as u32, host),
            Direction::In => {
                let value = self.port_in(io.port, width, host);
                self.vcpu.gprs_mut().set(Gpr::Rax, merge(rax, width, value));
            }
        }
        self.complete_io(io, width);
        Ok(())
    }

    #[inline(always)]
    fn complete_io(&mut self, io: &IoExit, width: Width) {
        self.vcpu.set_rip(io.next_rip);
        self.port_breakpoints(io.port, width);
    }

    /// OUT to a device that is not the serial line. A queue is kicked by one that leads to its device's window in
    /// configuration space (VIRTIO 4.1.4.9).
    #[inline(never)]
    fn out_elsewhere(&mut self, io: &IoExit, width: Width, value: u32, host: &impl Host) -> Result<(), Stop> {
        self.board_at(host).write_port(io.port, width, value);
        self.complete_io(io, width);
        let kicked = Board::may_kick_by_port(io.port) && self.has_kicked_queues();
        if kicked { Err(Stop::Kicked) } else { Ok(()) }
    }

    /// The registers that a string reaches can be in memory, too.
    #[inline(never)]
    fn string_io(&mut self, port: Port, width: Width, host: &impl Host) -> Result<(), Stop> {
        let index = |vm: &Self| [Gpr::Rsi, Gpr::Rdi].map(|register| vm.vcpu.gprs().get(register));
        let before = index(self);
        self.emulate(None, Fault::UnreadableInstruction, host)?;
        // Nothing was accessed where nothing was to be repeated.
        if index(self) != before {
            self.port_breakpoints(port, width);
        }
        if self.has_kicked_queues() { Err(Stop::Kicked) } else { Ok(()) }
    }

    pub(super) fn port_out(&mut self, port: Port, width: Width, value: u32, host: &impl Host) {
        // Where nobody answers, no time passes that anybody could see.
        if !self.board.answers_port(port) {
            return self.count_unclaimed_port();
        }
        self.board_at(host).write_port(port, width, value);
    }

    pub(super) fn port_in(&mut self, port: Port, width: Width, host: &impl Host) -> u32 {
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
