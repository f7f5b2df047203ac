//! The page-attribute table and the memory-type range registers: reserved types and bits fault and change nothing, all
//! else is kept (AMD APM 24593, volume 2, sections 7.7 and 7.8; Intel SDM, volume 3, sections 12.11 and 12.12).
//!
//! Unsafe because it writes model-specific registers.

#![no_std]
#![no_main]

use guests::{Checks, cpu, guest};

guest!("pat-mtrr", run);

const MTRR_CAP: u32 = 0xfe;
const VARIABLE_BASE: u32 = 0x200;
const FIXED: [(&str, u32); 11] = [
    ("mtrr-fixed-64k", 0x250),
    ("mtrr-fixed-16k-80000", 0x258),
    ("mtrr-fixed-16k-a0000", 0x259),
    ("mtrr-fixed-4k-c0000", 0x268),
    ("mtrr-fixed-4k-c8000", 0x269),
    ("mtrr-fixed-4k-d0000", 0x26a),
    ("mtrr-fixed-4k-d8000", 0x26b),
    ("mtrr-fixed-4k-e0000", 0x26c),
    ("mtrr-fixed-4k-e8000", 0x26d),
    ("mtrr-fixed-4k-f0000", 0x26e),
    ("mtrr-fixed-4k-f8000", 0x26f),
];
const PAT: u32 = 0x277;
const DEF_TYPE: u32 = 0x2ff;
const ENABLED: u64 = 1 << 11;
const VALID: u64 = 1 << 11;
/// What processors and firmware have in the table after reset: WB, WT, UC-, UC, twice.
const PAT_RESET: u64 = 0x0007_0406_0007_0406;

const NOT_CHECKED: &str = "QEMU's emulator takes the value";

fn run(checks: &mut Checks) {
    presence(checks);
    pat(checks);
    fixed(checks);
    variable(checks);
    default_type(checks);
}

fn presence(checks: &mut Checks) {
    let features = cpu::cpuid(1, 0).edx;
    checks.equal("cpuid-mtrr", (features >> 12 & 1).into(), 1);
    checks.equal("cpuid-pat", (features >> 16 & 1).into(), 1);
    let cap = cpu::rdmsr(MTRR_CAP);
    checks.equal("mtrr-cap-variable-ranges", cap & 0xff, 8);
    checks.equal("mtrr-cap-fixed-ranges", cap >> 8 & 1, 1);
    checks.equal("mtrr-cap-write-combining", cap >> 10 & 1, 1);
    if !checks.deviates("mtrr-cap-is-read-only", NOT_CHECKED) {
        // SAFETY: it faults.
        checks.refused("mtrr-cap-is-read-only", unsafe { cpu::try_wrmsr(MTRR_CAP, cap) });
    }
}

/// Writes `value` to `register` and checks that it is kept; puts the old value back.
fn kept(checks: &mut Checks, name: &str, register: u32, value: u64) {
    let before = cpu::rdmsr(register);
    // SAFETY: memory types decide how fast this program runs, not what it does: nothing here depends on coherence.
    let (probe, seen) = unsafe { (cpu::try_wrmsr(register, value), cpu::rdmsr(register)) };
    // SAFETY: as it was.
    unsafe { cpu::wrmsr(register, before) };
    let passed = probe.1.is_none() && seen == value;
    checks.check(name, passed, format_args!("{:x?}, then {seen:#x}, expected {value:#x}", probe.1));
}

/// Checks that `register` refuses `value` and keeps what it had.
fn refused(checks: &mut Checks, name: &str, register: u32, value: u64) {
    if checks.deviates(name, NOT_CHECKED) {
        return;
    }
    let before = cpu::rdmsr(register);
    // SAFETY: it faults; where it does not, the value goes again.
    let (probe, seen) = unsafe { (cpu::try_wrmsr(register, value), cpu::rdmsr(register)) };
    if seen != before {
        checks.equal(name, seen, before);
        // SAFETY: as it was.
        return unsafe { cpu::wrmsr(register, before) };
    }
    checks.refused(name, probe);
}

