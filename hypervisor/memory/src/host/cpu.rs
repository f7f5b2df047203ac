//! What the CPU must be told: new tables, stale translations, another stack.
//!
//! Unsafe because loading CR3 replaces all memory that the program can see. On a host, where tests run, nothing
//! is cached and there is nothing to tell.

use base::Hpa;
use paging::Flush;

/// Above this many pages dropping everything is cheaper than naming each.
const MAX_SINGLE_FLUSHES: u64 = 32;

/// CR4: global pages (Intel SDM 325462, volume 3, section 2.5).
#[cfg(target_os = "none")]
const CR4_PGE: i32 = 1 << 7;

/// Drops the translations of the host's tree that `flush` names from this CPU.
pub(super) fn flush(flush: Flush) {
    let Flush::Span { start, len_bytes } = flush else { return };
    let pages = len_bytes / base::PAGE_BYTES;
    if pages > MAX_SINGLE_FLUSHES {
        return flush_all();
    }
    for page in 0..pages {
        flush_page(start + page * base::PAGE_BYTES);
    }
}

#[cfg(target_os = "none")]
fn flush_page(address: u64) {
    // Where the tree's space begins again at bit 47, so does the canonical address.
    x86_64::instructions::tlb::flush(x86_64::VirtAddr::new_truncate(address));
}

#[cfg(not(target_os = "none"))]
fn flush_page(_address: u64) {}

/// Drops all translations from this CPU. No entry of ours is global.
#[cfg(target_os = "none")]
pub(crate) fn flush_all() {
    x86_64::instructions::tlb::flush_all();
}

/// Drops all translations from this CPU.
#[cfg(not(target_os = "none"))]
pub(crate) fn flush_all() {}

/// Continues at `entry` with `argument` on the tables at `root` and the stack below `stack_top`.
///
/// # Safety
/// The tables map the image as it is mapped now and the stack; nothing that is only mapped by the present tables is
/// used after this.
#[cfg(target_os = "none")]
pub(super) unsafe fn continue_on(
    root: Hpa,
    stack_top: u64,
    entry: extern "sysv64" fn(usize) -> !,
    argument: usize,
) -> ! {
    // Clearing CR4.PGE also drops translations that firmware's tables had marked global: no entry of ours is. A call
    // pushes the return address, so that `entry` finds its stack aligned as the ABI has it; a frame pointer of zero
    // ends backtraces.
    // SAFETY: the caller vouches for both; this code is in the image.
    unsafe {
        core::arch::asm!(
            "mov cr3, rsi",
            "mov rax, cr4",
            "and rax, {without_pge}",
            "mov cr4, rax",
            "mov rsp, rdx",
            "xor ebp, ebp",
            "call rcx",
            "ud2",
            without_pge = const !CR4_PGE,
            in("rdi") argument,
            in("rsi") root.as_u64(),
            in("rdx") stack_top,
            in("rcx") entry,
            options(noreturn),
        );
    }
}

/// There are no tables of ours to continue on where tests run.
///
/// # Safety
/// None is needed.
#[cfg(not(target_os = "none"))]
pub(super) unsafe fn continue_on(
    _root: Hpa,
    _stack_top: u64,
    entry: extern "sysv64" fn(usize) -> !,
    argument: usize,
) -> ! {
    entry(argument)
}
