//! A sandbox for single instructions: entered with chosen registers, left by whatever exception comes.
//!
//! Its four pages of memory lie at one linear address and show one of two stretches of guest-physical memory: plain RAM,
//! or the [`WINDOW`], which the hypervisor does not let the processor reach when it was started with the seeded fault
//! `emulated-memory`: each access exits and is emulated. So that its contents can be set and read without that, the
//! hypervisor shows the same memory once more at [`ALIAS`].
//!
//! ```text
//!   linear              plain       emulated
//!   SANDBOX             code        code             user, read and execute
//!   SANDBOX +  64 K     RAM         WINDOW           user, read-only
//!   SANDBOX +  68 K     RAM  + 4 K  WINDOW + 4 K     user, writable
//!   SANDBOX +  72 K     RAM  + 8 K  WINDOW + 8 K     user, writable
//!   SANDBOX +  76 K     nothing
//! ```
//!
//! Unsafe because it changes page tables and descriptor tables, and runs what it is given.

mod descriptors;
mod legacy;
mod switch;

use crate::cpu;
use crate::pages::{self, USER, WRITABLE};
use core::arch::asm;
use core::cell::UnsafeCell;
use instruction_cases::{Case, Ending, MEMORY_BYTES, Machine, Outcome, PAGE, Place};

pub use descriptors::{LIMITED_BASE, Level, USER_DATA};
pub use legacy::Mode;

/// Where the sandbox's linear addresses begin.
const SANDBOX: u64 = pages::LINEAR;
/// Where its memory begins.
pub const MEMORY: u64 = SANDBOX + 16 * PAGE as u64;
/// Guest-physical memory that is emulated: 64 KiB.
const WINDOW: u64 = 0xc0_0000;
/// Where the hypervisor shows the window's memory without emulating it.
const ALIAS: u64 = 0x1_0000_0000;
/// Guest-physical memory of no other use.
const PLAIN: u64 = 0xd0_0000;

/// Pages of the sandbox by their place in [`SANDBOX`].
const CODE_PAGE: usize = 0;
const MEMORY_PAGE: usize = 16;
const ALIAS_PAGE: usize = 32;
/// Pages of memory that are there.
const MEMORY_PAGES: usize = MEMORY_BYTES / PAGE;

/// Cofferdam's hypercall that tells a test VM how often it has exited, this one included.
const EXITS_HYPERCALL: u64 = 0x4346_0001;

/// `int 0x80`.
const LEAVE: [u8; 2] = [0xcd, switch::LEAVE as u8];

/// Which memory a snippet runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// RAM that the processor reaches by itself.
    Plain,
    /// Memory that the hypervisor emulates; RAM as well where there is none.
    Emulated,
}

/// How a snippet is entered.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Mode and rights.
    pub level: Level,
    /// The selector of DS and ES.
    pub data: u64,
}

impl Entry {
    /// 64-bit code of a user.
    pub const USER: Self = Self { level: Level::User64, data: USER_DATA };
}

/// What there is to know of a run besides what cases compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The instruction that did not complete, or the one behind.
    pub rip: u64,
    /// DR6.
    pub dr6: u64,
}

#[repr(C, align(4096))]
struct Page<T>(UnsafeCell<T>);

// SAFETY: used on the only CPU, with interrupts masked, by functions that keep no reference.
unsafe impl<T> Sync for Page<T> {}

static CODE: Page<[u8; PAGE]> = Page(UnsafeCell::new([0; PAGE]));

/// The sandbox. There is one.
pub struct Sandbox {
    place: Place,
}

impl Sandbox {
    /// Makes the pages and segments, and allows vector instructions.
    pub fn new() -> Self {
        descriptors::load();
        let has_avx = enable_vectors();
        pages::allow();
        let alias = if cpu::is_bare_emulator() { WINDOW } else { ALIAS };
        pages::set(CODE_PAGE, CODE.0.get() as u64 | USER | WRITABLE);
        (0..MEMORY_PAGES).for_each(|n| pages::set(ALIAS_PAGE + n, (alias + (n * PAGE) as u64) | WRITABLE));
        let machine = Machine::Emulator;
        let place = Place { code_address: SANDBOX, memory_address: MEMORY, has_avx, machine };
        Self { place }
    }

