//! Debug registers keep what they are told, breakpoints of every kind and length hit where they should and nowhere
//! else, and single steps end behind every instruction, also behind those that a hypervisor completes
//! (AMD APM 24593, volume 2, section 13.1; Intel SDM, volume 3, sections 18.2 and 18.3).
//!
//! Unsafe because it is assembly whose every instruction may be interrupted.

#![no_std]
#![no_main]

use core::arch::asm;
use guests::checks::Probe;
use guests::control::{
    cr0, cr4, dr0, dr1, dr2, dr3, dr6, dr7, set_cr4, set_dr0, set_dr1, set_dr2, set_dr3, set_dr6, set_dr7,
};
use guests::interrupts::{Trap, count, last};
use guests::{Checks, cpu, guest, probe};

guest!("debug-registers", run);

const INVALID_OPCODE: u64 = 6;

/// The bits of DR6 that are always one, and of DR7.
const DR6_FIXED: u64 = 0xffff_0ff0;
const DR7_FIXED: u64 = 1 << 10;
const DR7_GENERAL_DETECT: u64 = 1 << 13;
const DR6_ACCESS_DETECTED: u64 = 1 << 13;
const DR6_SINGLE_STEP: u64 = 1 << 14;
const CR4_DE: u64 = 1 << 3;

/// What DR7 watches for (its R/W fields).
#[derive(Clone, Copy)]
enum Watch {
    Execution = 0,
    Writes = 1,
    Ports = 2,
    ReadsAndWrites = 3,
}

/// DR7's encoding of a length in bytes.
const LENGTHS: [(u64, u64); 4] = [(1, 0), (2, 1), (4, 3), (8, 2)];

fn run(checks: &mut Checks) {
    values(checks);
    aliases(checks);
    general_detect(checks);
    execution(checks);
    data(checks);
    ports(checks);
    steps(checks);
    steps_over_what_exits(checks);
    steps_with_rules_of_their_own(checks);
}

/// DR7 with breakpoint `number` on.
fn enabled(number: u32, watch: Watch, length: u64) -> u64 {
    DR7_FIXED | 1 << (2 * number) | (watch as u64 | length << 2) << (16 + 4 * number)
}

/// Runs `body` with DR7 as told. How often it was interrupted, and how the last time.
fn watching(dr7: u64, body: impl FnOnce()) -> (u32, Trap) {
    let before = count(1);
    set_dr7(dr7);
    body();
    set_dr7(DR7_FIXED);
    (count(1) - before, last())
}

/// Checks that one `#DB` came, and that DR6 told `hits` and nothing else.
fn hit(checks: &mut Checks, name: &str, (times, trap): (u32, Trap), hits: u64) {
    let passed = times == 1 && trap.dr6 & !DR6_FIXED == hits;
    checks.check(name, passed, format_args!("{times} times, at last {trap:x?}, expected {hits:#x} in DR6"));
}

/// Checks that no `#DB` came.
fn missed(checks: &mut Checks, name: &str, (times, trap): (u32, Trap)) {
    checks.check(name, times == 0, format_args!("{times} times, at last {trap:x?}"));
}

fn values(checks: &mut Checks) {
    const ADDRESS: u64 = 0xffff_8000_1234_5678;
    set_dr7(DR7_FIXED);
    for (name, set, get) in [
        ("dr0-keeps", set_dr0 as fn(u64) -> Probe, dr0 as fn() -> u64),
        ("dr1-keeps", set_dr1, dr1),
        ("dr2-keeps", set_dr2, dr2),
        ("dr3-keeps", set_dr3, dr3),
    ] {
        set(ADDRESS);
        // Leaves a virtual machine, which must not lose them.
        cpu::cpuid(0, 0);
        checks.equal(name, get(), ADDRESS);
        set(0);
    }
    set_dr6(0);
    checks.equal("dr6-fixed-ones", dr6(), DR6_FIXED);
    set_dr6(0xe00f);
    checks.equal("dr6-keeps", dr6(), DR6_FIXED | 0xe00f);
    set_dr7(0);
    checks.equal("dr7-fixed-one", dr7(), DR7_FIXED);
    // All addresses are 0, where nothing is executed or written here.
    set_dr7(0x1111_03ff | DR7_FIXED);
    checks.equal("dr7-keeps", dr7(), 0x1111_03ff | DR7_FIXED);
    set_dr7(DR7_FIXED);
    checks.refused("dr6-upper-half", set_dr6(1 << 32));
    checks.refused("dr7-upper-half", set_dr7(1 << 32 | DR7_FIXED));
    set_dr6(0);
}

