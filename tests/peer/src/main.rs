//! Talks TCP and UDP with itself in another Linux guest, and says what came. One static program, so that a guest needs no
//! libraries.
//!
//! ```text
//! peer udp-echo PORT             sends every datagram back, for ever
//! peer udp-send HOST PORT N      sends N datagrams, and cares for no answer
//! peer udp-ping HOST PORT N      sends N datagrams, each after the answer to the one before
//! peer tcp-sink PORT             takes one connection, and tells how many bytes came and their sum
//! peer tcp-send HOST PORT MIB    sends so much, waits until it has come, and tells the same of it
//! peer tcp-drain PORT            takes one connection after the other, and looks at nothing that comes, for ever
//! peer tcp-pour HOST PORT MIB    sends so much, and ends when all of it has been taken; looks at nothing either
//! peer mark NUMBER               asks a hypervisor that counts shares for a snapshot under this number (xtask's `bench io`)
//! ```

#![forbid(unsafe_code)]

use std::arch::x86_64::__cpuid_count;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

/// How long an answer may take, and how often it is asked for again.
const PATIENCE: Duration = Duration::from_secs(20);
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
        ["tcp-drain", port] => tcp_drain(port),
        ["tcp-pour", host, port, mib] => tcp_pour(host, port, mib),
        ["mark", number] => mark(number),
        _ => Err(io::Error::other(
            "usage: udp-echo PORT | udp-send HOST PORT N | udp-ping HOST PORT N | tcp-sink PORT | tcp-send HOST PORT MIB | \
             tcp-drain PORT | tcp-pour HOST PORT MIB | mark NUMBER",
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
    socket.set_read_timeout(Some(PATIENCE))?;
    for n in 0..count {
        let mut sent = [0; DATAGRAM_BYTES];
        sent[..8].copy_from_slice(&n.to_le_bytes());
        socket.send(&sent)?;
        let mut got = [0; DATAGRAM_BYTES + 1];
        let len = socket.recv(&mut got)?;
        if got[..len] != sent {
            return Err(io::Error::other(format!("datagram {n} came back as another")));
        }
    }
    Ok(format!("{count} datagrams came back"))
}

/// Counts bytes, and sums them so that their order matters.
#[derive(Default)]
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

    fn tell(&self) -> String {
        format!("{} bytes, sum {:016x}", self.bytes, self.sum)
    }
}

fn tcp_sink(port: &str) -> io::Result<String> {
    let (mut stream, _) = TcpListener::bind(format!("0.0.0.0:{port}"))?.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut tally = Tally::default();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(tally.tell()),
            len => tally.add(&piece[..len]),
        }
    }
}

fn tcp_send(host: &str, port: &str, mib: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(format!("{host}:{port}"))?;
    let mut tally = Tally::default();
    let mut state = 1_u32;
    for _ in 0..number(mib)? * (1 << 20) / PIECE_BYTES as u64 {
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
    // The other side closes when it has got all.
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(tally.tell())
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
    let mut stream = TcpStream::connect(format!("{host}:{port}"))?;
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
