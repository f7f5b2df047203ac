//! The emulator's machine protocol (QMP), as far as needed: why did the machine shut down? And a cable is pulled.
//!
//! The emulator connects to a socket of ours as it starts, so that no event can be missed, and sends one JSON
//! object per line. Reference: QEMU, "QEMU Machine Protocol Specification", the event `SHUTDOWN` and the command `set_link`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::Cable;

/// How long the emulator may take to connect.
const CONNECTS_WITHIN: Duration = Duration::from_secs(30);

/// The listening end.
pub struct Monitor {
    /// Gets one value when the connection ends: the reason of the last shutdown, if any.
    reason: Receiver<Option<String>>,
    /// Gets the connection once there is one.
    connection: Receiver<UnixStream>,
    /// The connection, once a command was sent.
    commands: Option<UnixStream>,
}

impl Monitor {
    /// Listens on a socket at `path`, to be passed to the emulator.
    pub fn listen(path: &Path) -> std::io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let (sender, reason) = channel();
        let (connected, connection) = channel();
        std::thread::spawn(move || {
            let reason = listener.accept().ok().and_then(|(stream, _)| follow(stream, &connected));
            // The receiver is gone when nobody wants to know any more.
            let _ = sender.send(reason);
        });
        Ok(Self { reason, connection, commands: None })
    }

    /// Puts the cable of the network `id` in or out. Nobody waits for the answer: what the computer sees tells.
    pub fn set_cable(&mut self, id: &str, cable: Cable) -> std::io::Result<()> {
        if self.commands.is_none() {
            self.commands = self.connection.recv_timeout(CONNECTS_WITHIN).ok();
        }
        let connection = self.commands.as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
        let arguments = json!({ "name": id, "up": cable == Cable::In });
        writeln!(connection, "{}", json!({ "execute": "set_link", "arguments": arguments }))
    }

    /// The reason of the shutdown, once the emulator has closed the connection; waits `limit` at most.
    pub fn shutdown_reason(&self, limit: Duration) -> Option<String> {
        self.reason.recv_timeout(limit).ok().flatten()
    }
}

/// Reads events until the connection ends. `connected` gets the way for commands.
fn follow(mut stream: UnixStream, connected: &Sender<UnixStream>) -> Option<String> {
    // Events come, and commands are taken, only after the capabilities are negotiated.
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").ok()?;
    // Who has dropped the receiver sends no commands.
    let _ = connected.send(stream.try_clone().ok()?);
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
    use super::*;

    #[test]
    fn a_cable_is_moved_after_the_capabilities_are_negotiated() {
        let folder = tempfile::tempdir().unwrap();
        let mut monitor = Monitor::listen(&folder.path().join("qmp")).unwrap();
        let emulator = UnixStream::connect(folder.path().join("qmp")).unwrap();
        for cable in [Cable::Out, Cable::In] {
            monitor.set_cable("outside", cable).unwrap();
        }
        let lines =
            BufReader::new(emulator).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let told: Vec<Value> = lines.take(3).collect();
        assert_eq!(told[0], json!({ "execute": "qmp_capabilities" }));
        for (command, up) in told[1..].iter().zip([false, true]) {
            let arguments = json!({ "name": "outside", "up": up });
            assert_eq!(*command, json!({ "execute": "set_link", "arguments": arguments }));
        }
    }

    #[test]
    fn only_a_shutdown_event_gives_a_reason() {
        let shutdown = r#"{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}"#;
        assert_eq!(shutdown_reason_in(shutdown).as_deref(), Some("guest-shutdown"));
        assert_eq!(shutdown_reason_in(r#"{"event":"RESET","data":{"reason":"guest-reset"}}"#), None);
        assert_eq!(shutdown_reason_in(r#"{"return":{}}"#), None);
        assert_eq!(shutdown_reason_in("no JSON"), None);
    }
}
