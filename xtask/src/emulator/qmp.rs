//! The emulator's machine protocol (QMP), as far as needed: why did the machine shut down?
//!
//! The emulator connects to a socket of ours as it starts, so that no event can be missed, and sends one JSON
//! object per line. Reference: QEMU, "QEMU Machine Protocol Specification" and the event `SHUTDOWN`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// The listening end.
pub struct Monitor {
    /// Gets one value when the connection ends: the reason of the last shutdown, if any.
    reason: Receiver<Option<String>>,
}

impl Monitor {
    /// Listens on a socket at `path`, to be passed to the emulator.
    pub fn listen(path: &Path) -> std::io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let (sender, reason) = channel();
        std::thread::spawn(move || {
            let reason = listener.accept().ok().and_then(|(stream, _)| follow(stream));
            // The receiver is gone when nobody wants to know any more.
            let _ = sender.send(reason);
        });
        Ok(Self { reason })
    }

    /// The reason of the shutdown, once the emulator has closed the connection; waits `limit` at most.
    pub fn shutdown_reason(&self, limit: Duration) -> Option<String> {
        self.reason.recv_timeout(limit).ok().flatten()
    }
}

/// Reads events until the connection ends.
fn follow(mut stream: std::os::unix::net::UnixStream) -> Option<String> {
    // Events come only after the capabilities are negotiated.
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").ok()?;
    let mut reason = None;
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        reason = shutdown_reason_in(&line).or(reason);
    }
    reason
}

/// The reason if `line` is a `SHUTDOWN` event.
fn shutdown_reason_in(line: &str) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message.get("event")?.as_str()? != "SHUTDOWN" {
        return None;
    }
    Some(message.get("data")?.get("reason")?.as_str()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::shutdown_reason_in;

    #[test]
    fn only_a_shutdown_event_gives_a_reason() {
        let shutdown = r#"{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}"#;
        assert_eq!(shutdown_reason_in(shutdown).as_deref(), Some("guest-shutdown"));
        assert_eq!(shutdown_reason_in(r#"{"event":"RESET","data":{"reason":"guest-reset"}}"#), None);
        assert_eq!(shutdown_reason_in(r#"{"return":{}}"#), None);
        assert_eq!(shutdown_reason_in("no JSON"), None);
    }
}
