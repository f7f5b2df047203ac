//! Moves frames: from a guest's memory to another guest's, once, wherever both allow that.
//!
//! A frame with one receiver that has no room waits for it, for [`PATIENCE`] at most: a sender would only send it again. A frame
//! for several waits for none. Senders go first by turns; on a card the room for a frame that waits is kept free of later ones.

use super::outgoing::Outgoing;
use super::{HostNetwork, Networks, Room, Uplink, VmNic, Wait};
use crate::devices::HostDevices;
use crate::guests::{Guests, Others, Present};
use crate::meter::Meter;
use backends::switch::offload::{Segments, finish_checksum};
use backends::switch::{Bridge, HEAD_BYTES, Patience, PortId, PortSet, TagChange};
use base::{Instant, Nanoseconds, VmId};
use devices::pci::Slot;
use devices::virtio::net::{Acceptance, Checksum, Fetched, NetHeader, Received};
use devices::virtio::{Cursor, Progress};
use drivers::nic::{Nic, Sent};
use memory::{GuestAccess, Peer};

/// How many frames one step moves at most.
const STEP_FRAMES: u32 = 32;
/// How much one step moves at most, or a frame more: what others wait for a sender of long frames to many.
const STEP_BYTES: usize = 2 << 20;
/// What a frame that had to be made for its receiver counts as besides its bytes.
const FRAME_WORK_BYTES: usize = 512;
/// How much room on a card is kept for a frame that waits: what the longest gives on an Ethernet, and not all of the ring, or a
/// sender of the shortest segments would keep everybody off the card.
const FRAMES_KEPT: u8 = 48;
/// How long a frame waits for its receiver: some slices, as that may have to wait for the CPU.
const PATIENCE: Nanoseconds = Nanoseconds::from_millis(20);
/// How often a frame that waits where there is a card is tried again: a card need not tell that it has sent something.
const CARD_PAUSE: Nanoseconds = Nanoseconds::from_micros(500);

/// What became of one frame on its way to one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Delivered,
    /// The receiver has no room now.
    NoRoom,
    /// It cannot be delivered.
    Lost,
}

/// Why a sender's batch ended.
enum Stop {
    /// It has nothing more to send.
    Empty,
    /// It has had its share.
    Share,
    /// Its next frame has to wait.
    Waits(Wait),
}

impl Networks {
    /// Moves what guests have sent and cards have got: a bounded number of frames from each. A guest pays for what it sends.
    pub fn run(
        &mut self,
        guests: &mut Guests,
        devices: &mut HostDevices,
        now: Instant,
        meter: &mut Meter<'_>,
    ) {
        let Self { networks, room, next_try } = self;
        *next_try = Instant::FAR_FUTURE;
        for network in networks {
            if network.link_due <= now {
                network.follow_link(guests, devices, now);
            }
            let mut retry = Instant::FAR_FUTURE;
            if let Uplink::Card { card, port, .. } = network.uplink {
                from_card(network, port, card, guests, devices, now);
                meter.skip();
                retry = now.after(CARD_PAUSE);
            }
            let is_kicked = |nic: &VmNic, guests: &mut Guests| {
                let present = guests.get_mut(nic.vm).and_then(|guest| guest.present());
                present.is_some_and(|present| present.vm.kicked_devices().has(nic.slot))
            };
            let (mut kicked, mut waiting, mut due) = <(PortSet, PortSet, PortSet)>::default();
            for nic in &network.nics {
                if is_kicked(nic, guests) {
                    kicked = kicked.with(nic.port);
                }
                let Some(wait) = nic.wait else { continue };
                waiting = waiting.with(nic.port);
                if wait.until() <= now {
                    due = due.with(nic.port);
                }
            }
            // Who has kicked may have made room for others, and so may a card.
            let may_have_room = !kicked.is_empty() || retry != Instant::FAR_FUTURE;
            let tried = kicked.union(if may_have_room { waiting } else { due });
            let last = network.went_first;
            if tried.is_several() {
                network.went_first = tried.iter_behind(last).next();
            }
            for port in tried.iter_behind(last) {
                from_guest(network, port, guests, devices, room, now, meter);
            }
            let waits = network.nics.iter().filter_map(|nic| nic.wait);
            let tries = waits.map(|wait| match wait {
                Wait::Rate(until) => until,
                Wait::Room { until, .. } => until.min(retry),
            });
            *next_try = tries.fold(network.link_due.min(*next_try), Instant::min);
        }
    }
}