/// DR4 and DR5 are DR6 and DR7, until CR4.DE takes them away.
fn aliases(checks: &mut Checks) {
    let before = cr4();
    let (four, five): (u64, u64);
    set_cr4(before & !CR4_DE);
    // SAFETY: reads.
    unsafe { asm!("mov {}, dr4", "mov {}, dr5", out(reg) four, out(reg) five, options(nomem, nostack)) };
    checks.equal("dr4-is-dr6", four, dr6());
    checks.equal("dr5-is-dr7", five, dr7());
    set_cr4(before | CR4_DE);
    // SAFETY: each faults.
    unsafe {
        checks.raised("dr4-is-invalid-with-de", probe!("mov {v}, dr4", v = out(reg) _), INVALID_OPCODE, 0);
        checks.raised("dr5-is-invalid-with-de", probe!("mov {v}, dr5", v = out(reg) _), INVALID_OPCODE, 0);
        // MOV DR8, RAX.
        let eight = probe!(".byte 0x44, 0x0f, 0x23, 0xc0", in("rax") 0_u64);
        checks.raised("dr8-does-not-exist", eight, INVALID_OPCODE, 0);
    }
    set_cr4(before);
}

fn general_detect(checks: &mut Checks) {
    set_dr7(DR7_FIXED | DR7_GENERAL_DETECT);
    // SAFETY: a read, which is interrupted and then runs.
    let (at, trap) = unsafe { probe!("mov {v}, dr0", v = out(reg) _) };
    let noted = trap.is_some_and(|t| (t.vector, t.rip, t.dr6 & !DR6_FIXED) == (1, at, DR6_ACCESS_DETECTED));
    checks.check("general-detect-read", noted, format_args!("at {at:#x} saw {trap:x?}"));
    checks.equal("general-detect-ends-itself", dr7(), DR7_FIXED);
    set_dr7(DR7_FIXED | DR7_GENERAL_DETECT);
    let (at, trap) = set_dr1(0);
    let noted = trap.is_some_and(|t| (t.vector, t.rip, t.dr6 & !DR6_FIXED) == (1, at, DR6_ACCESS_DETECTED));
    checks.check("general-detect-write", noted, format_args!("at {at:#x} saw {trap:x?}"));
    set_dr7(DR7_FIXED);
}

fn execution(checks: &mut Checks) {
    for (number, name, set) in [
        (0, "execution-dr0", set_dr0 as fn(u64) -> Probe),
        (1, "execution-dr1", set_dr1),
        (2, "execution-dr2", set_dr2),
        (3, "execution-dr3", set_dr3),
    ] {
        let dr7 = enabled(number, Watch::Execution, 0);
        hit(checks, name, watching(dr7, || on_nop(set)), 1 << number);
    }
    // The bit behind is the global one.
    let global = DR7_FIXED | 1 << 1;
    hit(checks, "execution-enabled-globally", watching(global, || on_nop(set_dr0)), 1);
    missed(checks, "execution-disabled", watching(DR7_FIXED, || on_nop(set_dr0)));
    let before = count(1);
    let target: u64;
    // SAFETY: DR0 names CPUID, DR1 the instruction behind it; both are disabled again.
    unsafe {
        asm!(
            "lea {at}, [rip + 2f]", "mov dr0, {at}", "lea {next}, [rip + 3f]", "mov dr1, {next}",
            "mov {scratch:e}, 0x405", "mov dr7, {scratch}", "mov {keep}, rbx",
            "2:", "cpuid", "3:", "nop",
            "mov rbx, {keep}", "mov {scratch:e}, 0x400", "mov dr7, {scratch}",
            at = out(reg) _, next = out(reg) target, scratch = out(reg) _, keep = out(reg) _,
            inout("eax") 0 => _, inout("ecx") 0 => _, out("edx") _,
        );
    }
    checks.equal("execution-on-an-instruction-that-exits-and-the-next", (count(1) - before).into(), 2);
    checks.equal("execution-behind-an-instruction-that-exits", last().rip, target);
}

