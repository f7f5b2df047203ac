//! CPUID is consistent with itself and with the processor: every instruction set that it shows has an instruction that
//! runs (Intel SDM, volume 2, CPUID; AMD APM 24594, volume 3, appendix E).
//!
//! Unsafe because it executes one instruction of each set.

#![no_std]
#![no_main]

use core::arch::x86_64::CpuidResult;
use guests::checks::Probe;
use guests::control::{cr0, cr4, set_cr4};
use guests::{Checks, cpu, guest, probe};

guest!("cpuid", run);

const CR4_OSFXSR: u64 = 1 << 9;
const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_OSXSAVE: u64 = 1 << 18;

fn run(checks: &mut Checks) {
    leaves(checks);
    identity(checks);
    widths(checks);
    state(checks);
    set_cr4(cr4() | CR4_OSFXSR | CR4_OSXSAVE | CR4_FSGSBASE);
    instruction_sets(checks);
    vector_sets(checks);
}

fn leaf(leaf: u32) -> CpuidResult {
    cpu::cpuid(leaf, 0)
}

const fn bit(register: u32, bit: u32) -> bool {
    register >> bit & 1 != 0
}

fn leaves(checks: &mut Checks) {
    let basic = leaf(0).eax;
    checks.check("basic-leaves", (0xb..0x40).contains(&basic), format_args!("up to {basic:#x}"));
    let extended = leaf(0x8000_0000).eax;
    checks.check(
        "extended-leaves",
        (0x8000_0008..0x8000_0040).contains(&extended),
        format_args!("up to {extended:#x}"),
    );
    let hypervisor = leaf(0x4000_0000).eax;
    checks.check("hypervisor-bit", bit(leaf(1).ecx, 31), format_args!("it is clear"));
    checks.check(
        "hypervisor-leaves",
        (0x4000_0000..0x4000_0100).contains(&hypervisor),
        format_args!("up to {hypervisor:#x}"),
    );
    checks.check("leaf-answers-the-same-twice", leaf(1) == leaf(1), format_args!("it does not"));
}

fn identity(checks: &mut Checks) {
    let vendor = |answer: CpuidResult| [answer.ebx, answer.edx, answer.ecx];
    let (basic, extended) = (vendor(leaf(0)), vendor(leaf(0x8000_0000)));
    let amd = basic == [0x6874_7541, 0x6974_6e65, 0x444d_4163];
    checks.check(
        "vendor-is-told-alike",
        !amd || basic == extended,
        format_args!("{basic:x?} and {extended:x?}"),
    );
    let (one, extended_one) = (leaf(1), leaf(0x8000_0001));
    checks.check(
        "signature-is-told-alike",
        !amd || one.eax == extended_one.eax,
        format_args!("{:#x} and {:#x}", one.eax, extended_one.eax),
    );
    // The bits that AMD repeats: FPU to PAE, CX8, APIC, PGE and so on, but not SEP, PSN and what follows.
    const REPEATED: u32 = 0x0183_f3ff;
    checks.check(
        "features-are-told-alike",
        !amd || one.edx & REPEATED == extended_one.edx & REPEATED,
        format_args!("{:#x} and {:#x}", one.edx, extended_one.edx),
    );
    let name = (0x8000_0002..=0x8000_0004).all(|n| {
        let part = leaf(n);
        [part.eax, part.ebx, part.ecx, part.edx]
            .iter()
            .flat_map(|r| r.to_le_bytes())
            .all(|b| b == 0 || (0x20..0x7f).contains(&b))
    });
    checks.check("name-is-text", name, format_args!("it is not"));
    let id = leaf(1).ebx >> 24;
    if leaf(0).eax >= 0xb && leaf(0xb).ebx != 0 {
        checks.equal("apic-id-is-told-alike", leaf(0xb).edx.into(), id.into());
    }
    let flush = (leaf(1).ebx >> 8 & 0xff) * 8;
    checks.equal("cache-lines-are-flushed-whole", flush.into(), 64);
}

fn widths(checks: &mut Checks) {
    let widths = leaf(0x8000_0008).eax;
    let (physical, linear) = (widths & 0xff, widths >> 8 & 0xff);
    checks.check("physical-address-width", (36..=52).contains(&physical), format_args!("{physical} bits"));
    let wide = bit(leaf(7).ecx, 16);
    checks.equal("linear-address-width", linear.into(), if wide { 57 } else { 48 });
    checks.check("long-mode", bit(leaf(0x8000_0001).edx, 29), format_args!("it is hidden"));
    checks.check(
        "protected-mode-with-fpu",
        bit(leaf(1).edx, 0) && cr0() & 1 != 0,
        format_args!("it is hidden"),
    );
}