/// Moves frames that a guest has sent by its NIC at `port`.
fn from_guest(
    network: &mut HostNetwork,
    port: PortId,
    guests: &mut Guests,
    devices: &mut HostDevices,
    room: &mut Room,
    now: Instant,
    meter: &mut Meter<'_>,
) {
    let Some(nic) = network.nic_at(port) else { return };
    // Only its next frame has waited.
    let (vm, slot, mut waited) = (nic.vm, nic.slot, nic.wait.take());
    let Some((sender, others)) = guests.split(vm) else { return };
    let mut way = Way {
        network,
        others,
        devices,
        now,
        sender: vm,
        peer: None,
        patience: Patience::Fresh,
        kept_frames: 0,
        moved_bytes: 0,
    };
    let mut is_stream = false;
    let stop = sender.vm.run_net(slot, now, |step| {
        for _ in 0..STEP_FRAMES {
            match step.net.next_frame(step.transmit, step.memory, &mut room.frame)? {
                Fetched::Nothing => return Ok((Progress::Idle, Stop::Empty)),
                Fetched::Malformed => continue,
                Fetched::Frame => {}
            }
            let ready = way.network.bridge.ready_at(port, room.frame.len_bytes(), now);
            if ready > now {
                step.transmit.put_back(1);
                return Ok((Progress::Idle, Stop::Waits(Wait::Rate(ready))));
            }
            way.patience = match waited.take() {
                Some(Wait::Room { until, .. }) if until <= now => Patience::Over,
                Some(Wait::Room { until, .. }) => Patience::Waiting(until),
                Some(Wait::Rate(_)) | None => Patience::Fresh,
            };
            if let Some(until) = way.forward(port, room, step.memory) {
                step.transmit.put_back(1);
                let wait = Wait::Room { until, kept_frames: way.kept_frames };
                return Ok((Progress::Idle, Stop::Waits(wait)));
            }
            is_stream |= room.frame.header().segmentation.is_some();
            step.net.sent(step.transmit, step.memory, &room.frame)?;
            if way.moved_bytes >= STEP_BYTES {
                break;
            }
        }
        Ok((Progress::More, Stop::Share))
    });
    if let Some(Stop::Waits(wait)) = stop
        && let Some(nic) = network.nic_at(port)
    {
        nic.wait = Some(wait);
    }
    if is_stream {
        meter.note_stream(vm);
    }
    if let Some(guest) = guests.get_mut(vm) {
        meter.charge(vm, guest);
    }
}

/// Moves frames that a card has got.
fn from_card(
    network: &mut HostNetwork,
    port: PortId,
    card: usize,
    guests: &mut Guests,
    devices: &mut HostDevices,
    now: Instant,
) {
    let Some(card) = devices.cards.get_mut(card) else { return };
    card.driver.poll(now);
    for _ in 0..STEP_FRAMES {
        let Some(bytes) = card.driver.peek() else { return };
        let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
        if let Ok(forward) = network.bridge.forward(port, head, bytes.len() as u32, None, now) {
            for (to, tag) in forward.receivers() {
                let Some(nic) = network.nic_at(to) else { continue };
                let Some(present) = guests.get_mut(nic.vm).and_then(|guest| guest.present()) else {
                    continue;
                };
                let frame = Outgoing::new(bytes, tag);
                let outcome = deliver_bytes(present, nic.slot, now, frame);
                count(&mut network.bridge, to, frame.len_bytes(), outcome);
            }
        }
        card.driver.consume();
    }
}

