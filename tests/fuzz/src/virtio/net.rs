//! A network device whose guest hears what it says, and what the host says.

use super::guest::Guest;
use super::{Model, drive, taken_over};
use base::MacAddress;
use devices::virtio::net::{
    Acceptance, Checksum, FRAME_BYTES_MAX, FRAME_BYTES_MIN, Fetched, Frame, HEAD_BYTES, Link, Net, NetHeader,
    Received,
};
use devices::virtio::{Broken, Cursor, VirtioDevice};

/// The most frames that a step moves.
const STEP_FRAMES: usize = 16;

struct Cable {
    device: Net,
    frame: Box<Frame>,
}

/// The target.
pub fn net(input: &[u8]) {
    drive(Cable { device: new_device(), frame: Box::default() }, input);
}

fn new_device() -> Net {
    Net::new(MacAddress([0x52, 0x54, 0, 0, 0, 1]), Some(1500))
}

impl Model for Cable {
    const QUEUES: usize = 2;

    fn step(&mut self, guest: &mut Guest<'_>, kind: u8) -> Result<(), Broken> {
        match kind {
            0..=7 => (0..STEP_FRAMES).try_for_each(|_| self.pass_on(guest)),
            8..=13 => self.say(guest),
            14 => {
                let _ = self.device.set_link(Link::Down);
                Ok(())
            }
            _ => {
                let _ = self.device.set_link(Link::Up);
                Ok(())
            }
        }
    }

    fn reset(&mut self, features: u64) {
        self.device.reset();
        self.device.features_accepted(features);
    }

    fn replace(&mut self) {
        self.device = taken_over(&self.device, new_device());
    }
}

impl Cable {
    /// Gives a frame of the guest to itself.
    fn pass_on(&mut self, guest: &mut Guest<'_>) -> Result<(), Broken> {
        let Guest { memory, queues, .. } = guest;
        let memory = &*memory;
        let [receive, transmit] = &mut queues[..] else { return Ok(()) };
        let Self { device, frame } = self;
        if device.next_frame(transmit, memory, frame)? != Fetched::Frame {
            return Ok(());
        }
        check(frame);
        if device.acceptance(frame.header()) == Acceptance::AsItIs {
            let len_bytes = frame.len_bytes();
            let copy = |room: Cursor<'_>| {
                let mut room_only = room.clone();
                room_only.skip(u64::from(len_bytes) - 1);
                assert!(room_only.next_piece(1).is_some(), "room for all");
                frame.reader(memory).copy_to(memory, room)
            };
            device.receive(receive, memory, frame.header(), len_bytes, copy)?;
        }
        device.sent(transmit, memory, frame)
    }

    /// Gives the guest a frame of the host, of any length.
    fn say(&mut self, guest: &mut Guest<'_>) -> Result<(), Broken> {
        let Guest { memory, queues, input, .. } = guest;
        let len_bytes = input.u32() & 0x1_ffff;
        let copy = |mut room: Cursor<'_>| {
            assert_eq!(room.clone().zero(memory, len_bytes.into())?, u64::from(len_bytes), "room for all");
            room.write(memory, &[0x5a; 64]).map(drop)
        };
        self.device.receive(&mut queues[0], memory, &NetHeader::PLAIN, len_bytes, copy).map(drop)
    }
}

/// What holds for every frame.
fn check(frame: &Frame) {
    let len_bytes = frame.len_bytes();
    assert!((FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&len_bytes));
    assert_eq!(frame.first_bytes().len(), HEAD_BYTES.min(len_bytes as usize));
    if let Checksum::Partial { start, offset } = frame.header().checksum {
        assert!(u32::from(start) + u32::from(offset) + 2 <= len_bytes);
    }
    if let Some(segmentation) = frame.header().segmentation {
        assert!(segmentation.segment_bytes != 0);
        assert!(u32::from(segmentation.headers_bytes_hint) <= len_bytes);
        assert!(matches!(frame.header().checksum, Checksum::Partial { .. }));
    }
}
