//! Device paths, as far as boot reads them: whether a console goes over a serial line (UEFI 2.10, section 10.3).

/// A node's type, subtype and length.
const HEADER_BYTES: usize = 4;
const MESSAGING: u8 = 3;
const UART: u8 = 14;
const END: u8 = 0x7F;

/// Whether the device path in `bytes` has a UART node.
pub fn has_uart(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(&[kind, subtype, low, high]) = rest.first_chunk() {
        if kind == END {
            return false;
        }
        if (kind, subtype) == (MESSAGING, UART) {
            return true;
        }
        let len_bytes = usize::from(u16::from_le_bytes([low, high])).max(HEADER_BYTES);
        rest = rest.get(len_bytes..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACPI_NODE: [u8; 12] = [2, 1, 12, 0, 0xD0, 0x41, 3, 0x0A, 0, 0, 0, 0];
    const UART_NODE: [u8; 4] = [3, 14, 19, 0];
    const END_NODE: [u8; 4] = [0x7F, 0xFF, 4, 0];

    #[test]
    fn a_serial_console_has_a_uart_node_before_the_end() {
        assert!(has_uart(&[&ACPI_NODE[..], &UART_NODE].concat()));
        assert!(!has_uart(&[&ACPI_NODE[..], &END_NODE, &UART_NODE].concat()));
        assert!(!has_uart(&ACPI_NODE));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_end(bytes: alloc::vec::Vec<u8>) {
            let _ = has_uart(&bytes);
        }
    }
}
