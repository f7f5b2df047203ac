//! Device paths, as far as boot reads them: on which serial port a console is (UEFI 2.10, section 10.3).

use base::Port;

/// A node's type, subtype and length.
const HEADER_BYTES: usize = 4;
const ACPI: (u8, u8) = (2, 1);
const UART: (u8, u8) = (3, 14);
const END: u8 = 0x7F;

/// The compressed EISA id PNP0501, a 16550 (ACPI 6.5, section 5.6.7).
const PNP0501: u32 = 0x0501_41D0;

/// The ports of the unit ids that firmware gives to COM1, COM2 and so on.
const PORTS: [Port; 4] = [Port(0x3F8), Port(0x2F8), Port(0x3E8), Port(0x2E8)];

/// The first I/O port of the serial line that the device path in `bytes` goes over, or `None` when it goes over none
/// or over one that has no such port.
pub fn serial_port(bytes: &[u8]) -> Option<Port> {
    let mut rest = bytes;
    let mut port = None;
    while let Some(&[kind, subtype, low, high]) = rest.first_chunk() {
        let len_bytes = usize::from(u16::from_le_bytes([low, high])).max(HEADER_BYTES);
        match (kind, subtype) {
            (END, _) => return None,
            UART => return port,
            ACPI => port = port_of_acpi_node(rest),
            _ => {}
        }
        rest = rest.get(len_bytes..).unwrap_or_default();
    }
    None
}

fn port_of_acpi_node(node: &[u8]) -> Option<Port> {
    let (hardware_id, rest) = node.get(HEADER_BYTES..)?.split_first_chunk()?;
    let unit_id = u32::from_le_bytes(*rest.first_chunk()?);
    let index = usize::try_from(unit_id).ok().filter(|_| u32::from_le_bytes(*hardware_id) == PNP0501)?;
    PORTS.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT_NODE: [u8; 12] = [2, 1, 12, 0, 0xD0, 0x41, 3, 0x0A, 0, 0, 0, 0];
    const COM2_NODE: [u8; 12] = [2, 1, 12, 0, 0xD0, 0x41, 1, 0x05, 1, 0, 0, 0];
    const UART_NODE: [u8; 4] = [3, 14, 19, 0];
    const END_NODE: [u8; 4] = [0x7F, 0xFF, 4, 0];

    #[test]
    fn a_serial_console_has_a_16550_and_a_uart_node() {
        assert_eq!(serial_port(&[&ROOT_NODE[..], &COM2_NODE, &UART_NODE].concat()), Some(Port(0x2F8)));
        assert_eq!(serial_port(&[&ROOT_NODE[..], &UART_NODE].concat()), None);
        assert_eq!(serial_port(&[&COM2_NODE[..], &END_NODE, &UART_NODE].concat()), None);
        assert_eq!(serial_port(&COM2_NODE), None);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_end(bytes: alloc::vec::Vec<u8>) {
            let _ = serial_port(&bytes);
        }
    }
}
