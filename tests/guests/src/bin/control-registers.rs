//! CR0, CR3, CR4, CR8 and XCR0: forbidden values fault and change nothing, permitted ones are kept and have their
//! effect (AMD APM 24593, volume 2, sections 3.1 and 11.5.2; Intel SDM, volume 3, sections 2.5 and 2.6).
//!
//! EFER's own rules are in `msr-gp`.
//!
//! Unsafe because control registers decide what this program runs on.

#![no_std]
#![no_main]

use core::arch::asm;
use guests::checks::Probe;
use guests::control::{cr0, cr3, cr4, cr8, set_cr0, set_cr3, set_cr4, set_cr8};
use guests::{Checks, apic, cpu, entry, guest, probe};

guest!("control-registers", run);

const INVALID_OPCODE: u64 = 6;
const DEVICE_NOT_AVAILABLE: u64 = 7;
const PAGE_FAULT: u64 = 14;

const CR0_MP: u64 = 1 << 1;
const CR0_EM: u64 = 1 << 2;
const CR0_TS: u64 = 1 << 3;
const CR0_ET: u64 = 1 << 4;
const CR0_NE: u64 = 1 << 5;
const CR0_WP: u64 = 1 << 16;
const CR0_AM: u64 = 1 << 18;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
const CR0_PE: u64 = 1 << 0;

const CR4_PAE: u64 = 1 << 5;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_LA57: u64 = 1 << 12;
const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_PCIDE: u64 = 1 << 17;
const CR4_OSXSAVE: u64 = 1 << 18;

/// Registers of CPUID.
#[derive(Clone, Copy)]
enum Answer {
    Ebx,
    Ecx,
    Edx,
}

/// Bits of CR4 that go with a bit of CPUID: name, bit, leaf, register, its bit.
const CR4_OF_FEATURES: [(&str, u32, u32, Answer, u32); 17] = [
    ("cr4-vme", 0, 1, Answer::Edx, 1),
    ("cr4-tsd", 2, 1, Answer::Edx, 4),
    ("cr4-de", 3, 1, Answer::Edx, 2),
    ("cr4-pse", 4, 1, Answer::Edx, 3),
    ("cr4-mce", 6, 1, Answer::Edx, 7),
    ("cr4-pge", 7, 1, Answer::Edx, 13),
    ("cr4-osxmmexcpt", 10, 1, Answer::Edx, 25),
    ("cr4-umip", 11, 7, Answer::Ecx, 2),
    ("cr4-vmxe", 13, 1, Answer::Ecx, 5),
    ("cr4-smxe", 14, 1, Answer::Ecx, 6),
    ("cr4-fsgsbase", 16, 7, Answer::Ebx, 0),
    ("cr4-pcide", 17, 1, Answer::Ecx, 17),
    ("cr4-osxsave", 18, 1, Answer::Ecx, 26),
    ("cr4-smep", 20, 7, Answer::Ebx, 7),
    ("cr4-smap", 21, 7, Answer::Ebx, 20),
    ("cr4-pke", 22, 7, Answer::Ecx, 3),
    ("cr4-cet", 23, 7, Answer::Ecx, 7),
];

/// Bits of CR4 that nobody has given a meaning to.
const CR4_RESERVED: [(&str, u32); 4] =
    [("cr4-bit-15", 15), ("cr4-bit-26", 26), ("cr4-bit-31", 31), ("cr4-bit-63", 63)];

const NOT_CHECKED: &str = "QEMU's emulator takes the value";

fn run(checks: &mut Checks) {
    cr0_rules(checks);
    cr0_effects(checks);
    machine_status_word(checks);
    table_base(checks);
    cr4_rules(checks);
    cr4_effects(checks);
    task_priority(checks);
    no_registers(checks);
    xcr0_rules(checks);
    xcr0_effects(checks);
}

/// Checks that `probe` was refused and that the register `now` is what it was `before`.
fn refused_unchanged(checks: &mut Checks, name: &str, probe: Probe, now: u64, before: u64) {
    match now == before {
        true => checks.refused(name, probe),
        false => checks.equal(name, now, before),
    }
}