    /// Where cases run.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Runs `case` on memory of `backing`, and leaves in `outcome` what it ended in.
    pub fn run(&mut self, case: &Case, entry: Entry, backing: Backing, outcome: &mut Outcome) -> Left {
        let (physical, direct) = match backing {
            Backing::Plain => (PLAIN, PLAIN),
            Backing::Emulated => (WINDOW, SANDBOX + (ALIAS_PAGE * PAGE) as u64),
        };
        for n in 0..MEMORY_PAGES {
            let right = if n == 0 { 0 } else { WRITABLE };
            pages::set(MEMORY_PAGE + n, (physical + (n * PAGE) as u64) | USER | right);
        }
        let direct = direct as *mut u8;
        if let Level::Legacy(mode) = entry.level {
            return run_legacy(case, mode, physical, direct, outcome);
        }
        let exchange = switch::exchange();
        // SAFETY: memory and code are the sandbox's; nothing refers to them. The snippet can reach no other memory when it
        // is a user's; a kernel's is the caller's own. Whatever exception ends it leads back here.
        let (vector, error_code, cr2, left) = unsafe {
            copy(CODE.0.get().cast(), case.code.as_ptr(), case.code.len());
            copy(CODE.0.get().cast::<u8>().add(case.code.len()), LEAVE.as_ptr(), LEAVE.len());
            copy(direct, case.memory.as_ptr(), MEMORY_BYTES);
            (*exchange).registers = case.registers;
            (*exchange).rip = SANDBOX;
            ((*exchange).cs, (*exchange).ss) = entry.level.selectors();
            (*exchange).data = entry.data;
            (*exchange).has_avx = self.place.has_avx.into();
            let before = descriptors::take_exceptions();
            switch::enter();
            descriptors::give_back_exceptions(&before);
            copy(outcome.memory.as_mut_ptr(), direct, MEMORY_BYTES);
            let exchange = &*exchange;
            outcome.registers = exchange.registers;
            let left = Left { rip: exchange.rip, dr6: exchange.dr6 };
            (exchange.vector, exchange.error_code, exchange.cr2, left)
        };
        const PAGE_FAULT: u64 = 14;
        outcome.ending = match vector {
            switch::LEAVE => Ending::Completed,
            PAGE_FAULT => Ending::Fault(PAGE_FAULT as u8, error_code as u32, cr2),
            other => Ending::Fault(other as u8, error_code as u32, 0),
        };
        left
    }
}

/// As [`Sandbox::run`], outside of long mode, on the memory at `physical`, which is also at `direct`.
fn run_legacy(case: &Case, mode: Mode, physical: u64, direct: *mut u8, outcome: &mut Outcome) -> Left {
    let text = legacy::text(mode, &case.code);
    descriptors::set_legacy(CODE.0.get() as u64, physical, MEMORY_BYTES as u64);
    let exchange = switch::exchange();
    // SAFETY: memory and code are the sandbox's; nothing refers to them. The snippet completes, in those segments.
    unsafe {
        copy(CODE.0.get().cast(), text.as_slice().as_ptr(), text.as_slice().len());
        copy(direct, case.memory.as_ptr(), MEMORY_BYTES);
        (*exchange).registers = case.registers;
        legacy::enter(mode);
        set_fs();
        copy(outcome.memory.as_mut_ptr(), direct, MEMORY_BYTES);
        outcome.registers = (*exchange).registers;
    }
    outcome.ending = Ending::Completed;
    Left::default()
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

/// How many exits `run` causes; none on a machine without a hypervisor to exit to.
pub fn exits_of(run: impl FnOnce()) -> u64 {
    if cpu::is_bare_emulator() {
        run();
        return 0;
    }
    let before = exits();
    run();
    // The second question exits too.
    exits().wrapping_sub(before).wrapping_sub(1)
}

/// How often this VM has exited, this question included.
fn exits() -> u64 {
    cpu::hypercall(EXITS_HYPERCALL)
}

/// Copies bytes, also of pages that are mapped anew.
///
/// # Safety
/// As for `ptr::copy_nonoverlapping`.
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: by the contract above.
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

/// Gives FS a selector that users keep, and a base, which overrides can name.
fn set_fs() {
    const FS_BASE: u32 = 0xc000_0100;
    // SAFETY: nothing but snippets uses FS.
    unsafe {
        asm!("mov fs, {:e}", in(reg) USER_DATA, options(nostack));
        cpu::wrmsr(FS_BASE, LIMITED_BASE);
    }
}

/// Allows SSE, AVX where there is one, and alignment checks, and gives FS a base. Whether there is AVX.
fn enable_vectors() -> bool {
    const CR4_SSE: u64 = 1 << 9 | 1 << 10;
    const CR4_OSXSAVE: u64 = 1 << 18;
    const CR0_AM: u64 = 1 << 18;
    const AVX_AND_XSAVE: u32 = 1 << 28 | 1 << 26;
    const X87_SSE_AVX: u32 = 7;
    let has_avx = cpu::cpuid(1, 0).ecx & AVX_AND_XSAVE == AVX_AND_XSAVE;
    let cr4 = CR4_SSE | if has_avx { CR4_OSXSAVE } else { 0 };
    // SAFETY: allows instructions that compiled code does not contain, and checks that bind users only.
    unsafe {
        asm!("mov {0}, cr4", "or {0}, {1}", "mov cr4, {0}", out(reg) _, in(reg) cr4, options(nostack));
        asm!("mov {0}, cr0", "or {0}, {1}", "mov cr0, {0}", out(reg) _, in(reg) CR0_AM, options(nostack));
        set_fs();
        if has_avx {
            asm!("xsetbv", in("ecx") 0, in("edx") 0, in("eax") X87_SSE_AVX, options(nostack));
        }
    }
    has_avx
}
