//! Talks TCP and UDP with itself in another Linux guest, and says what came. One static program, so that a guest needs no
//! libraries. Who begins need not wait until the other listens: it asks again.
//!
//! ```text
//! peer udp-echo PORT             sends every datagram back, for ever
//! peer udp-send HOST PORT N      sends N datagrams, and cares for no answer
//! peer udp-ping HOST PORT N      sends N datagrams, each after the answer to the one before; one without an answer again, and
//!                                tells how often
//! peer tcp-sink PORT             takes one connection, and tells how many bytes came and their sum
//! peer tcp-send HOST PORT MIB    sends so much, waits until it has come, and tells the same of it
//! peer tcp-turn HOST PORT MIB    sends so much to one who sends it back, and tells the same of it when all of it has come
//! peer tcp-drain PORT            takes one connection after the other, and looks at nothing that comes, for ever
//! peer tcp-pour HOST PORT MIB    sends so much, and ends when all of it has been taken; looks at nothing either
//! peer mark NUMBER               asks a hypervisor that counts shares for a snapshot under this number (xtask's `bench io`)
//! ```

#![forbid(unsafe_code)]

use std::arch::x86_64::__cpuid_count;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// How long the other side may do nothing.
const PATIENCE: Duration = Duration::from_secs(20);
/// After what time without an answer one asks again, and how often one asks before patience is at its end.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASKED_MAX: u64 = PATIENCE.as_secs() / ASK_AGAIN.as_secs();
/// The length of a datagram.
const DATAGRAM_BYTES: usize = 64;
/// What is sent or received at once.
const PIECE_BYTES: usize = 64 << 10;
/// The leaf by which a hypervisor that counts shares is asked for a snapshot; the subleaf names it. The hypervisor's own
/// (vmm's `exits/cpuid.rs`) again: crates with procedural macros cannot be built as this static program is.
const MARK: u32 = 0x4346_0000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let told = match *words {
        ["udp-echo", port] => udp_echo(port),
        ["udp-send", host, port, count] => udp_send(host, port, count),
        ["udp-ping", host, port, count] => udp_ping(host, port, count),
        ["tcp-sink", port] => tcp_sink(port),
        ["tcp-send", host, port, mib] => tcp_send(host, port, mib),
        ["tcp-turn", host, port, mib] => tcp_turn(host, port, mib),
        ["tcp-drain", port] => tcp_drain(port),
        ["tcp-pour", host, port, mib] => tcp_pour(host, port, mib),
        ["mark", number] => mark(number),
        _ => Err(io::Error::other(
            "usage: udp-echo PORT | udp-send HOST PORT N | udp-ping HOST PORT N | tcp-sink PORT | tcp-send HOST PORT MIB | \
             tcp-turn HOST PORT MIB | tcp-drain PORT | tcp-pour HOST PORT MIB | mark NUMBER",
        )),
    };
    match told {
        Ok(told) => {
            println!("peer: {told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("peer: failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| io::Error::other(format!("{text} is no number")))
}

/// CPUID is the one instruction that leaves a guest from user mode, whatever the processor.
fn mark(label: &str) -> io::Result<String> {
    let label = u8::try_from(number(label)?).map_err(io::Error::other)?;
    __cpuid_count(MARK, label.into());
    Ok(format!("marked {label}"))
}

fn udp_echo(port: &str) -> io::Result<String> {
    let socket = UdpSocket::bind(format!("0.0.0.0:{port}"))?;
    let mut datagram = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut datagram)?;
        socket.send_to(&datagram[..len], from)?;
    }
}

fn udp_send(host: &str, port: &str, count: &str) -> io::Result<String> {
    let count = number(count)?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    for _ in 0..count {
        // Whether there is a way at this moment is not asked.
        let _ = socket.send_to(&[0; DATAGRAM_BYTES], format!("{host}:{port}"));
    }
    Ok(format!("{count} datagrams sent"))
}

