//! A console whose host end speaks, and listens, as much as the input says.

use super::guest::Guest;
use super::{Model, drive, taken_over};
use devices::virtio::console::{Console, STEP_BYTES};
use devices::virtio::{Broken, VirtioDevice};
use seams::{ByteSink, ByteSource};

/// How many bytes may still pass.
struct End(u32);

impl ByteSource for End {
    fn take(&mut self) -> Option<u8> {
        self.0 = self.0.checked_sub(1)?;
        Some(self.0 as u8)
    }
}

impl ByteSink for End {
    fn offer(&mut self, byte: u8) -> Result<(), u8> {
        self.0 = self.0.checked_sub(1).ok_or(byte)?;
        Ok(())
    }
}

struct Terminal(Console);

/// The target.
pub fn console(input: &[u8]) {
    drive(Terminal(Console::new()), input);
}

impl Model for Terminal {
    const QUEUES: usize = 2;

    fn step(&mut self, guest: &mut Guest<'_>, _: u8) -> Result<(), Broken> {
        let Guest { memory, queues, input, .. } = guest;
        let [receive, transmit] = &mut queues[..] else { return Ok(()) };
        let (said, room) = (input.u16().into(), input.u16().into());
        let (mut source, mut sink) = (End(said), End(room));
        self.0.run(receive, transmit, memory, &mut source, &mut sink)?;
        // One more byte is taken to see that there is one.
        assert!(said - source.0 <= STEP_BYTES + 1 && room - sink.0 <= STEP_BYTES);
        Ok(())
    }

    fn reset(&mut self, features: u64) {
        self.0.reset();
        self.0.features_accepted(features);
    }

    fn replace(&mut self) {
        self.0 = taken_over(&self.0, Console::new());
    }
}
