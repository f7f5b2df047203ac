//! The NIC, driven by the `virtio-drivers` crate, which knows nothing of us. Two VMs on one network both run this.
//!
//! Each asks: it sends a frame until the other has sent a copy of it back. The first ask of a round is a broadcast, by which
//! they find each other; the last one says that its sender wants nothing more. A round ends when both have said so and the
//! other is silent. Between the rounds the device is reset.

#![no_std]
#![no_main]

mod frame;

use frame::{ASKS, BROADCAST, Frame, Kind, Mac};
use guests::virtio::{Machine, first};
use guests::{Checks, cpu, guest, println};
use virtio_drivers::device::net::VirtIONet;
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::{DeviceType, Transport};

guest!("virtio-net", run);

/// What precedes a frame in memory: no offload, one buffer (virtio 1.2, 5.1.6).
const NET_HEADER: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// In ticks of the TSC: after what time one asks again. Both VMs have had many turns by then.
const ASK_AGAIN: u64 = 200_000_000;
/// How often one asks: the other may still be starting.
const TRIES: u32 = 200;

type Nic = VirtIONet<Machine, PciTransport, 16>;

/// What one station knows, over all rounds.
#[derive(Default)]
struct Station {
    own: Mac,
    other: Option<Mac>,
    /// The count in the last frame that was sent, and in the last one that came.
    sent: u32,
    heard: u32,
    /// The round and the number of the last answer.
    answered: (u8, u8),
    /// The last round in which the other wants nothing more.
    other_ended: u8,
    /// How often asks other than a round's first, for which the other may not be ready, were sent again.
    again: u32,
}

fn run(checks: &mut Checks) {
    let mut station = Station::default();
    let names = [
        ["device", "link-is-up", "starts", "mac-is-one-stations", "exchange"],
        ["device-again", "link-is-up-again", "starts-again", "mac-is-the-same", "exchange-after-a-reset"],
    ];
    for (round, [device, link, start, mac, exchange]) in (1..).zip(names) {
        let Some(transport) = first(checks, device, DeviceType::Network) else { return };
        // `status` in `virtio_net_config`: VIRTIO_NET_S_LINK_UP.
        let status = transport.read_config_space::<u16>(6);
        checks.check(link, matches!(status, Ok(1)), format_args!("{status:?}"));
        let Some(mut nic) = checks.good(start, Nic::new(transport, 2048)) else { return };
        let own = nic.mac_address();
        let is_expected = if round == 1 { own != [0; 6] && own[0] & 1 == 0 } else { own == station.own };
        checks.check(mac, is_expected, format_args!("{own:x?}"));
        station.own = own;
        checks.good(exchange, station.exchange(&mut nic, round));
        // The scenario looks for this line.
        println!("guest: {:02x?} has talked to {:02x?}", station.own, station.other.unwrap_or_default());
    }
    checks.equal("nothing-is-lost", station.again.into(), 0);
}

impl Station {
    fn exchange(&mut self, nic: &mut Nic, round: u8) -> Result<(), &'static str> {
        for number in 0..ASKS {
            let mut tries = 0;
            while self.answered != (round, number) {
                tries += 1;
                self.again += u32::from(tries > 1 && number > 0);
                if tries > TRIES {
                    return Err("an ask without an answer");
                }
                let to = if number == 0 { BROADCAST } else { self.other.unwrap_or(BROADCAST) };
                self.send(nic, to, Kind::Ask, (round, number))?;
                self.listen(nic, ASK_AGAIN, |station| station.answered == (round, number))?;
            }
        }
        self.listen(nic, u64::from(TRIES) * ASK_AGAIN, |station| station.other_ended >= round)?;
        if self.other_ended < round {
            return Err("the other does not come to its end");
        }
        // It repeats its last ask until it has the answer.
        loop {
            let heard = self.heard;
            self.listen(nic, 2 * ASK_AGAIN, |station| station.heard != heard)?;
            if self.heard == heard {
                return Ok(());
            }
        }
    }

    fn send(&mut self, nic: &mut Nic, to: Mac, kind: Kind, what: (u8, u8)) -> Result<(), &'static str> {
        self.sent += 1;
        let (round, number) = what;
        let frame = Frame { to, from: self.own, kind, round, number, count: self.sent };
        let mut buffer = nic.new_tx_buffer(frame.len_bytes());
        frame.write(buffer.packet_mut());
        nic.send(buffer).map_err(|_| "the driver cannot send")
    }

    /// Takes frames, and answers them, until `is_enough` or the time is over.
    fn listen(
        &mut self,
        nic: &mut Nic,
        ticks: u64,
        is_enough: impl Fn(&Self) -> bool,
    ) -> Result<(), &'static str> {
        let begin = cpu::tsc();
        while !is_enough(self) && cpu::tsc() - begin < ticks {
            if !nic.can_recv() {
                core::hint::spin_loop();
                continue;
            }
            let buffer = nic.receive().map_err(|_| "the driver cannot receive")?;
            if !buffer.as_bytes().starts_with(&NET_HEADER) {
                return Err("a frame behind another header");
            }
            let frame = Frame::read(buffer.packet())?;
            nic.recycle_rx_buffer(buffer).map_err(|_| "the driver cannot give a buffer back")?;
            self.take(&frame)?;
            if frame.kind == Kind::Ask {
                self.send(nic, frame.from, Kind::Answer, (frame.round, frame.number))?;
            }
        }
        Ok(())
    }

    /// Looks at a frame, which must be the other's and for this station.
    fn take(&mut self, frame: &Frame) -> Result<(), &'static str> {
        let is_first = frame.kind == Kind::Ask && frame.number == 0;
        if frame.to != if is_first { BROADCAST } else { self.own } {
            return Err("a frame for another station");
        }
        let is_strange = self.other.is_some_and(|other| other != frame.from);
        if frame.from == self.own || frame.from[0] & 1 != 0 || is_strange {
            return Err("a frame of another station");
        }
        if frame.count <= self.heard {
            return Err("a frame that came twice, or after a later one");
        }
        (self.other, self.heard) = (Some(frame.from), frame.count);
        match frame.kind {
            Kind::Answer => self.answered = (frame.round, frame.number),
            Kind::Ask if frame.number == ASKS - 1 => self.other_ended = self.other_ended.max(frame.round),
            Kind::Ask => {}
        }
        Ok(())
    }
}