fn cr0_rules(checks: &mut Checks) {
    let before = cr0();
    checks.check(
        "cr0-protected-paging",
        before & (CR0_PE | CR0_PG | CR0_WP) == CR0_PE | CR0_PG | CR0_WP,
        format_args!("CR0 is {before:#x}"),
    );
    let forbidden = [
        ("cr0-paging-without-protection", before & !CR0_PE),
        ("cr0-not-write-through-without-cache-disable", (before | CR0_NW) & !CR0_CD),
        ("cr0-paging-off-in-64-bit-code", before & !CR0_PG),
    ];
    for (name, value) in forbidden {
        if !checks.deviates(name, NOT_CHECKED) {
            let probe = set_cr0(value);
            refused_unchanged(checks, name, probe, cr0(), before);
        }
    }
    for (name, bit) in [
        ("cr0-keeps-mp", CR0_MP),
        ("cr0-keeps-ne", CR0_NE),
        ("cr0-keeps-am", CR0_AM),
        ("cr0-keeps-cd", CR0_CD),
        ("cr0-keeps-cd-and-nw", CR0_CD | CR0_NW),
    ] {
        set_cr0(before ^ bit);
        checks.equal(name, cr0(), before ^ bit);
        set_cr0(before);
    }
    set_cr0(before & !CR0_ET);
    checks.equal("cr0-extension-type-is-fixed", cr0() & CR0_ET, CR0_ET);
    set_cr0(before);
}

fn cr0_effects(checks: &mut Checks) {
    let before = cr0();
    set_cr4(cr4() | CR4_OSFXSR);
    // SAFETY: the instructions write only memory that is mapped there and is put back, or fault.
    unsafe {
        set_cr0(before | CR0_TS);
        checks.raised("cr0-ts-holds-the-fpu-back", probe!("fninit"), DEVICE_NOT_AVAILABLE, 0);
        let vector = probe!("xorps xmm0, xmm0", out("xmm0") _);
        checks.raised("cr0-ts-holds-sse-back", vector, DEVICE_NOT_AVAILABLE, 0);
        asm!("clts", options(nostack));
        checks.equal("clts-clears-ts-alone", cr0(), before);
        checks.passed("clts-lets-the-fpu-go", probe!("fninit"));
        set_cr0(before | CR0_EM);
        checks.raised(
            "cr0-em-makes-sse-invalid",
            probe!("xorps xmm0, xmm0", out("xmm0") _),
            INVALID_OPCODE,
            0,
        );
        set_cr0(before);
        let cell = 0_u64;
        let alias = entry::READ_ONLY_ALIAS + &raw const cell as u64;
        set_cr0(before & !CR0_WP);
        let open = probe!("mov qword ptr [{to}], 1", to = in(reg) alias);
        set_cr0(before);
        checks.passed("cr0-wp-off-opens-read-only-pages", open);
        let closed = probe!("mov qword ptr [{to}], 2", to = in(reg) alias);
        checks.raised("cr0-wp-on-closes-them", closed, PAGE_FAULT, 3);
        checks.equal("cr0-wp-decides-what-is-stored", (&raw const cell).read_volatile(), 1);
    }
}

fn machine_status_word(checks: &mut Checks) {
    let before = cr0();
    let word: u64;
    // SAFETY: LMSW can only set PE, and clears TS, EM and MP, which this program does not use.
    unsafe {
        asm!("smsw {}", out(reg) word, options(nomem, nostack));
        asm!("lmsw {:x}", in(reg) 0, options(nomem, nostack));
    }
    checks.equal("smsw-reads-cr0", word, before);
    checks.equal("lmsw-cannot-leave-protected-mode", cr0(), before & !(CR0_MP | CR0_EM | CR0_TS));
    // SAFETY: sets TS, cleared below.
    unsafe { asm!("lmsw {:x}", in(reg) CR0_TS | CR0_PE, options(nomem, nostack)) };
    checks.equal("lmsw-sets-ts", cr0() & CR0_TS, CR0_TS);
    set_cr0(before);
}

/// A page map without the aliases.
#[repr(C, align(4096))]
struct PageMap([u64; 512]);

fn table_base(checks: &mut Checks) {
    const WRITE_THROUGH: u64 = 1 << 3;
    const CACHE_DISABLE: u64 = 1 << 4;
    let before = cr3();
    set_cr3(before | WRITE_THROUGH | CACHE_DISABLE);
    checks.equal("cr3-keeps-cache-bits", cr3(), before | WRITE_THROUGH | CACHE_DISABLE);
    let mut map = PageMap([0; 512]);
    // SAFETY: CR3 names the page map in use, which is mapped where it is; its first entry maps all of this program.
    unsafe {
        map.0[0] = (before as *const u64).read_volatile();
        set_cr3((&raw const map as u64) | before & 0xfff);
        let hidden = probe!("mov {to}, [{from}]", to = out(reg) _, from = in(reg) entry::READ_ONLY_ALIAS);
        set_cr3(before);
        checks.raised("cr3-switches-the-address-space", hidden, PAGE_FAULT, 0);
        let seen = probe!("mov {to}, [{from}]", to = out(reg) _, from = in(reg) entry::READ_ONLY_ALIAS);
        checks.passed("cr3-switches-it-back", seen);
    }
}