/// What a frame passes on its way.
struct Way<'a> {
    network: &'a mut HostNetwork,
    others: Others<'a>,
    devices: &'a mut HostDevices,
    now: Instant,
    sender: VmId,
    /// Whose memory is shown beside the sender's.
    peer: Option<(VmId, Peer)>,
    /// With the frame on its way.
    patience: Patience,
    /// How much room a card is to keep for it, if that has too little now.
    kept_frames: u8,
    /// How much has been moved, and made to be moved.
    moved_bytes: usize,
}

impl Way<'_> {
    /// Brings the frame in `room`, which lies in the sender's `memory`, to all who get it. Returns until when it has to wait
    /// for one who has no room; then nobody has got it.
    fn forward(&mut self, from: PortId, room: &mut Room, memory: &GuestAccess) -> Option<Instant> {
        let (head, len_bytes) = (room.frame.first_bytes(), room.frame.len_bytes());
        let unfinished_at = room.frame.header().checksum.unfinished_at();
        let Ok(forward) = self.network.bridge.forward(from, head, len_bytes, unfinished_at, self.now) else {
            return None;
        };
        for (to, tag) in forward.receivers() {
            let outcome = self.deliver(to, tag, room, memory);
            if let Some(trust) = self.network.trust_at(to) {
                if outcome == Outcome::Delivered {
                    trust.took(self.patience);
                } else if outcome == Outcome::NoRoom
                    && forward.is_for_one()
                    && let Some(until) = trust.no_room(self.patience, self.now.after(PATIENCE))
                {
                    self.network.bridge.take_back(from, len_bytes);
                    return Some(until);
                }
            }
            count(&mut self.network.bridge, to, len_bytes, outcome);
        }
        None
    }

    fn deliver(&mut self, to: PortId, tag: TagChange, room: &mut Room, memory: &GuestAccess) -> Outcome {
        self.kept_frames = 0;
        self.moved_bytes += room.frame.len_bytes() as usize;
        if let Uplink::Card { card, port, .. } = self.network.uplink
            && port == to
        {
            return self.transmit(card, tag, room, memory);
        }
        let Some(nic) = self.network.nic_at(to) else { return Outcome::Lost };
        let (vm, slot) = (nic.vm, nic.slot);
        if vm == self.sender {
            // Its own memory is the sender's, and both devices would be at work at once.
            return Outcome::Lost;
        }
        let Some(receiver) = self.others.get_mut(vm) else { return Outcome::Lost };
        if self.peer.as_ref().is_none_or(|(shown, _)| *shown != vm) {
            // The one before must be gone: there is one window.
            self.peer = None;
            self.peer = Some((vm, receiver.vm.memory().beside()));
        }
        let acceptance = if tag == TagChange::Keep {
            receiver.vm.with_net(slot, self.now, |step| {
                let acceptance = step.net.acceptance(room.frame.header());
                if acceptance != Acceptance::AsItIs {
                    return Ok((Progress::Idle, Err(acceptance)));
                }
                let (header, len_bytes) = (room.frame.header(), room.frame.len_bytes());
                let received = step.net.receive(step.receive, step.memory, header, len_bytes, |place| {
                    room.frame.reader(memory).copy_to(step.memory, place)
                })?;
                Ok((Progress::Idle, Ok(outcome_of(received))))
            })
        } else {
            Some(Err(Acceptance::Segmented))
        };
        match acceptance {
            None => Outcome::Lost,
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => {
                let (now, moved_bytes) = (self.now, &mut self.moved_bytes);
                completed(room, memory, tag, moved_bytes, |piece| deliver_bytes(receiver, slot, now, piece))
            }
        }
    }

    fn transmit(&mut self, card: usize, tag: TagChange, room: &mut Room, memory: &GuestAccess) -> Outcome {
        let ahead = self.network.frames_ahead(self.patience);
        let Some(card) = self.devices.cards.get_mut(card) else { return Outcome::Lost };
        let driver = &mut card.driver;
        let (header, len_bytes) = (room.frame.header(), room.frame.len_bytes());
        let frames = header.segmentation.as_ref().map_or(1, |cut| cut.segments_max(len_bytes));
        let wanted = frames.saturating_add(ahead);
        if !driver.has_room(wanted) {
            driver.poll(self.now);
            if !driver.has_room(wanted) {
                self.kept_frames = u8::try_from(frames).map_or(FRAMES_KEPT, |frames| frames.min(FRAMES_KEPT));
                return Outcome::NoRoom;
            }
        }
        if tag == TagChange::Keep && *header == NetHeader::PLAIN {
            let reader = room.frame.reader(memory);
            return outcome_of_sent(driver.transmit_with(len_bytes as usize, |bytes| reader.fill(bytes)));
        }
        completed(room, memory, tag, &mut self.moved_bytes, |piece| {
            outcome_of_sent(driver.transmit_with(piece.len_bytes() as usize, |bytes| piece.copy(bytes)))
        })
    }
}