/// Points a debug register, by `set`, at a NOP, and runs into it.
fn on_nop(set: fn(u64) -> Probe) {
    unsafe extern "C" {
        static watched_nop: u8;
        fn run_watched_nop();
    }
    set(&raw const watched_nop as u64);
    // SAFETY: it returns at once.
    unsafe { run_watched_nop() };
    // DR6 may tell of breakpoints that are off, too.
    set(0);
}

core::arch::global_asm!(
    ".text",
    ".globl run_watched_nop",
    "run_watched_nop:",
    "nop",
    ".globl watched_nop",
    "watched_nop:",
    "nop",
    "ret",
);

/// Memory to watch.
#[repr(align(16))]
struct Cells {
    _bytes: [u8; 32],
}

fn data(checks: &mut Checks) {
    const NAMES: [(&str, &str, &str); 4] = [
        ("write-1-byte", "write-behind-1-byte", "write-before-1-byte"),
        ("write-2-bytes", "write-behind-2-bytes", "write-before-2-bytes"),
        ("write-4-bytes", "write-behind-4-bytes", "write-before-4-bytes"),
        ("write-8-bytes", "write-behind-8-bytes", "write-before-8-bytes"),
    ];
    let mut cells = Cells { _bytes: [0; 32] };
    let watched = (&raw mut cells as u64) + 8;
    set_dr2(watched);
    // SAFETY: all within `cells`.
    let write = |at: u64| unsafe { (at as *mut u8).write_volatile(1) };
    // SAFETY: as above.
    let read = |at: u64| _ = unsafe { (at as *const u8).read_volatile() };
    for ((bytes, length), (within, behind, before)) in LENGTHS.into_iter().zip(NAMES) {
        let dr7 = enabled(2, Watch::Writes, length);
        hit(checks, within, watching(dr7, || write(watched + bytes - 1)), 1 << 2);
        missed(checks, behind, watching(dr7, || write(watched + bytes)));
        missed(checks, before, watching(dr7, || write(watched - 1)));
    }
    let writes = enabled(2, Watch::Writes, 3);
    missed(checks, "a-read-is-no-write", watching(writes, || read(watched)));
    let both = enabled(2, Watch::ReadsAndWrites, 3);
    hit(checks, "read-watched", watching(both, || read(watched + 1)), 1 << 2);
    hit(checks, "write-watched-as-access", watching(both, || write(watched + 2)), 1 << 2);
    let wide = watching(writes, || {
        // SAFETY: within `cells`.
        unsafe { ((watched - 4) as *mut u64).write_unaligned(0) }
    });
    hit(checks, "write-that-overlaps", wide, 1 << 2);
    let behind: u64;
    set_dr7(writes);
    // SAFETY: writes `cells`.
    unsafe {
        asm!("mov dword ptr [{at}], 1", "2: lea {behind}, [rip + 2b]", at = in(reg) watched, behind = out(reg) behind)
    };
    set_dr7(DR7_FIXED);
    checks.equal("data-breakpoints-are-traps", last().rip, behind);
}