fn cr4_rules(checks: &mut Checks) {
    let before = cr4();
    for (name, bit) in CR4_RESERVED {
        if !checks.deviates(name, NOT_CHECKED) {
            let probe = set_cr4(before | 1 << bit);
            refused_unchanged(checks, name, probe, cr4(), before);
        }
    }
    for (name, bit, leaf, answer, feature) in CR4_OF_FEATURES {
        let shown = has_feature(leaf, answer, feature);
        if shown || !checks.deviates(name, NOT_CHECKED) {
            feature_bit(checks, name, before, bit, shown);
        }
    }
    for (name, value) in
        [("cr4-pae-off-in-long-mode", before & !CR4_PAE), ("cr4-la57-in-long-mode", before ^ CR4_LA57)]
    {
        if !checks.deviates(name, NOT_CHECKED) {
            let probe = set_cr4(value);
            refused_unchanged(checks, name, probe, cr4(), before);
        }
    }
    let name = "cr4-pcide-with-a-process-in-use";
    if !checks.deviates(name, NOT_CHECKED) {
        let table = cr3();
        set_cr3(table | 1 << 3);
        let probe = set_cr4(before | CR4_PCIDE);
        refused_unchanged(checks, name, probe, cr4(), before);
        set_cr3(table);
    }
}

fn has_feature(leaf: u32, answer: Answer, bit: u32) -> bool {
    let registers = cpu::cpuid(leaf, 0);
    let register = match answer {
        Answer::Ebx => registers.ebx,
        Answer::Ecx => registers.ecx,
        Answer::Edx => registers.edx,
    };
    register >> bit & 1 != 0
}

/// A bit that may be set when its feature is shown, and must not be otherwise.
fn feature_bit(checks: &mut Checks, name: &str, before: u64, bit: u32, shown: bool) {
    let wanted = before ^ 1 << bit;
    let probe = set_cr4(wanted);
    let seen = cr4();
    set_cr4(before);
    match shown {
        true => checks.check(
            name,
            probe.1.is_none() && seen == wanted,
            format_args!("{:x?}, then CR4 is {seen:#x}, expected {wanted:#x}", probe.1),
        ),
        false => refused_unchanged(checks, name, probe, seen, before),
    }
}

fn cr4_effects(checks: &mut Checks) {
    let before = cr4();
    // SAFETY: the instructions read registers or fault; no vector register of this program is touched.
    unsafe {
        set_cr4(before & !CR4_OSFXSR);
        checks.raised(
            "cr4-osfxsr-off-makes-sse-invalid",
            probe!("xorps xmm0, xmm0", out("xmm0") _),
            INVALID_OPCODE,
            0,
        );
        set_cr4(before | CR4_OSFXSR);
        checks.passed("cr4-osfxsr-on-lets-sse-go", probe!("xorps xmm0, xmm0", out("xmm0") _));
        set_cr4(before & !CR4_FSGSBASE);
        checks.raised("cr4-fsgsbase-off", probe!("rdfsbase {v}", v = out(reg) _), INVALID_OPCODE, 0);
        set_cr4(before | CR4_FSGSBASE);
        checks.passed("cr4-fsgsbase-on", probe!("rdfsbase {v}", v = out(reg) _));
        set_cr4(before & !CR4_OSXSAVE);
        let off = probe!("xgetbv", in("ecx") 0, out("eax") _, out("edx") _);
        checks.raised("cr4-osxsave-off", off, INVALID_OPCODE, 0);
        checks.equal("cpuid-follows-osxsave-off", (cpu::cpuid(1, 0).ecx >> 27 & 1).into(), 0);
        set_cr4(before | CR4_OSXSAVE);
        checks.passed("cr4-osxsave-on", probe!("xgetbv", in("ecx") 0, out("eax") _, out("edx") _));
        checks.equal("cpuid-follows-osxsave-on", (cpu::cpuid(1, 0).ecx >> 27 & 1).into(), 1);
        set_cr4(before);
    }
}