/// Completes a frame in software, as far as its sender has left that to others, and gives it to `deliver` in as many pieces
/// as it is to be cut into. What became of the last one.
fn completed(
    room: &mut Room,
    memory: &GuestAccess,
    tag: TagChange,
    moved_bytes: &mut usize,
    mut deliver: impl FnMut(Outgoing<'_>) -> Outcome,
) -> Outcome {
    let mut deliver = |bytes: &[u8]| {
        let frame = Outgoing::new(bytes, tag);
        *moved_bytes += frame.len_bytes() as usize + FRAME_WORK_BYTES;
        deliver(frame)
    };
    let Room { frame, whole, piece } = room;
    let Some(bytes) = whole.get_mut(..frame.len_bytes() as usize) else { return Outcome::Lost };
    if frame.reader(memory).read(bytes).is_err() {
        return Outcome::Lost;
    }
    let header = frame.header();
    let Some(segmentation) = &header.segmentation else {
        if let Checksum::Partial { start, offset } = header.checksum
            && finish_checksum(bytes, start, offset).is_err()
        {
            return Outcome::Lost;
        }
        return deliver(bytes);
    };
    let Ok(mut segments) = Segments::new(bytes, segmentation.segment_bytes) else { return Outcome::Lost };
    let mut outcome = Outcome::Lost;
    while let Some(cut) = segments.next_into(piece) {
        let Some(bytes) = cut.ok().and_then(|len| piece.get(..len)) else { return Outcome::Lost };
        outcome = deliver(bytes);
        if outcome != Outcome::Delivered {
            // A part of it is there: the rest is lost like frames on any wire.
            return Outcome::Lost;
        }
    }
    outcome
}

/// Gives a guest a complete frame.
fn deliver_bytes(receiver: &mut Present, slot: Slot, now: Instant, frame: Outgoing<'_>) -> Outcome {
    let received = receiver.vm.with_net(slot, now, |step| {
        let copy = |mut place: Cursor<'_>| {
            frame.parts().iter().try_for_each(|part| place.write(step.memory, part).map(drop))
        };
        let received =
            step.net.receive(step.receive, step.memory, &NetHeader::PLAIN, frame.len_bytes(), copy)?;
        Ok((Progress::Idle, outcome_of(received)))
    });
    received.unwrap_or(Outcome::Lost)
}

fn count(bridge: &mut Bridge, to: PortId, len_bytes: u32, outcome: Outcome) {
    match outcome {
        Outcome::Delivered => bridge.delivered(to, len_bytes),
        Outcome::NoRoom | Outcome::Lost => bridge.undelivered(to),
    }
}

const fn outcome_of(received: Received) -> Outcome {
    match received {
        Received::Delivered => Outcome::Delivered,
        Received::NoRoom => Outcome::NoRoom,
        Received::TooLong | Received::NotCopied(_) => Outcome::Lost,
    }
}

const fn outcome_of_sent(sent: Sent) -> Outcome {
    match sent {
        Sent::Accepted => Outcome::Delivered,
        Sent::Full | Sent::Dropped => Outcome::Lost,
    }
}
