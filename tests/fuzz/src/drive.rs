//! A driver that means harm, and what holds for every device whatever it does.

use crate::{Bytes, RecordingCx};
use base::state::{Reader, SavedState, Writer};
use base::{Instant, Nanoseconds};
use core::fmt::Debug;
use devices::{Access, Device, Width};

/// The most that a driver does in one input: what goes wrong later goes wrong sooner too, and costs less to find.
const ACTS_MAX: usize = 200;

/// How often a device is replaced by one that took over its state, which costs as much as a hundred other acts.
const COPIES_MAX: usize = 4;

/// Drives `device` until `input` is used up, or for [`ACTS_MAX`] acts, and checks:
/// - after each act, time that has passed leaves no deadline behind;
/// - when it is saved and at the end, `fresh` takes over the state and is the same device; the copy is driven on.
///
/// `address` makes an address of a byte; `outside` is what the device takes from elsewhere than its registers.
pub fn drive<D>(
    mut device: D,
    fresh: &D,
    input: &mut Bytes<'_>,
    address: impl Fn(u8) -> D::Address,
    mut outside: impl FnMut(&mut D, &mut RecordingCx, u8),
) where
    D: Device + SavedState + Clone + Debug + PartialEq,
{
    let mut cx = RecordingCx::new();
    let mut copies = 0;
    for _ in 0..ACTS_MAX {
        if input.is_empty() {
            break;
        }
        let act = input.u8();
        let width = [Width::Byte, Width::Word, Width::Dword, Width::Byte][usize::from(act >> 6)];
        match act & 7 {
            0 | 1 => _ = device.read(&mut cx, Access { at: address(input.u8()), width }),
            2 | 3 => {
                let at = address(input.u8());
                let value = if width == Width::Byte { input.u8().into() } else { input.u32() };
                device.write(&mut cx, Access { at, width }, value);
            }
            4 => cx.wait(Nanoseconds(input.scaled())),
            5 => outside(&mut device, &mut cx, input.u8()),
            6 => {
                device.quiesce(&mut cx);
                if copies < COPIES_MAX {
                    device = copied(&device, fresh);
                    copies += 1;
                }
            }
            _ => device.reset(&mut cx),
        }
        device.advance(&mut cx);
        let deadline = device.next_deadline().unwrap_or(Instant::FAR_FUTURE);
        assert!(
            deadline > cx.now || cx.now == Instant::FAR_FUTURE,
            "act {act:#x} left {deadline:?} behind {:?} in {device:?}",
            cx.now
        );
    }
    copied(&device, fresh);
}

/// `fresh` with the state of `device`.
fn copied<D: SavedState + Clone + Debug + PartialEq>(device: &D, fresh: &D) -> D {
    let mut copy = fresh.clone();
    load(&mut copy, &saved(device));
    assert_eq!(copy, *device);
    copy
}

/// `device` as bytes.
pub fn saved(device: &impl SavedState) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.section(device);
    writer.finish()
}

/// Loads bytes that [`saved`] made.
///
/// # Panics
/// When they are refused.
pub fn load(device: &mut impl SavedState, bytes: &[u8]) {
    let section = Reader::new(bytes).next_section();
    let loaded = section.map(|section| section.map(|section| section.load_into(device)));
    assert_eq!(loaded, Ok(Some(Ok(()))), "what a device has saved, it loads");
}