/// Leaf 0xD: components that XCR0 may hold lie behind each other within the size that is told.
fn state(checks: &mut Checks) {
    let all = leaf(0xd);
    checks.check("state-has-x87-and-sse", all.eax & 3 == 3, format_args!("components {:#x}", all.eax));
    let mut end = 576;
    let mut outside = None;
    for component in (2..32).filter(|&component| bit(all.eax, component)) {
        let part = cpu::cpuid(0xd, component);
        end = end.max(part.ebx + part.eax);
        if part.eax == 0 || part.ebx < 576 || part.ebx + part.eax > all.ecx {
            outside = Some(component);
        }
    }
    checks.check("state-components-lie-within", outside.is_none(), format_args!("{outside:?} does not"));
    checks.equal("state-size-is-that-of-all-components", all.ecx.into(), end.into());
    let shown = bit(leaf(1).ecx, 28);
    checks.check(
        "avx-comes-with-its-state",
        !shown || bit(all.eax, 2),
        format_args!("its component is missing"),
    );
    let avx512 = bit(leaf(7).ebx, 16);
    checks.check(
        "avx512-comes-with-its-state",
        !avx512 || all.eax & 0xe0 == 0xe0,
        format_args!("its components are missing"),
    );
    let invariant = !bit(leaf(1).ecx, 24) || bit(leaf(1).edx, 9);
    checks.check("deadline-timer-comes-with-an-apic", invariant, format_args!("the APIC is hidden"));
}

/// Checks that an instruction runs if CPUID shows its set; what a processor does with the instructions of a set that is
/// not shown is its own business.
fn runs(checks: &mut Checks, name: &str, shown: bool, instruction: impl FnOnce() -> Probe) {
    match shown {
        true => checks.passed(name, instruction()),
        false => checks.check(name, true, format_args!("")),
    }
}

/// A probe as a function.
macro_rules! instruction {
    ($($probe:tt)*) => {
        // SAFETY: it changes only registers that are named, or `CELLS`.
        || unsafe { probe!($($probe)*) }
    };
}

/// Memory for instructions that need some.
#[repr(align(64))]
struct Cells([u64; 512]);

