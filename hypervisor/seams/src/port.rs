//! The host's I/O ports, for drivers and the console.

use base::Port;

/// Port access. The implementation grants just the ports that its owner may touch.
pub trait PortIo {
    /// Reads one byte.
    fn read_u8(&mut self, port: Port) -> u8;
    /// Reads two bytes.
    fn read_u16(&mut self, port: Port) -> u16;
    /// Reads four bytes.
    fn read_u32(&mut self, port: Port) -> u32;
    /// Writes one byte.
    fn write_u8(&mut self, port: Port, value: u8);
    /// Writes two bytes.
    fn write_u16(&mut self, port: Port, value: u16);
    /// Writes four bytes.
    fn write_u32(&mut self, port: Port, value: u32);
}
