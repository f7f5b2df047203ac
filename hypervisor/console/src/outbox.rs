//! Bytes on their way to the serial line: a bounded queue that the shell and the terminal both write to.

use alloc::{collections::VecDeque, rc::Rc};
use core::{cell::RefCell, convert::Infallible, fmt};

/// How many bytes may wait for the line.
const CAPACITY_BYTES: usize = 64 * 1024;

/// A handle of the queue; clones share it.
#[derive(Clone, Debug)]
pub struct Outbox {
    queue: Rc<RefCell<Queue>>,
}

#[derive(Debug)]
struct Queue {
    bytes: VecDeque<u8>,
    dropped: u64,
}

impl Outbox {
    pub fn new() -> Self {
        let bytes = VecDeque::with_capacity(CAPACITY_BYTES);
        Self { queue: Rc::new(RefCell::new(Queue { bytes, dropped: 0 })) }
    }

    /// Queues `byte`, or counts it as dropped when there is no room.
    pub fn push(&self, byte: u8) {
        let mut queue = self.queue.borrow_mut();
        if queue.bytes.len() < CAPACITY_BYTES {
            queue.bytes.push_back(byte);
        } else {
            queue.dropped = queue.dropped.saturating_add(1);
        }
    }

    /// Queues all of `text`, each line feed with its carriage return.
    pub fn print(&self, text: &str) {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.push(b'\r');
            }
            self.push(byte);
        }
    }

    /// How many bytes fit now.
    pub fn room_bytes(&self) -> usize {
        CAPACITY_BYTES.saturating_sub(self.queue.borrow().bytes.len())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().bytes.is_empty()
    }

    /// The next byte for the line.
    pub fn take(&self) -> Option<u8> {
        self.queue.borrow_mut().bytes.pop_front()
    }

    /// How many bytes were dropped since the last call.
    pub fn take_dropped(&self) -> u64 {
        core::mem::take(&mut self.queue.borrow_mut().dropped)
    }
}

impl fmt::Write for Outbox {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.print(text);
        Ok(())
    }
}

impl embedded_io::ErrorType for Outbox {
    type Error = Infallible;
}

/// The line editor sends its own carriage returns.
impl embedded_io::Write for Outbox {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        bytes.iter().for_each(|&byte| self.push(byte));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let outbox = Outbox::new();
        (0..CAPACITY_BYTES + 7).for_each(|_| outbox.push(b'x'));
        assert_eq!((outbox.room_bytes(), outbox.take_dropped(), outbox.take_dropped()), (0, 7, 0));
    }

    #[test]
    fn lines_end_with_carriage_return_and_line_feed() {
        let outbox = Outbox::new();
        outbox.print("a\n");
        assert_eq!([outbox.take(), outbox.take(), outbox.take()], [Some(b'a'), Some(b'\r'), Some(b'\n')]);
    }
}
