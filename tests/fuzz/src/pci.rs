//! A virtio device's function under a driver that means harm to its registers: configuration space, BARs, MSI-X's table.
//! What its queues make of the guest's memory is other targets' business; here they are empty.
//!
//! The input: a byte for the device type; a byte that is odd if the transport starts from a saved state, which follows then
//! (its length u16, CBOR); acts. An act is a byte, its bits 7:6 the width of an access, and what belongs to it.

use crate::drive::{load, saved};
use crate::models::take_over;
use crate::{Bytes, RecordingCx, SparseMemory};
use base::MacAddress;
use devices::pci::{BARS, Place, Slot};
use devices::virtio::blk::Blk;
use devices::virtio::console::Console;
use devices::virtio::net::Net;
use devices::virtio::rng::Rng;
use devices::virtio::transport::Phase;
use devices::virtio::{Broken, Transport, VirtioDevice, VirtioFunction};
use devices::{Access, Device, Width, WindowOffset};
use seams::{BlockAccess, BlockGeometry, Level};

/// The most that a driver does in one input.
const ACTS_MAX: usize = 200;
/// How often the transport is replaced by one that took over its state.
const COPIES_MAX: usize = 4;
const MEMORY_BYTES: u64 = 1 << 20;
const GEOMETRY: BlockGeometry =
    BlockGeometry { sectors: 64, block_bytes: 4096, access: BlockAccess::ReadWrite };

/// The status bits that a driver can bring about, but for FAILED and DEVICE_NEEDS_RESET, which come beside them.
const PHASES: [u8; 5] = [0, 1, 3, 11, 15];

/// The function of some device type.
///
/// # Panics
/// When what holds for every transport does not.
pub fn virtio_function(input: &[u8]) {
    let mut input = Bytes::new(input);
    match input.u8() % 4 {
        0 => drive(Net::new(MacAddress([2, 0, 0, 0, 0, 1]), Some(1500)), &mut input),
        1 => drive(Console::new(), &mut input),
        2 => drive(Rng::new(), &mut input),
        _ => drive(Blk::new(GEOMETRY, [0; 20]).expect("there is memory for a disk"), &mut input),
    }
}

fn drive<D: VirtioDevice + Clone>(device: D, input: &mut Bytes<'_>) {
    let slot = Slot::new(5).unwrap_or(Slot::HOST_BRIDGE);
    let mut function = VirtioFunction::new(device, slot);
    let fresh = function.transport().clone();
    if input.u8() % 2 == 1 {
        let len_bytes = input.u16();
        take_over(function.parts_mut().0, input.take(len_bytes.into()));
    }
    let (mut cx, memory) = (RecordingCx::new(), SparseMemory::new(MEMORY_BYTES));
    let mut copies = 0;
    for _ in 0..ACTS_MAX {
        if input.is_empty() {
            break;
        }
        let act = input.u8();
        let width = [Width::Byte, Width::Word, Width::Dword, Width::Dword][usize::from(act >> 6)];
        let sent = cx.messages.len();
        match act & 15 {
            0..4 => _ = function.read(&mut cx, Access { at: place(input), width }),
            4..10 => {
                let at = place(input);
                let value = if width == Width::Dword { input.u32() } else { input.u16().into() };
                function.write(&mut cx, Access { at, width }, value);
            }
            10 => _ = function.parts_mut().0.take_kicked(),
            11 => function.parts_mut().0.settle(&mut cx, &memory),
            12 => function.parts_mut().0.config_changed(&mut cx),
            13 => function.parts_mut().0.fail(&mut cx, Broken::Loop),
            14 if copies < COPIES_MAX => {
                copies += 1;
                *function.parts_mut().0 = copied(function.transport(), &fresh);
            }
            14 => {}
            _ => function.reset(&mut cx),
        }
        check(function.transport());
        let may_send = function.transport().function().is_bus_master();
        assert!(may_send || cx.messages.len() == sent, "act {act:#x} sent without being a bus master");
    }
    copied(function.transport(), &fresh);
}

/// A register: most of the time one that exists.
fn place(input: &mut Bytes<'_>) -> Place {
    let (kind, offset) = (input.u8(), u32::from(input.u8()));
    match kind % 8 {
        0 | 1 => Place::Config(WindowOffset(offset)),
        // Capabilities: the ones with windows and tables.
        2 => Place::Config(WindowOffset(0x40 + offset % 0x68)),
        3 => Place::Bar(1, WindowOffset(offset)),
        4 => Place::Bar(0, WindowOffset(0x1000 * (offset % 5) + offset / 5)),
        5 => Place::Bar(kind >> 3, WindowOffset(input.u32())),
        _ => Place::Bar(0, WindowOffset(offset % 0x40)),
    }
}

/// What holds for a transport whatever was done to it.
fn check(transport: &Transport) {
    let (status, function) = (transport.status(), transport.function());
    assert!(PHASES.contains(&(status.bits() & 0x3f)), "{status:?}");
    let works = status.phase() == Phase::DriverOk && !status.needs_reset() && function.is_bus_master();
    assert_eq!(transport.is_running(), works);
    assert!(works || transport.kicked() == 0);
    assert!(transport.pin() == Level::Deasserted || !function.uses_messages());
    for bar in (0..BARS).filter_map(|n| function.decoded(n)) {
        assert!(bar.address().is_multiple_of(bar.len_bytes()), "{bar:?}");
    }
}

/// `fresh` with the state of `transport`.
fn copied(transport: &Transport, fresh: &Transport) -> Transport {
    let mut copy = fresh.clone();
    load(&mut copy, &saved(transport));
    assert_eq!(copy, *transport);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `value` of 32 bits to a register that [`place`] makes of `kind` and `offset`.
    fn write(kind: u8, offset: u8, value: u32) -> Vec<u8> {
        let mut act = vec![0xc4, kind, offset];
        act.extend(value.to_le_bytes());
        act
    }

    #[test]
    fn any_input_ends() {
        for input in [vec![], vec![0], vec![1; 300], vec![0xff; 3000]] {
            virtio_function(&input);
        }
    }

    #[test]
    fn an_input_can_bring_a_device_to_work() {
        let mut input = vec![1, 0];
        input.extend(write(0, 0x04, 6));
        for status in [1_u16, 3] {
            input.extend([0x04, 6, 0x14]);
            input.extend(status.to_le_bytes());
        }
        input.extend(write(6, 0x08, 1));
        input.extend(write(6, 0x0c, 1));
        input.extend([0x04, 6, 0x14, 11, 0, 0x04, 6, 0x14, 15, 0]);
        virtio_function(&input);
        let mut bytes = Bytes::new(&input[2..]);
        let mut function = VirtioFunction::new(Console::new(), Slot::new(5).unwrap());
        let mut cx = RecordingCx::new();
        while !bytes.is_empty() {
            let width = if bytes.u8() >= 0xc0 { Width::Dword } else { Width::Byte };
            let at = place(&mut bytes);
            let value = if width == Width::Dword { bytes.u32() } else { bytes.u16().into() };
            function.write(&mut cx, Access { at, width }, value);
        }
        assert!(function.transport().is_running() && function.transport().kicked() == 0b11);
    }
}
