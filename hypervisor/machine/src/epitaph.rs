//! Last words of the hypervisor: what happened, where, all registers, and the way there.
//!
//! Unsafe because control registers and stack words are read. A stack word is read only when it is aligned and lies
//! in a range that was named as a stack.
//!
//! No lock is waited for, nothing is allocated, and a second death while speaking is two lines.

use crate::serial::dying::DyingWriter;
use crate::trap::{TrapFrame, exception};
use crate::{PerCpu, interrupts, log};
use arrayvec::ArrayVec;
use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::mutex::SpinMutex;

/// How many stacks can be named.
pub const MAX_STACKS: usize = 8;
/// How many callers are printed.
const MAX_FRAMES: usize = 32;

/// Memory that is a stack: readable as long as the hypervisor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackRange {
    /// Its lowest address.
    pub bottom: u64,
    /// One past its highest.
    pub top: u64,
}

/// What an epitaph needs to know beforehand.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Where the image was loaded: addresses are printed relative to it, as symbols are.
    pub image_base: u64,
    /// How long the image is.
    pub image_bytes: u64,
    /// Which build this is.
    pub build: &'static str,
    /// The stacks that a backtrace may read.
    pub stacks: ArrayVec<StackRange, MAX_STACKS>,
    /// What to do at last; it must not come back.
    pub finally: fn() -> !,
}

static SCENE: SpinMutex<Option<Scene>> = SpinMutex::new(None);
static DEATHS: AtomicU32 = AtomicU32::new(0);

/// Tells what an epitaph needs to know; later calls replace earlier ones.
///
/// # Safety
/// The stacks are mapped readable for as long as the hypervisor lives, or until the next call.
pub unsafe fn set_scene(scene: Scene) {
    *SCENE.lock() = Some(scene);
}

/// Dies of an exception.
pub fn exception(frame: &TrapFrame) -> ! {
    die(&Cause::Exception(frame), frame.rbp)
}

/// Dies of a panic: for the panic handler.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    let rbp: u64;
    // SAFETY: the frame pointer is only looked at.
    unsafe { asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    die(&Cause::Panic(info), rbp)
}

fn die(cause: &Cause<'_>, rbp: u64) -> ! {
    interrupts::disable();
    // Who holds the lock died while telling the scene, then there is none.
    let scene = SCENE.try_lock().and_then(|scene| scene.clone());
    match DEATHS.fetch_add(1, Ordering::Relaxed) {
        0 => {
            let mut out = DyingWriter::take_over();
            let cpu = PerCpu::current().map(|cpu| cpu.cpu().0);
            // The writer cannot fail.
            let _ = writeln!(out).and_then(|()| log::write_unsent(&mut out));
            let _ = write_epitaph(&mut out, cause, cpu, rbp, scene.as_ref(), stack_word);
        }
        1 => {
            let _ = write!(DyingWriter::take_over(), "\n*** and died again over that: {cause}\n");
        }
        _ => interrupts::halt_for_ever(),
    }
    scene.map_or(interrupts::halt_for_ever as fn() -> !, |scene| scene.finally)()
}

/// Reads a word of a stack.
fn stack_word(address: u64) -> u64 {
    // SAFETY: `backtrace` asks only for aligned words inside the ranges vouched for in `set_scene`.
    unsafe { core::ptr::with_exposed_provenance::<u64>(address as usize).read_volatile() }
}

/// What the hypervisor dies of.
enum Cause<'a> {
    Exception(&'a TrapFrame),
    Panic(&'a PanicInfo<'a>),
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exception(frame) => {
                write!(f, "{} (vector {}) at {:#x}", name_of(frame.vector), frame.vector, frame.rip)
            }
            Self::Panic(info) => {
                f.write_str("panic: ")?;
                write!(f, "{}", info.message())?;
                info.location().map_or(Ok(()), |location| write!(f, ", at {location}"))
            }
        }
    }
}