fn ports(checks: &mut Checks) {
    const WATCHED: u16 = 0x80;
    let before = cr4();
    set_cr4(before | CR4_DE);
    set_dr1(WATCHED.into());
    let dr7 = enabled(1, Watch::Ports, 0);
    hit(checks, "port-written", watching(dr7, || cpu::outb(WATCHED, 0)), 1 << 1);
    hit(checks, "port-read", watching(dr7, || _ = cpu::inb(WATCHED)), 1 << 1);
    hit(checks, "port-overlapped", watching(dr7, || cpu::outw(WATCHED - 1, 0)), 1 << 1);
    missed(checks, "port-behind", watching(dr7, || cpu::outb(WATCHED + 1, 0)));
    set_dr1(0x2fb);
    let wide = enabled(1, Watch::Ports, 1);
    hit(checks, "port-of-two-bytes", watching(wide, || _ = cpu::inb(0x2fb)), 1 << 1);
    set_dr1(0x3ff);
    hit(checks, "port-of-a-device", watching(dr7, || _ = cpu::inb(0x3ff)), 1 << 1);
    set_dr1(0);
    set_cr4(before);
}

/// Sets the trap flag over the instructions given; the handler clears it. Where the trap should be: behind the first of
/// them, at label 2.
macro_rules! step {
    ($checks:ident, $name:literal, $instructions:expr $(, $($operands:tt)*)?) => {{
        let expected: u64;
        let before = count(1);
        // SAFETY: the caller's instructions leave memory and stack as they were.
        unsafe {
            asm!(
                "lea {expected}, [rip + 2f]",
                "pushfq",
                "or dword ptr [rsp], 0x100",
                "popfq",
                $instructions,
                "nop",
                expected = out(reg) expected,
                $($($operands)*)?
            );
        }
        stepped($checks, $name, count(1) - before, expected);
    }};
}

fn stepped(checks: &mut Checks, name: &str, times: u32, expected: u64) {
    let trap = last();
    let passed = times == 1 && trap.rip == expected && trap.dr6 & !DR6_FIXED == DR6_SINGLE_STEP;
    checks.check(name, passed, format_args!("{times} times, at last {trap:x?}, expected at {expected:#x}"));
}

fn steps(checks: &mut Checks) {
    step!(checks, "step-over-nop", "nop; 2:");
    step!(checks, "step-over-a-jump", "jmp 2f; ud2; 2:");
    step!(checks, "step-over-push", "push rax; 2: pop rax");
    step!(checks, "step-over-pushf", "pushfq; 2: add rsp, 8");
    step!(checks, "step-over-sti", "sti; 2: cli");
    step!(checks, "step-over-rdtsc", "rdtsc; 2:", out("eax") _, out("edx") _);
    let mut cell = 0_u64;
    step!(checks, "step-over-a-locked-instruction", "lock inc qword ptr [{at}]; 2:", at = in(reg) &raw mut cell);
    let (mut from, mut to) = ([1_u8; 4], [0_u8; 4]);
    step!(
        checks,
        "step-over-one-of-a-repeated-move",
        "2: rep movsb",
        inout("rsi") &raw mut from => _,
        inout("rdi") &raw mut to => _,
        inout("rcx") 4_u64 => _,
    );
}