fn udp_ping(host: &str, port: &str, count: &str) -> io::Result<String> {
    let count = number(count)?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(format!("{host}:{port}"))?;
    socket.set_read_timeout(Some(ASK_AGAIN))?;
    let mut asked_again = 0;
    for n in 0..count {
        let ((), times) = persist(|| round_trip(&socket, n))?;
        // Until the first answer the other side may not listen yet; what is lost later, something has lost.
        if n > 0 {
            asked_again += times;
        }
    }
    Ok(format!("{count} datagrams came back; asked again: {asked_again}"))
}

/// Sends the datagram with this number, and waits until it comes back.
fn round_trip(socket: &UdpSocket, number: u64) -> io::Result<()> {
    let mut sent = [0; DATAGRAM_BYTES];
    sent[..8].copy_from_slice(&number.to_le_bytes());
    socket.send(&sent)?;
    let mut got = [0; DATAGRAM_BYTES + 1];
    loop {
        let len = socket.recv(&mut got)?;
        if got[..len] == sent {
            return Ok(());
        }
        // What was asked for twice may be answered twice.
        let is_late = len == DATAGRAM_BYTES
            && got.first_chunk().is_some_and(|first| u64::from_le_bytes(*first) < number)
            && got[8..len] == sent[8..];
        if !is_late {
            return Err(io::Error::other(format!("datagram {number} came back as another")));
        }
    }
}

/// Asks again while nobody answers, and says so: the other side may not listen yet, and a datagram may be lost. The answer,
/// and how often it was asked for again.
fn persist<T>(mut ask: impl FnMut() -> io::Result<T>) -> io::Result<(T, u64)> {
    for asked_again in 0..ASKED_MAX - 1 {
        let error = match ask() {
            Err(error) => error,
            Ok(answer) => return Ok((answer, asked_again)),
        };
        match error.kind() {
            // Nobody is at the port, which is told at once.
            io::ErrorKind::ConnectionRefused => thread::sleep(ASK_AGAIN),
            // The socket has waited.
            io::ErrorKind::WouldBlock => {}
            _ => return Err(error),
        }
        // `bench io` counts these.
        eprintln!("peer: asks again: {error}");
    }
    Ok((ask()?, ASKED_MAX - 1))
}

/// Counts bytes, and sums them so that their order matters.
#[derive(Default, PartialEq, Eq)]
struct Tally {
    bytes: u64,
    sum: u64,
}

impl Tally {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sum =
            bytes.iter().fold(self.sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    }

    /// Of all that comes until the other side closes.
    fn of(stream: &mut TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut tally = Self::default();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match stream.read(&mut piece)? {
                0 => return Ok(tally),
                len => tally.add(&piece[..len]),
            }
        }
    }

    fn tell(&self) -> String {
        format!("{} bytes, sum {:016x}", self.bytes, self.sum)
    }
}

fn tcp_sink(port: &str) -> io::Result<String> {
    let (mut stream, _) = TcpListener::bind(format!("0.0.0.0:{port}"))?.accept()?;
    Ok(Tally::of(&mut stream)?.tell())
}

fn tcp_send(host: &str, port: &str, mib: &str) -> io::Result<String> {
    let (mut stream, _) = persist(|| TcpStream::connect(format!("{host}:{port}")))?;
    let sent = send(&mut stream, number(mib)?)?;
    // The other side closes when it has got all.
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(sent.tell())
}

/// What comes back is taken while there is still something to send: nobody on the way has room for all of it.
fn tcp_turn(host: &str, port: &str, mib: &str) -> io::Result<String> {
    let mib = number(mib)?;
    let (mut stream, _) = persist(|| TcpStream::connect(format!("{host}:{port}")))?;
    let mut sending = stream.try_clone()?;
    let sender = thread::spawn(move || send(&mut sending, mib));
    let returned = Tally::of(&mut stream)?;
    let sent = sender.join().map_err(|_| io::Error::other("the sending thread has panicked"))??;
    if returned != sent {
        return Err(io::Error::other(format!("sent {}, and back came {}", sent.tell(), returned.tell())));
    }
    Ok(format!("{} came back", sent.tell()))
}

