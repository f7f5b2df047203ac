//! The accessor over a buffer, against a model of bytes with rights.

extern crate std;

use super::*;
use base::Hpa;
use proptest::prelude::*;
use std::cell::UnsafeCell;
use std::vec::Vec;

/// A guest of 20 KiB: two pages of RAM (in two places of the host), a read-only one, a device, a hole, and RAM.
const LEN: usize = 6 * 4096;

/// A guest's memory on the host's heap; holes and devices have bytes too, which must never change.
struct Buffer(Vec<UnsafeCell<u64>>);

// SAFETY: all of the buffer can be accessed at its offset, and the tests make no reference into it.
unsafe impl Window for Buffer {
    fn base(&self) -> *mut u8 {
        self.0.first().map_or(core::ptr::null_mut(), UnsafeCell::get).cast()
    }
}

fn extent(page: u64, kind: ExtentKind) -> Extent {
    Extent { start: Gpa::new(page * 4096).unwrap(), len_bytes: 4096, kind }
}

fn access() -> GuestAccess<Buffer> {
    let ram = |page: u64| ExtentKind::Ram(Hpa::new(page * 0x10_0000).unwrap());
    let rom = ExtentKind::ReadOnly(Hpa::new(0x70_0000).unwrap());
    let extents = [
        extent(0, ram(1)),
        extent(1, ram(5)),
        extent(2, rom),
        extent(3, ExtentKind::Device),
        extent(5, ram(3)),
    ];
    let words =
        (0..LEN / 8).map(|word| UnsafeCell::new(0x0101_0101_0101_0101 * (word as u64 % 251))).collect();
    GuestAccess::over(reaches(&extents).unwrap(), Buffer(words))
}

fn contents(access: &GuestAccess<Buffer>) -> Vec<u8> {
    // SAFETY: nobody writes to the buffer meanwhile.
    unsafe { core::slice::from_raw_parts(access.window.base(), LEN) }.to_vec()
}

fn gpa(address: u64) -> Gpa {
    Gpa::new(address).unwrap()
}

/// The first byte that refuses, and why.
fn model_check(start: u64, len: u64, wish: Wish) -> Result<(), MemoryError> {
    for address in start..start + len {
        let at = gpa(address);
        match address / 4096 {
            0 | 1 | 5 => {}
            2 if wish == Wish::Read => {}
            2 => return Err(MemoryError::ReadOnly(at)),
            3 => return Err(MemoryError::Device(at)),
            _ => return Err(MemoryError::Unmapped(at)),
        }
    }
    Ok(())
}

fn places() -> impl Strategy<Value = (u64, usize)> {
    let near_edges = (0u64..8, 0u64..24).prop_map(|(page, near)| (page * 4096 + near).saturating_sub(12));
    (near_edges, prop_oneof![0usize..20, 4000usize..9000])
}

proptest! {
    #[test]
    fn every_access_does_what_the_rights_allow_or_names_the_first_byte_that_refuses(
        (start, len) in places(), value in any::<u8>()
    ) {
        let access = access();
        let before = contents(&access);
        let at = start as usize;

        let mut buffer = std::vec![0; len];
        let read = access.read(gpa(start), &mut buffer);
        prop_assert_eq!(read, model_check(start, len as u64, Wish::Read));
        if read.is_ok() {
            prop_assert_eq!(&buffer[..], &before[at.min(LEN)..at.min(LEN) + len]);
        }

        let bytes: Vec<u8> = (0..len).map(|index| value ^ index as u8).collect();
        let mut expected = before;
        let allowed = model_check(start, len as u64, Wish::Write);
        prop_assert_eq!(access.write(gpa(start), &bytes), allowed);
        if allowed.is_ok() && len > 0 {
            expected[at..at + len].copy_from_slice(&bytes);
        }
        prop_assert_eq!(contents(&access), &expected[..]);

        prop_assert_eq!(access.fill(gpa(start), len as u64, value), allowed);
        if allowed.is_ok() && len > 0 {
            expected[at..at + len].fill(value);
        }
        prop_assert_eq!(contents(&access), &expected[..]);
    }
}

#[test]
fn integers_are_little_endian_at_any_alignment() {
    let access = access();
    access.write(gpa(9), &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    assert_eq!(access.read_u8(gpa(9)), Ok(1));
    assert_eq!(access.read_u16(gpa(9)), Ok(0x0201));
    assert_eq!(access.read_u32(gpa(9)), Ok(0x0403_0201));
    assert_eq!(access.read_u64(gpa(9)), Ok(0x0807_0605_0403_0201));
}

#[test]
fn an_exchange_happens_only_on_the_expected_value_and_an_aligned_place() {
    let access = access();
    for len in [1_u8, 2, 4, 8] {
        let at = gpa(64 * u64::from(len));
        access.write(at, &7_u64.to_le_bytes()).unwrap();
        assert_eq!(access.compare_exchange(at, len, 8, 9), Ok(7));
        assert_eq!(access.compare_exchange(at, len, 7, 9), Ok(7));
        assert_eq!(access.read_u64(at), Ok(9));
    }
    assert_eq!(access.compare_exchange(gpa(1), 8, 0, 1), Err(MemoryError::Unmapped(gpa(1))));
    assert_eq!(access.compare_exchange(gpa(0), 3, 0, 1), Err(MemoryError::Unmapped(gpa(0))));
    assert_eq!(access.compare_exchange(gpa(0x2000), 8, 0, 1), Err(MemoryError::ReadOnly(gpa(0x2000))));
}

#[test]
fn the_end_of_the_physical_space_is_not_memory() {
    let access = access();
    let last = gpa((1 << 52) - 1);
    assert_eq!(access.read(last, &mut [0; 16]), Err(MemoryError::Unmapped(last)));
    assert_eq!(access.fill(gpa(0), u64::MAX, 0), Err(MemoryError::ReadOnly(gpa(0x2000))));
}

proptest! {
    #[test]
    fn memory_from_near_is_the_same(start in 0..LEN as u64, value: u64) {
        let (far, access) = (access(), access());
        let near = access.near();
        prop_assert_eq!(near.read_u16(gpa(start)), far.read_u16(gpa(start)));
        prop_assert_eq!(near.read_u128(gpa(start)), far.read_u128(gpa(start)));
        prop_assert_eq!(near.write_u64(gpa(start), value), far.write_u64(gpa(start), value));
        let bytes = value.to_le_bytes();
        prop_assert_eq!(near.write(gpa(start ^ 64), &bytes), far.write(gpa(start ^ 64), &bytes));
        prop_assert!(contents(&access) == contents(&far));
    }

    #[test]
    fn a_copy_between_two_guests_is_a_read_of_one_and_a_write_to_the_other(
        from in 0..LEN as u64, to in 0..LEN as u64, len in 0..9000_u64,
    ) {
        let (source, target, expected) = (access(), access(), access());
        let mut bytes = std::vec![0; len as usize];
        let wanted = source.read(gpa(from), &mut bytes).and_then(|()| expected.write(gpa(to), &bytes));
        prop_assert_eq!(source.copy_to(gpa(from), &target, gpa(to), len), wanted);
        prop_assert!(contents(&target) == contents(&expected));
    }
}
