//! The two legacy 8259 interrupt controllers: moved out of the exceptions' way and masked for good.
//!
//! Masked, a controller can still deliver its spurious interrupt, so the vectors are moved first.
//! Source: Intel 8259A data sheet (231468), initialization command words.

use crate::vectors;
use base::Port;
use seams::PortIo;

/// The command ports; data is the port above.
pub const COMMANDS: [Port; 2] = [Port(0x20), Port(0xa0)];
/// Edge triggered, cascaded, a fourth word follows.
const INITIALIZE: u8 = 0x11;
/// The second controller hangs on input 2: as a mask for the first, as a number for the second.
const CASCADE: [u8; 2] = [1 << 2, 2];
/// 8086 mode, normal end of interrupt.
const MODE_8086: u8 = 0x01;
const ALL_MASKED: u8 = 0xff;

/// Moves both controllers to [`vectors::LEGACY_PICS`] and masks all 16 inputs.
pub fn disable(ports: &mut impl PortIo) {
    let firsts = [vectors::LEGACY_PICS.0, vectors::LEGACY_PICS.0.wrapping_add(8)];
    for ((command, first), cascade) in COMMANDS.into_iter().zip(firsts).zip(CASCADE) {
        let data = Port(command.0 | 1);
        ports.write_u8(data, ALL_MASKED);
        ports.write_u8(command, INITIALIZE);
        ports.write_u8(data, first);
        ports.write_u8(data, cascade);
        ports.write_u8(data, MODE_8086);
        ports.write_u8(data, ALL_MASKED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::tests::Recorder;

    #[test]
    fn both_are_moved_to_32_and_40_and_masked() {
        let mut ports = Recorder::default();
        disable(&mut ports);
        let expected = [
            (0x21, 0xff),
            (0x20, 0x11),
            (0x21, 0x20),
            (0x21, 4),
            (0x21, 1),
            (0x21, 0xff),
            (0xa1, 0xff),
            (0xa0, 0x11),
            (0xa1, 0x28),
            (0xa1, 2),
            (0xa1, 1),
            (0xa1, 0xff),
        ];
        assert_eq!(ports.written, expected);
    }
}
