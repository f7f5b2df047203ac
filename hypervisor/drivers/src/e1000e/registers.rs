//! The card's registers, and what is written to them (82574 data sheet, chapter 10).

pub const CONTROL: usize = 0x0000;
pub const STATUS: usize = 0x0008;
/// Reading clears it.
pub const INTERRUPT_CAUSES: usize = 0x00c0;
/// The least time between two interrupts, in units of 256 ns.
pub const INTERRUPT_THROTTLE: usize = 0x00c4;
pub const INTERRUPT_MASK_SET: usize = 0x00d0;
pub const INTERRUPT_MASK_CLEAR: usize = 0x00d8;
pub const RECEIVE_CONTROL: usize = 0x0100;
pub const TRANSMIT_CONTROL: usize = 0x0400;
/// The gap between two frames.
pub const TRANSMIT_GAP: usize = 0x0410;
/// The first receive ring: its address, and behind that what follows.
pub const RECEIVE_RING: usize = 0x2800;
/// The first transmit ring.
pub const TRANSMIT_RING: usize = 0x3800;
/// How transmit descriptors are fetched and written back.
pub const TRANSMIT_DESCRIPTORS: usize = 0x3828;
/// From a ring's first register on: its length, the card's and the driver's end.
pub const LENGTH: usize = 0x08;
pub const HEAD: usize = 0x10;
pub const TAIL: usize = 0x18;
/// A bit for every hash of a group's address.
pub const MULTICAST_TABLE: usize = 0x5200;
pub const MULTICAST_TABLE_END: usize = 0x5400;
/// The card's own address.
pub const ADDRESS_LOW: usize = 0x5400;
pub const ADDRESS_HIGH: usize = 0x5404;

/// What a bus without an answer reads as.
pub const NO_ANSWER: u32 = u32::MAX;

/// Control of the 82574: begin nothing on the bus any more. On conventional PCI the bit is reserved, or something else.
pub const BUS_DISABLE: u32 = 1 << 2;
/// Control: the link's speed is found out.
pub const AUTO_SPEED: u32 = 1 << 5;
/// Control: the link is to be up.
pub const LINK_UP_WANTED: u32 = 1 << 6;
/// Control: the bus disabled, link reset, inverted loss of signal, forced speed and duplex, PHY reset.
pub const CONTROL_FORCED: u32 = BUS_DISABLE | 1 << 3 | 1 << 7 | 1 << 11 | 1 << 12 | 1 << 31;
/// Control: reset; it reads as 0 when that is over.
pub const RESET: u32 = 1 << 26;
/// Status: the link is up.
pub const LINK_IS_UP: u32 = 1 << 1;
/// Status of the 82574: it may begin something on the bus, or has begun something that has not ended.
pub const BUS_IN_USE: u32 = 1 << 19;

/// 51 µs: at most 20,000 interrupts a second.
pub const INTERRUPT_INTERVAL: u32 = 200;
/// A frame was sent, the link has changed, descriptors run out, the card had to drop, a frame has come.
pub const OUR_CAUSES: u32 = 1 << 0 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7;

/// Receive control: on, every address and every group's, broadcasts, buffers of 2 KiB, without the checksum.
pub const RECEIVE_ALL: u32 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 15 | 1 << 26;
/// Transmit control: off, short frames padded.
pub const TRANSMIT_OFF: u32 = 1 << 3;
/// Transmit control: on, short frames padded, 15 retries, a collision distance of 64 byte times (full duplex).
pub const TRANSMIT_USUAL: u32 = 1 << 1 | 1 << 3 | 15 << 4 | 64 << 12;
/// What is reserved in how descriptors are fetched, and has to be set on the 82574 and its predecessors.
pub const EXPRESS_MUST: u32 = 1 << 22;
/// What the manual recommends for copper: 8, 8 and 6.
pub const USUAL_GAP: u32 = 8 | 8 << 10 | 6 << 20;

/// A descriptor's status: the card is done with it.
pub const DONE: u32 = 1 << 0;
/// A receive descriptor's status: it has the end of a frame.
pub const END_OF_PACKET: u32 = 1 << 1;
/// A receive descriptor's errors, but those of checksums that the card has looked at on its own.
pub const RECEIVE_ERRORS: u32 = 0b1001_0111 << 8;
/// A transmit descriptor's command: the whole frame, add the checksum, report when done.
pub const WHOLE_FRAME: u32 = (1 << 0 | 1 << 1 | 1 << 3) << 24;