fn steps_over_what_exits(checks: &mut Checks) {
    const EFER: u32 = 0xc000_0080;
    const IOAPIC: u64 = 0xfec0_0000;
    step!(
        checks, "step-over-cpuid", "cpuid; 2: mov rbx, {keep}",
        keep = in(reg) rbx(), inout("eax") 0 => _, inout("ecx") 0 => _, out("edx") _,
    );
    step!(checks, "step-over-rdmsr", "rdmsr; 2:", in("ecx") EFER, out("eax") _, out("edx") _);
    let efer = cpu::rdmsr(EFER) as u32;
    step!(checks, "step-over-wrmsr", "wrmsr; 2:", in("ecx") EFER, in("eax") efer, in("edx") 0);
    step!(checks, "step-over-in", "in al, 0x61; 2:", out("al") _);
    step!(checks, "step-over-out", "out 0x80, al; 2:", in("al") 0_u8);
    step!(checks, "step-over-mov-to-cr0", "mov cr0, {v}; 2:", v = in(reg) cr0());
    step!(checks, "step-over-mov-to-cr0-that-changes-it", "mov cr0, {v}; 2:", v = in(reg) cr0() ^ 1 << 5);
    step!(checks, "step-over-mov-to-cr0-back", "mov cr0, {v}; 2:", v = in(reg) cr0() ^ 1 << 5);
    step!(checks, "step-over-mov-to-cr4", "mov cr4, {v}; 2:", v = in(reg) cr4());
    step!(checks, "step-over-mov-to-cr8", "mov cr8, {v}; 2:", v = in(reg) 0_u64);
    step!(checks, "step-over-wbinvd", "wbinvd; 2:");
    step!(checks, "step-over-pause", "pause; 2:");
    step!(checks, "step-over-a-read-of-a-device", "mov {v:e}, [{at}]; 2:", at = in(reg) IOAPIC, v = out(reg) _);
    step!(checks, "step-over-a-write-of-a-device", "mov dword ptr [{at}], 0; 2:", at = in(reg) IOAPIC);
    let text = [0_u8; 3];
    step!(
        checks,
        "step-over-one-of-a-repeated-output",
        "2: rep outsb",
        in("dx") 0x80_u16, inout("rsi") &raw const text => _, inout("rcx") 3_u64 => _,
    );
    if !checks
        .deviates("step-over-the-last-of-a-repeated-output", "QEMU's emulator stops once more before it")
    {
        step!(
            checks,
            "step-over-the-last-of-a-repeated-output",
            "rep outsb; 2:",
            in("dx") 0x80_u16, inout("rsi") &raw const text => _, inout("rcx") 1_u64 => _,
        );
    }
}

/// RBX, which the compiler keeps for itself.
fn rbx() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbx", out(reg) value, options(nomem, nostack)) };
    value
}

fn steps_with_rules_of_their_own(checks: &mut Checks) {
    // The flag that POPF loads counts from the next instruction on.
    popf_that_ends_it(checks);
    // MOV SS holds the trap back by one instruction.
    step!(checks, "step-over-mov-ss-comes-one-later", "mov ss, {v:e}; nop; 2:", v = in(reg) 0x18);
    // #BP's handler runs unstepped, and IRET's flags count from the next instruction on.
    step_over_breakpoint(checks);
    icebp(checks);
    halt(checks);
}

fn popf_that_ends_it(checks: &mut Checks) {
    let expected: u64;
    let before = count(1);
    // SAFETY: the stack is as it was.
    unsafe {
        asm!(
            "lea {expected}, [rip + 2f]",
            "pushfq", "pushfq", "or dword ptr [rsp], 0x100", "popfq", "popfq", "2:", "nop",
            expected = out(reg) expected,
        );
    }
    stepped(checks, "step-over-popf-that-ends-it", count(1) - before, expected);
}

fn step_over_breakpoint(checks: &mut Checks) {
    let breakpoints = count(3);
    step!(checks, "step-behind-int3", "int3; nop; 2:");
    checks.equal("int3-under-a-step", (count(3) - breakpoints).into(), 1);
}

/// INT1 raises `#DB` without a word in DR6.
fn icebp(checks: &mut Checks) {
    // SAFETY: the handler returns behind it.
    let (at, trap) = unsafe { probe!(".byte 0xf1") };
    let noted = trap.is_some_and(|t| (t.vector, t.rip, t.dr6 & !DR6_FIXED) == (1, at + 1, 0));
    checks.check("int1", noted, format_args!("at {at:#x} saw {trap:x?}"));
}

/// The trap ends HLT at once, although interrupts are masked.
fn halt(checks: &mut Checks) {
    if !checks.deviates("step-over-hlt", "QEMU's emulator forgets the trap and sleeps for ever") {
        step!(checks, "step-over-hlt", "hlt; 2:");
    }
}
