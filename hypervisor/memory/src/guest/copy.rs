//! Copies between the hypervisor's memory and a guest's.
//!
//! Unsafe because a guest's memory can change at any moment, so that Rust's references and `ptr::copy` do not apply to it:
//! values of 1, 2, 4 and 8 bytes are one load and one store, everything else is a string instruction.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Copies `len` bytes.
///
/// # Safety
/// `from` can be read and `to` written for `len` bytes; they do not overlap; one of them may be guest memory, and
/// the other is the caller's own.
pub(super) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    /// One load and one store, whatever the alignment: where the guest's side is aligned, its CPUs see no half of it.
    macro_rules! single {
        ($register:literal) => {{
            // SAFETY: the caller vouches for the bytes.
            unsafe {
                asm!(
                    concat!("mov {value:", $register, "}, [{from}]"),
                    concat!("mov [{to}], {value:", $register, "}"),
                    value = out(reg_abcd) _,
                    from = in(reg) from,
                    to = in(reg) to,
                    options(nostack, preserves_flags),
                );
            }
            return;
        }};
    }
    match len {
        1 => single!("l"),
        2 => single!("x"),
        4 => single!("e"),
        8 => single!("r"),
        _ => {}
    }
    // SAFETY: the caller vouches for the bytes.
    unsafe { copy_row(to, from, len) }
}

/// Copies `len` bytes of which no single value is expected, so that the length makes no difference.
///
/// # Safety
/// As for [`copy`], but both may be guest memory.
#[inline(always)]
pub(super) unsafe fn copy_row(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the caller vouches for the bytes; the direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep movsq",
            "mov rcx, {rest}",
            "rep movsb",
            rest = in(reg) len % 8,
            inout("rcx") len / 8 => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Reads two bytes, little endian; one access where they are aligned.
///
/// # Safety
/// `from` can be read for two bytes; they may be guest memory.
#[inline]
pub(super) unsafe fn load_u16(from: *const u8) -> u16 {
    let value: u16;
    // SAFETY: the caller vouches for the bytes.
    unsafe {
        asm!("mov {:x}, [{}]", out(reg) value, in(reg) from, options(nostack, preserves_flags, readonly))
    };
    value
}

/// Reads eight bytes, little endian; one access where they are aligned.
///
/// # Safety
/// `from` can be read for eight bytes; they may be guest memory.
#[inline]
pub(super) unsafe fn load_u64(from: *const u8) -> u64 {
    let value: u64;
    // SAFETY: the caller vouches for the bytes.
    unsafe {
        asm!("mov {}, [{}]", out(reg) value, in(reg) from, options(nostack, preserves_flags, readonly))
    };
    value
}

/// Reads sixteen bytes, little endian, as two words.
///
/// # Safety
/// `from` can be read for sixteen bytes; they may be guest memory.
#[inline]
pub(super) unsafe fn load_u128(from: *const u8) -> u128 {
    // SAFETY: the caller vouches for the bytes.
    let (low, high) = unsafe { (load_u64(from), load_u64(from.wrapping_add(8))) };
    u128::from(low) | u128::from(high) << 64
}

/// Writes two bytes, little endian; one access where they are aligned.
///
/// # Safety
/// `to` can be written for two bytes; they may be guest memory.
#[inline]
pub(super) unsafe fn store_u16(to: *mut u8, value: u16) {
    // SAFETY: the caller vouches for the bytes.
    unsafe { asm!("mov [{}], {:x}", in(reg) to, in(reg) value, options(nostack, preserves_flags)) };
}

/// Writes eight bytes, little endian; one access where they are aligned.
///
/// # Safety
/// `to` can be written for eight bytes; they may be guest memory.
#[inline]
pub(super) unsafe fn store_u64(to: *mut u8, value: u64) {
    // SAFETY: the caller vouches for the bytes.
    unsafe { asm!("mov [{}], {}", in(reg) to, in(reg) value, options(nostack, preserves_flags)) };
}

/// Sets `len` bytes to `value`.
///
/// # Safety
/// `to` can be written for `len` bytes.
pub(super) unsafe fn fill(to: *mut u8, len: usize, value: u8) {
    // SAFETY: the caller vouches for the bytes; the direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep stosq",
            "mov rcx, {rest}",
            "rep stosb",
            rest = in(reg) len % 8,
            inout("rcx") len / 8 => _,
            inout("rdi") to => _,
            in("rax") u64::from_ne_bytes([value; 8]),
            options(nostack, preserves_flags),
        );
    }
}

/// Replaces the aligned `len_bytes` at `at` by `new` if they are `current`; returns what was there, or `None` when
/// the length or the alignment is not that of an atomic access.
///
/// # Safety
/// `at` can be read and written for `len_bytes`.
pub(super) unsafe fn compare_exchange(at: *mut u8, len_bytes: u8, current: u64, new: u64) -> Option<u64> {
    macro_rules! atomic {
        ($atomic:ty, $int:ty) => {{
            let at = at.cast::<$int>();
            if !at.is_aligned() {
                return None;
            }
            // SAFETY: aligned, and the caller vouches for the bytes; the guest's CPUs access them atomically too.
            let atomic = unsafe { <$atomic>::from_ptr(at) };
            let result =
                atomic.compare_exchange(current as $int, new as $int, Ordering::SeqCst, Ordering::SeqCst);
            Some(u64::from(result.unwrap_or_else(|found| found)))
        }};
    }
    match len_bytes {
        1 => atomic!(AtomicU8, u8),
        2 => atomic!(AtomicU16, u16),
        4 => atomic!(AtomicU32, u32),
        8 => atomic!(AtomicU64, u64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn every_length_is_copied_exactly_at_every_alignment() {
        let from: std::vec::Vec<u8> = (1..=64).collect();
        for (len, at, to_at) in (0..20).flat_map(|len| (0..64).map(move |n| (len, n % 8, n / 8))) {
            let mut to = [0_u8; 64];
            // SAFETY: both are longer than what is copied, which begins at most 8 bytes in.
            unsafe { copy(to.as_mut_ptr().add(to_at), from.as_ptr().add(at), len) }
            assert_eq!(to[to_at..to_at + len], from[at..at + len]);
            assert!(
                to[..to_at].iter().chain(&to[to_at + len..]).all(|byte| *byte == 0),
                "{len} {at} {to_at}"
            );
        }
    }
}