fn pat(checks: &mut Checks) {
    checks.equal("pat-after-reset", cpu::rdmsr(PAT), PAT_RESET);
    kept(checks, "pat-keeps-all-types", PAT, 0x0706_0504_0100_0706);
    // Linux's table: WB, WC, UC-, UC, WB, WP, UC-, WT.
    kept(checks, "pat-keeps-the-table-of-linux", PAT, 0x0407_0506_0007_0106);
    for (name, value) in [
        ("pat-type-2", PAT_RESET & !0xff | 0x02),
        ("pat-type-3", 0x03),
        ("pat-type-8", 0x08_00),
        ("pat-type-3-in-the-last-entry", 0x03 << 56),
        ("pat-reserved-bit", 0x80 << 32),
    ] {
        refused(checks, name, PAT, value);
    }
}

fn fixed(checks: &mut Checks) {
    for (name, register) in FIXED {
        kept(checks, name, register, 0x0605_0401_0006_0504);
    }
    for (name, value) in
        [("mtrr-fixed-type-2", 0x02), ("mtrr-fixed-type-3", 0x03 << 56), ("mtrr-fixed-type-7", 0x07 << 8)]
    {
        refused(checks, name, FIXED[0].1, value);
    }
}

fn variable(checks: &mut Checks) {
    let physical_bits = cpu::cpuid(0x8000_0008, 0).eax & 0xff;
    let address = ((1_u64 << physical_bits) - 1) & !0xfff;
    const NAMES: [(&str, &str); 8] = [
        ("mtrr-base-0", "mtrr-mask-0"),
        ("mtrr-base-1", "mtrr-mask-1"),
        ("mtrr-base-2", "mtrr-mask-2"),
        ("mtrr-base-3", "mtrr-mask-3"),
        ("mtrr-base-4", "mtrr-mask-4"),
        ("mtrr-base-5", "mtrr-mask-5"),
        ("mtrr-base-6", "mtrr-mask-6"),
        ("mtrr-base-7", "mtrr-mask-7"),
    ];
    for (register, (base, mask)) in (VARIABLE_BASE..).step_by(2).zip(NAMES) {
        kept(checks, base, register, 0xc000_0000 | 1);
        // Not valid: it changes no memory's type meanwhile.
        kept(checks, mask, register + 1, address & !0x0fff_ffff);
    }
    kept(checks, "mtrr-mask-valid", VARIABLE_BASE + 1, address & !0xfff_ffff | VALID);
    for (name, register, value) in [
        ("mtrr-base-type-2", VARIABLE_BASE, 0xc000_0002),
        ("mtrr-base-type-7", VARIABLE_BASE, 0xc000_0007),
        ("mtrr-base-reserved-bit", VARIABLE_BASE, 0xc000_0106),
        ("mtrr-base-beyond-the-address-width", VARIABLE_BASE, 1 << physical_bits | 6),
        ("mtrr-mask-reserved-bit", VARIABLE_BASE + 1, 0x401),
        ("mtrr-mask-beyond-the-address-width", VARIABLE_BASE + 1, 1 << physical_bits),
        ("mtrr-base-bit-63", VARIABLE_BASE, 1 << 63 | 6),
    ] {
        refused(checks, name, register, value);
    }
    if !checks.deviates("mtrr-no-ninth-range", NOT_CHECKED) {
        checks.refused("mtrr-no-ninth-range", cpu::try_rdmsr(VARIABLE_BASE + 16));
    }
}

fn default_type(checks: &mut Checks) {
    const FIXED_ENABLED: u64 = 1 << 10;
    for (name, value) in [
        ("mtrr-default-write-back", ENABLED | 6),
        ("mtrr-default-write-through", ENABLED | FIXED_ENABLED | 4),
        ("mtrr-default-uncacheable", ENABLED | FIXED_ENABLED),
        ("mtrr-off", 0),
    ] {
        kept(checks, name, DEF_TYPE, value);
    }
    for (name, value) in [
        ("mtrr-default-type-2", ENABLED | 2),
        ("mtrr-default-type-7", ENABLED | 7),
        ("mtrr-default-bit-8", ENABLED | 1 << 8 | 6),
        ("mtrr-default-bit-12", ENABLED | 1 << 12 | 6),
        ("mtrr-default-bit-32", ENABLED | 1 << 32 | 6),
    ] {
        refused(checks, name, DEF_TYPE, value);
    }
}