/// Sends so many MiB, and closes this direction.
fn send(stream: &mut TcpStream, mib: u64) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut state = 1_u32;
    for _ in 0..mib * (1 << 20) / PIECE_BYTES as u64 {
        // Nothing repeats within a piece: what is lost or doubled shows.
        let piece: Vec<u8> = (0..PIECE_BYTES)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        stream.write_all(&piece)?;
        tally.add(&piece);
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(tally)
}

fn tcp_drain(port: &str) -> io::Result<String> {
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let (mut stream, _) = listener.accept()?;
        while stream.read(&mut piece)? != 0 {}
    }
}

fn tcp_pour(host: &str, port: &str, mib: &str) -> io::Result<String> {
    let (mut stream, _) = persist(|| TcpStream::connect(format!("{host}:{port}")))?;
    let piece = vec![0; PIECE_BYTES];
    let pieces = number(mib)? * (1 << 20) / PIECE_BYTES as u64;
    for _ in 0..pieces {
        stream.write_all(&piece)?;
    }
    // The other side closes its end when it has all.
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut [0])? {
        0 => Ok(format!("{} bytes", pieces * PIECE_BYTES as u64)),
        _ => Err(io::Error::other("the other side has sent something")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port of this computer at which nobody listens.
    fn free_port() -> u16 {
        UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_lost_datagram_is_sent_again_and_late_answers_are_passed_over() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port().to_string();
        thread::spawn(move || {
            let mut datagram = [0; DATAGRAM_BYTES];
            // The first is lost, before anything was answered, and the fourth; each of the others is answered twice.
            for n in 0.. {
                let (_, from) = socket.recv_from(&mut datagram).unwrap();
                if n != 0 && n != 3 {
                    socket.send_to(&datagram, from).unwrap();
                    socket.send_to(&datagram, from).unwrap();
                }
            }
        });
        assert_eq!(udp_ping("127.0.0.1", &port, "5").unwrap(), "5 datagrams came back; asked again: 1");
    }

    #[test]
    fn a_datagram_that_came_back_changed_is_no_answer() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port().to_string();
        thread::spawn(move || {
            let mut datagram = [0; DATAGRAM_BYTES];
            let (_, from) = socket.recv_from(&mut datagram).unwrap();
            datagram[DATAGRAM_BYTES - 1] ^= 1;
            socket.send_to(&datagram, from).unwrap();
        });
        let error = udp_ping("127.0.0.1", &port, "1").unwrap_err();
        assert!(error.to_string().contains("datagram 0 came back as another"), "{error}");
    }

    /// What `tcp-turn` says where every byte comes back as `change` has made it.
    fn turned(change: fn(&mut [u8])) -> io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut piece = [0; 4096];
            loop {
                match stream.read(&mut piece).unwrap() {
                    0 => return,
                    len => {
                        change(&mut piece[..len]);
                        stream.write_all(&piece[..len]).unwrap();
                    }
                }
            }
        });
        tcp_turn("127.0.0.1", &port, "8")
    }

    #[test]
    fn a_stream_that_comes_back_is_told_unless_it_was_changed() {
        let told = turned(|_| ()).unwrap();
        assert!(told.starts_with("8388608 bytes, sum ") && told.ends_with(" came back"), "{told}");
        let error = turned(|piece| piece[0] ^= 1).unwrap_err();
        assert!(error.to_string().contains("and back came"), "{error}");
    }

    #[test]
    fn who_comes_before_the_other_side_listens_asks_again() {
        let (udp, tcp) = (free_port().to_string(), free_port().to_string());
        thread::scope(|scope| {
            let ping = scope.spawn(|| udp_ping("127.0.0.1", &udp, "3").unwrap());
            let sender = scope.spawn(|| tcp_send("127.0.0.1", &tcp, "1").unwrap());
            thread::sleep(ASK_AGAIN / 2);
            let echo = udp.clone();
            thread::spawn(move || udp_echo(&echo));
            assert_eq!(tcp_sink(&tcp).unwrap(), sender.join().unwrap());
            assert_eq!(ping.join().unwrap(), "3 datagrams came back; asked again: 0");
        });
    }
}