/// The names of exceptions (Intel SDM, volume 3, table 6-1; AMD APM, volume 2, table 8-1).
fn name_of(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        exception::DOUBLE_FAULT => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack fault",
        13 => "general protection fault",
        exception::PAGE_FAULT => "page fault",
        16 => "x87 error",
        17 => "alignment check",
        exception::MACHINE_CHECK => "machine check",
        19 => "SIMD error",
        20 => "virtualization exception",
        21 => "control protection fault",
        29 => "VMM communication exception",
        30 => "security exception",
        _ => "unknown exception",
    }
}

/// An address, and where it is in the image.
struct Place<'a>(u64, Option<&'a Scene>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address, scene) = *self;
        write!(f, "{address:#018x}")?;
        let offset = scene.and_then(|s| address.checked_sub(s.image_base).filter(|&o| o < s.image_bytes));
        offset.map_or(Ok(()), |offset| write!(f, " image+{offset:#x}"))
    }
}

fn write_epitaph(
    out: &mut impl Write,
    cause: &Cause<'_>,
    cpu: Option<u32>,
    rbp: u64,
    scene: Option<&Scene>,
    read: impl Fn(u64) -> u64,
) -> fmt::Result {
    match cpu {
        Some(cpu) => writeln!(out, "\n*** the hypervisor died on CPU {cpu}")?,
        None => writeln!(out, "\n*** the hypervisor died on an unknown CPU")?,
    }
    writeln!(out, "*** {cause}")?;
    if let Cause::Exception(frame) = cause {
        write_registers(out, frame, scene)?;
    }
    let stacks = scene.map_or(&[][..], |scene| &scene.stacks);
    writeln!(out, "called from")?;
    for address in backtrace(rbp, stacks, read) {
        writeln!(out, "  {}", Place(address, scene))?;
    }
    match scene {
        Some(scene) => writeln!(out, "*** build {}, image at {:#x}", scene.build, scene.image_base),
        None => writeln!(out, "*** early in bring-up: the stack is unknown"),
    }
}

fn write_registers(out: &mut impl Write, frame: &TrapFrame, scene: Option<&Scene>) -> fmt::Result {
    let f = frame;
    writeln!(out, "rip {}", Place(f.rip, scene))?;
    writeln!(out, "error code {:#x}  rflags {:#x}  cs {:#x}  ss {:#x}", f.error_code, f.rflags, f.cs, f.ss)?;
    let control = ControlRegisters::read();
    let named = [
        ("rax", f.rax, "rbx", f.rbx, "rcx", f.rcx),
        ("rdx", f.rdx, "rsi", f.rsi, "rdi", f.rdi),
        ("rbp", f.rbp, "rsp", f.rsp, " r8", f.r8),
        (" r9", f.r9, "r10", f.r10, "r11", f.r11),
        ("r12", f.r12, "r13", f.r13, "r14", f.r14),
        ("r15", f.r15, "cr0", control.cr0, "cr2", control.cr2),
        ("cr3", control.cr3, "cr4", control.cr4, "dr6", control.dr6),
    ];
    for (a, va, b, vb, c, vc) in named {
        writeln!(out, "{a} {va:#018x}  {b} {vb:#018x}  {c} {vc:#018x}")?;
    }
    Ok(())
}

#[derive(Default)]
struct ControlRegisters {
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    dr6: u64,
}

impl ControlRegisters {
    #[cfg(target_os = "none")]
    fn read() -> Self {
        let mut r = Self::default();
        // SAFETY: at privilege level 0 reading these has no effect.
        unsafe {
            asm!("mov {}, cr0", out(reg) r.cr0, options(nomem, nostack, preserves_flags));
            asm!("mov {}, cr2", out(reg) r.cr2, options(nomem, nostack, preserves_flags));
            asm!("mov {}, cr3", out(reg) r.cr3, options(nomem, nostack, preserves_flags));
            asm!("mov {}, cr4", out(reg) r.cr4, options(nomem, nostack, preserves_flags));
            asm!("mov {}, dr6", out(reg) r.dr6, options(nomem, nostack, preserves_flags));
        }
        r
    }

