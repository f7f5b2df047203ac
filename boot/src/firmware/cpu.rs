//! The CPU: what it can do, its counters, and the jump. `unsafe` for instructions and control registers.

use base::{Hpa, PAGE_BYTES, PhysRange};
use core::arch::{global_asm, x86_64::_rdtsc};
use raw_cpuid::CpuId;
use x86_64::instructions::random::RdRand;
use x86_64::registers::control::{Cr4, Cr4Flags, Efer, EferFlags};

/// How often RDRAND is asked before it counts as broken (Intel SDM 325462, volume 1, section 7.3.17.1).
const RDRAND_TRIES: usize = 10;

/// The time-stamp counter.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: every CPU with long mode has RDTSC; firmware runs at the level that may always use it.
    unsafe { _rdtsc() }
}

/// Whether page tables have five levels now.
pub(crate) fn has_five_level_paging_active() -> bool {
    Cr4::read().contains(Cr4Flags::L5_PAGING)
}

/// Whether pages can be protected from execution.
pub(crate) fn has_no_execute() -> bool {
    CpuId::new().get_extended_processor_and_feature_identifiers().is_some_and(|f| f.has_execute_disable())
}

/// Whether there are pages of 1 GiB.
pub(crate) fn has_huge_pages() -> bool {
    CpuId::new().get_extended_processor_and_feature_identifiers().is_some_and(|f| f.has_1gib_pages())
}

/// Fills `bytes` from RDRAND, if there is one and it works.
pub(crate) fn hardware_random(bytes: &mut [u8]) -> Option<()> {
    let rdrand = RdRand::new()?;
    for chunk in bytes.chunks_mut(8) {
        let word = (0..RDRAND_TRIES).find_map(|_| rdrand.get_u64())?;
        chunk.iter_mut().zip(word.to_le_bytes()).for_each(|(to, from)| *to = from);
    }
    Some(())
}

// The jump: within one page (64 bytes at a multiple of 64), because it goes on after the tables were changed.
//   RDI  root of the new tables       RSI  top of the new stack
//   RDX  address of the handoff       RCX  virtual address of the entry
global_asm!(
    ".balign 64",
    ".global cofferdam_boot_jump",
    "cofferdam_boot_jump:",
    "cli",
    "cld",
    // Without CR4.PGE no translation of firmware's outlives the change; without CR4.CET any address can be jumped to.
    "mov rax, cr4",
    "and rax, {keep_cr4}",
    "mov cr4, rax",
    "mov cr3, rdi",
    // CR0.WP: what is read-only is so for this level too.
    "mov rax, cr0",
    "bts rax, 16",
    "mov cr0, rax",
    "mov rsp, rsi",
    "mov rdi, rdx",
    "xor ebp, ebp",
    "jmp rcx",
    keep_cr4 = const !((1_i32 << 7) | (1 << 23)),
);

unsafe extern "sysv64" {
    fn cofferdam_boot_jump(root: u64, stack_top: u64, handoff: u64, entry: u64) -> !;
}

/// The page that holds the jump.
pub(crate) fn jump_page() -> Hpa {
    Hpa::from_low_bits(cofferdam_boot_jump as *const () as u64).align_down(PAGE_BYTES)
}

/// Enters the hypervisor.
///
/// # Safety
/// `tables` map the page of the jump, `stack`, and `entry` as executable; boot services have been left; nothing of
/// boot is needed any more.
pub(super) unsafe fn jump(tables: Hpa, stack: PhysRange, handoff: Hpa, entry: u64) -> ! {
    // SAFETY: the CPU has no-execute (checked first of all), and setting it changes no mapping of firmware's that
    // has the bit clear, as it must be while it is reserved.
    unsafe { Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE)) }
    // SAFETY: as the caller promises.
    unsafe { cofferdam_boot_jump(tables.as_u64(), stack.end_u64(), handoff.as_u64(), entry) }
}