fn instruction_sets(checks: &mut Checks) {
    let (one, seven, extended) = (leaf(1), leaf(7), leaf(0x8000_0001));
    let mut cells = Cells([0; 512]);
    let at = &raw mut cells.0 as u64;
    runs(checks, "runs-tsc", bit(one.edx, 4), instruction!("rdtsc", out("eax") _, out("edx") _));
    runs(checks, "runs-msr", bit(one.edx, 5), || cpu::try_rdmsr(0xc000_0080));
    runs(
        checks,
        "runs-cmpxchg8b",
        bit(one.edx, 8),
        instruction!("mov {keep}, rbx; cmpxchg8b [{at2}]; mov rbx, {keep}", keep = out(reg) _, at2 = in(reg) at, inout("eax") 1 => _, inout("edx") 0 => _, in("ecx") 0),
    );
    runs(checks, "runs-cmov", bit(one.edx, 15), instruction!("cmovz {r}, {r}", r = out(reg) _));
    runs(checks, "runs-clflush", bit(one.edx, 19), instruction!("clflush [{p}]", p = in(reg) at));
    runs(checks, "runs-mmx", bit(one.edx, 23), instruction!("pxor mm0, mm0; emms"));
    runs(checks, "runs-fxsr", bit(one.edx, 24), instruction!("fxsave64 [{p}]", p = in(reg) at));
    runs(checks, "runs-sse", bit(one.edx, 25), instruction!("xorps xmm0, xmm0"));
    runs(checks, "runs-sse2", bit(one.edx, 26), instruction!("xorpd xmm0, xmm0"));
    runs(checks, "runs-sse3", bit(one.ecx, 0), instruction!("haddps xmm0, xmm0"));
    runs(checks, "runs-pclmulqdq", bit(one.ecx, 1), instruction!("pclmulqdq xmm0, xmm0, 0"));
    runs(checks, "runs-ssse3", bit(one.ecx, 9), instruction!("pabsb xmm0, xmm0"));
    runs(
        checks,
        "runs-cmpxchg16b",
        bit(one.ecx, 13),
        instruction!("mov {keep}, rbx; cmpxchg16b [{at2}]; mov rbx, {keep}", keep = out(reg) _, at2 = in(reg) at, inout("rax") 1_u64 => _, inout("rdx") 0_u64 => _, in("rcx") 0_u64),
    );
    runs(checks, "runs-sse4-1", bit(one.ecx, 19), instruction!("ptest xmm0, xmm0"));
    runs(checks, "runs-sse4-2", bit(one.ecx, 20), instruction!("pcmpgtq xmm0, xmm0"));
    runs(
        checks,
        "runs-movbe",
        bit(one.ecx, 22),
        instruction!("movbe {r}, [{p}]", r = out(reg) _, p = in(reg) at),
    );
    runs(checks, "runs-popcnt", bit(one.ecx, 23), instruction!("popcnt {r}, {r}", r = out(reg) _));
    runs(checks, "runs-aes", bit(one.ecx, 25), instruction!("aesenc xmm0, xmm0"));
    runs(
        checks,
        "runs-xsave",
        bit(one.ecx, 26),
        instruction!("xsave64 [{p}]", p = in(reg) at, in("eax") 3, in("edx") 0),
    );
    runs(checks, "runs-rdrand", bit(one.ecx, 30), instruction!("rdrand {r}", r = out(reg) _));
    runs(checks, "runs-fsgsbase", bit(seven.ebx, 0), instruction!("rdgsbase {r}", r = out(reg) _));
    runs(checks, "runs-bmi1", bit(seven.ebx, 3), instruction!("andn {r}, {r}, {r}", r = out(reg) _));
    runs(checks, "runs-bmi2", bit(seven.ebx, 8), instruction!("rorx {r}, {r}, 1", r = out(reg) _));
    runs(
        checks,
        "runs-erms",
        bit(seven.ebx, 9),
        instruction!("rep stosb", inout("rdi") at => _, inout("rcx") 8_u64 => _, in("al") 0_u8),
    );
    runs(checks, "runs-rdseed", bit(seven.ebx, 18), instruction!("rdseed {r}", r = out(reg) _));
    runs(checks, "runs-adx", bit(seven.ebx, 19), instruction!("adcx {r}, {r}", r = out(reg) _));
    runs(checks, "runs-smap", bit(seven.ebx, 20), instruction!("clac"));
    runs(checks, "runs-clflushopt", bit(seven.ebx, 23), instruction!("clflushopt [{p}]", p = in(reg) at));
    runs(checks, "runs-clwb", bit(seven.ebx, 24), instruction!("clwb [{p}]", p = in(reg) at));
    runs(checks, "runs-sha", bit(seven.ebx, 29), instruction!("sha1nexte xmm0, xmm0"));
    runs(checks, "runs-rdpid", bit(seven.ecx, 22), instruction!("rdpid {r}", r = out(reg) _));
    runs(checks, "runs-lahf", bit(extended.ecx, 0), instruction!("lahf", out("rax") _));
    runs(checks, "runs-lzcnt", bit(extended.ecx, 5), instruction!("lzcnt {r}, {r}", r = out(reg) _));
    runs(checks, "runs-sse4a", bit(extended.ecx, 6), instruction!("movntss [{p}], xmm0", p = in(reg) at));
    runs(checks, "runs-prefetchw", bit(extended.ecx, 8), instruction!("prefetchw [{p}]", p = in(reg) at));
    runs(
        checks,
        "runs-rdtscp",
        bit(extended.edx, 27),
        instruction!("rdtscp", out("eax") _, out("edx") _, out("ecx") _),
    );
    // Not shown, and not to be had: a guest has no monitor and no virtualization.
    checks.check("no-svm", !bit(extended.ecx, 2) || cpu::is_bare_emulator(), format_args!("it is shown"));
}

fn xsetbv(value: u32) {
    // SAFETY: components that CPUID shows.
    _ = unsafe { probe!("xsetbv", in("ecx") 0, in("eax") value, in("edx") 0) };
}

fn vector_sets(checks: &mut Checks) {
    let components = leaf(0xd).eax;
    xsetbv(components & 7);
    let (one, seven) = (leaf(1), leaf(7));
    runs(checks, "runs-avx", bit(one.ecx, 28), instruction!("vxorps ymm0, ymm0, ymm0"));
    runs(checks, "runs-fma", bit(one.ecx, 12), instruction!("vfmadd132ps ymm0, ymm0, ymm0"));
    runs(checks, "runs-f16c", bit(one.ecx, 29), instruction!("vcvtph2ps ymm0, xmm0"));
    runs(checks, "runs-avx2", bit(seven.ebx, 5), instruction!("vpaddd ymm0, ymm0, ymm0"));
    runs(checks, "runs-vaes", bit(seven.ecx, 9), instruction!("vaesenc ymm0, ymm0, ymm0"));
    runs(checks, "runs-vpclmulqdq", bit(seven.ecx, 10), instruction!("vpclmulqdq ymm0, ymm0, ymm0, 0"));
    xsetbv(3);
}