    /// A host's program has no sight of them.
    #[cfg(not(target_os = "none"))]
    fn read() -> Self {
        Self::default()
    }
}

/// The return addresses on the stack, innermost first, by frame pointers:
///
/// ```text
/// rbp -> [ caller's rbp ][ return address ]
/// ```
/// Ends at the first frame that is unaligned, outside the named stacks, or not above the one before (a stack grows
/// down, and one that does not could be walked for ever).
fn backtrace(rbp: u64, stacks: &[StackRange], read: impl Fn(u64) -> u64) -> impl Iterator<Item = u64> {
    let mut frame = rbp;
    let walk = core::iter::from_fn(move || {
        let end = frame.checked_add(16)?;
        let on_stack = stacks.iter().any(|stack| stack.bottom <= frame && end <= stack.top);
        if !on_stack || !frame.is_multiple_of(8) {
            return None;
        }
        let (caller, address) = (read(frame), read(end - 8));
        // The outermost frame has no caller.
        frame = if caller > frame { caller } else { u64::MAX };
        (address != 0).then_some(address)
    });
    walk.take(MAX_FRAMES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    const STACK: StackRange = StackRange { bottom: 0x1000, top: 0x1100 };

    fn scene() -> Scene {
        Scene {
            image_base: 0xffff_ffff_8020_0000,
            image_bytes: 0x10_0000,
            build: "test",
            stacks: [STACK].into_iter().collect(),
            finally: interrupts::halt_for_ever,
        }
    }

    fn chain(address: u64) -> u64 {
        match address {
            0x1010 => 0x1040,
            0x1018 => 0xffff_ffff_8020_0123,
            0x1040 => 0,
            0x1048 => 0xffff_ffff_8020_0456,
            _ => 0,
        }
    }

    #[test]
    fn the_walk_ends_with_the_outermost_frame() {
        let callers: Vec<_> = backtrace(0x1010, &[STACK], chain).collect();
        assert_eq!(callers, [0xffff_ffff_8020_0123, 0xffff_ffff_8020_0456]);
    }

    #[test]
    fn an_exception_says_what_where_and_how_it_came_there() {
        let frame = TrapFrame {
            vector: 14,
            error_code: 2,
            rip: 0xffff_ffff_8020_0042,
            r15: 0xabc,
            ..Default::default()
        };
        let mut text = String::new();
        write_epitaph(&mut text, &Cause::Exception(&frame), Some(0), 0x1010, Some(&scene()), chain).unwrap();
        for part in [
            "*** the hypervisor died on CPU 0\n*** page fault (vector 14) at 0xffffffff80200042\n",
            "rip 0xffffffff80200042 image+0x42\nerror code 0x2",
            "r15 0x0000000000000abc",
            "called from\n  0xffffffff80200123 image+0x123\n  0xffffffff80200456 image+0x456\n*** build test",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    #[test]
    fn without_a_scene_no_stack_is_read() {
        let mut text = String::new();
        let frame = TrapFrame { vector: 6, rbp: 0x1010, ..Default::default() };
        write_epitaph(&mut text, &Cause::Exception(&frame), None, 0x1010, None, |_| unreachable!()).unwrap();
        assert!(text.contains("invalid opcode") && text.contains("unknown CPU"));
    }

    proptest! {
        #[test]
        fn only_aligned_words_of_the_stack_are_read(rbp in 0xf00..0x1200_u64, words: Vec<u64>) {
            let read = |address: u64| {
                assert!(address.is_multiple_of(8) && (STACK.bottom..STACK.top).contains(&address));
                let word = words.get((address % 64) as usize).copied().unwrap_or(address);
                if word % 2 == 0 { 0x1000 + word % 0x100 } else { word }
            };
            prop_assert!(backtrace(rbp, &[STACK], read).count() <= MAX_FRAMES);
        }
    }
}
