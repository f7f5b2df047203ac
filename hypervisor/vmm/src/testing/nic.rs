//! A network device and a driver of it.

use crate::platform::Board;
use crate::vm::Model;
use base::{Gpa, MacAddress};
use devices::pci::Slot;
use devices::virtio::net::{Link, Net};

/// The address of [`nic`].
pub const NIC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// A network device.
pub fn nic() -> Model {
    Model::Net(Net::new(MacAddress(NIC), None))
}

/// A driver of the network device in a slot, which leaves its BARs where they are.
#[derive(Clone, Copy)]
pub struct NicDriver {
    pub slot: u64,
}

impl NicDriver {
    /// Where the registers are.
    pub const fn registers(self) -> u64 {
        0xc000_0000 + self.slot * 0x8000
    }

    fn write(self, board: &mut Board, offset: u64, size_bytes: u8, value: u64) {
        board.write_memory(Gpa::from_low_bits(self.registers() + offset), size_bytes, value);
    }

    fn read(self, board: &mut Board, offset: u64, size_bytes: u8) -> u64 {
        board.read_memory(Gpa::from_low_bits(self.registers() + offset), size_bytes).0
    }

    /// Where its configuration space is in memory.
    pub const fn config(self) -> u64 {
        0xe000_0000 + (self.slot << 15)
    }

    pub fn write_config(self, board: &mut Board, register: u64, size_bytes: u8, value: u64) {
        board.write_memory(Gpa::from_low_bits(self.config() + register), size_bytes, value);
    }

    pub fn status(self, board: &mut Board) -> u64 {
        self.read(board, 0x14, 1)
    }

    pub fn set_status(self, board: &mut Board, status: u64) {
        self.write(board, 0x14, 1, status);
    }

    /// Writes the command register: bit 1 lets the device's memory be decoded, bit 2 lets it reach the guest's.
    pub fn set_command(self, board: &mut Board, command: u64) {
        self.write_config(board, 0x04, 2, command);
    }

    /// Brings the device to work, with the link's status.
    pub fn start(self, board: &mut Board) {
        self.start_with(board, 1 << 16);
    }

    /// Brings a device of any type to work: VERSION_1 and `features` of the low half, queues of 8 at 0x1_0000 and 0x2_0000.
    pub fn start_with(self, board: &mut Board, features: u64) {
        self.set_command(board, 0x6);
        for status in [1, 3] {
            self.set_status(board, status);
        }
        for (half, features) in [(0, features), (1, 1)] {
            self.write(board, 0x08, 4, half);
            self.write(board, 0x0c, 4, features);
        }
        self.set_status(board, 0xb);
        for queue in 0..2 {
            self.write(board, 0x16, 2, queue);
            self.write(board, 0x18, 2, 8);
            for area in 0..3 {
                self.write(board, 0x20 + 8 * area, 8, 0x1_0000 * (queue + 1) + 0x1000 * area);
            }
            self.write(board, 0x1c, 2, 1);
        }
        self.set_status(board, 0xf);
        assert_eq!(self.status(board), 0xf);
    }

    /// Lets every interrupt of the device come as `vector`.
    pub fn use_messages(self, board: &mut Board, vector: u64) {
        self.write_config(board, 0x42, 2, 0x8000);
        for entry in 0..3 {
            for (offset, value) in [(0, 0xfee0_0000), (8, vector), (12, 0)] {
                self.write(board, 0x4000 + 16 * entry + offset, 4, value);
            }
        }
        self.write(board, 0x10, 2, 0);
        for queue in 0..2 {
            self.write(board, 0x16, 2, queue);
            self.write(board, 0x1a, 2, queue + 1);
        }
    }

    pub fn kick(self, board: &mut Board, queue: u64) {
        self.write(board, 0x3000 + 4 * queue, 2, queue);
    }

    /// Whether its link is up, as its configuration says.
    pub fn link_status(self, board: &mut Board) -> u64 {
        self.read(board, 0x2006, 2)
    }

    pub fn take_isr(self, board: &mut Board) -> u64 {
        self.read(board, 0x1000, 1)
    }

    /// The cable is plugged out, of which the driver is told.
    pub fn change_link(self, board: &mut Board) {
        let slot = Slot::new(self.slot as u8).unwrap();
        board.pci.set_link(&mut board.fabric, slot, Link::Down);
    }
}