fn task_priority(checks: &mut Checks) {
    apic::enable(guests::interrupts::SPURIOUS_VECTOR);
    for (name, value) in [("cr8-keeps-0", 0), ("cr8-keeps-9", 9), ("cr8-keeps-15", 15)] {
        set_cr8(value);
        checks.equal(name, cr8(), value);
    }
    checks.equal("cr8-is-the-task-priority", cpu::rdmsr(apic::TASK_PRIORITY), 0xf0);
    // SAFETY: a priority is sound.
    unsafe { cpu::wrmsr(apic::TASK_PRIORITY, 0x5a) };
    checks.equal("the-task-priority-is-cr8", cr8(), 5);
    checks.equal("the-task-priority-keeps-its-subclass", cpu::rdmsr(apic::TASK_PRIORITY), 0x5a);
    set_cr8(0);
}

/// Numbers that no register has.
fn no_registers(checks: &mut Checks) {
    // SAFETY: each faults.
    unsafe {
        // MOV CR1, RAX and MOV RAX, CR5; assemblers know no such registers.
        let write = probe!(".byte 0x0f, 0x22, 0xc8", in("rax") 0_u64);
        checks.raised("cr1-does-not-exist", write, INVALID_OPCODE, 0);
        let read = probe!(".byte 0x0f, 0x20, 0xe8", out("rax") _);
        checks.raised("cr5-does-not-exist", read, INVALID_OPCODE, 0);
        let write = probe!(".byte 0x44, 0x0f, 0x22, 0xf8", in("rax") 0_u64);
        checks.raised("cr15-does-not-exist", write, INVALID_OPCODE, 0);
    }
}

fn xgetbv() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: CR4.OSXSAVE is set.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

fn xsetbv(index: u32, value: u64) -> Probe {
    // SAFETY: this program keeps nothing in the registers that are switched off.
    unsafe { probe!("xsetbv", in("ecx") index, in("eax") value as u32, in("edx") (value >> 32) as u32) }
}

const X87: u64 = 1 << 0;
const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;

fn xcr0_rules(checks: &mut Checks) {
    let before = cr4();
    set_cr4(before & !CR4_OSXSAVE);
    checks.raised("xsetbv-without-osxsave", xsetbv(0, X87), INVALID_OPCODE, 0);
    set_cr4(before | CR4_OSXSAVE);
    xsetbv(0, X87 | SSE);
    for (name, index, value) in [
        ("xcr1-does-not-exist", 1, X87),
        ("xcr0-without-x87", 0, SSE),
        ("xcr0-nothing", 0, 0),
        ("xcr0-avx-without-sse", 0, X87 | AVX),
        ("xcr0-half-of-avx512", 0, X87 | SSE | AVX | 1 << 5),
        ("xcr0-reserved-component", 0, X87 | SSE | 1 << 62),
        ("xcr0-bit-63", 0, X87 | SSE | 1 << 63),
    ] {
        let probe = xsetbv(index, value);
        refused_unchanged(checks, name, probe, xgetbv(), X87 | SSE);
    }
    // SAFETY: a read, or a fault.
    let unknown = unsafe { probe!("xgetbv", in("ecx") 5, out("eax") _, out("edx") _) };
    checks.refused("xgetbv-of-nothing", unknown);
    set_cr4(before);
}

fn xcr0_effects(checks: &mut Checks) {
    let before = cr4();
    set_cr4(before | CR4_OSXSAVE);
    let components = cpu::cpuid(0xd, 0).eax;
    for (name, value) in [("xcr0-x87", X87), ("xcr0-sse", X87 | SSE), ("xcr0-avx", X87 | SSE | AVX)] {
        let probe = xsetbv(0, value);
        match u64::from(components) & value == value {
            true => checks.equal(name, xgetbv(), value),
            false => checks.refused(name, probe),
        }
    }
    if u64::from(components) & AVX != 0 {
        checks.equal("cpuid-follows-xcr0", cpu::cpuid(0xd, 0).ebx.into(), 0x340);
        // SAFETY: VZEROUPPER changes only upper halves, which nobody uses here.
        checks.passed("xcr0-avx-lets-avx-go", unsafe { probe!("vzeroupper") });
        xsetbv(0, X87 | SSE);
        checks.equal("cpuid-follows-xcr0-back", cpu::cpuid(0xd, 0).ebx.into(), 0x240);
        // SAFETY: it faults.
        checks.raised(
            "xcr0-without-avx-makes-avx-invalid",
            unsafe { probe!("vzeroupper") },
            INVALID_OPCODE,
            0,
        );
    }
    xsetbv(0, X87 | SSE);
    set_cr4(before);
}
