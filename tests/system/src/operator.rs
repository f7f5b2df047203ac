//! What the operator does at the serial line.

use crate::{BOOT, STEP, line, linux};
use anyhow::{Result, anyhow, ensure};
use xtask::emulator::Emulator;
use xtask::guest::Kernel;
use xtask::image::Contents;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("the_escape_key_leads_to_the_shell_and_back", escape),
    quick("an_idle_host_stays_at_its_shell_until_powered_off", idle),
    Scenario {
        name: "host_cpus_tells_of_each_vulnerability_what_is_done",
        speed: Speed::Quick,
        on: On::Amd("it is a processor that only QEMU has"),
        run: vulnerabilities,
    },
    quick("what_is_neither_free_nor_a_guests_is_at_most_six_mebibytes", memory_overhead),
    quick("a_vm_that_does_not_start_by_itself_is_started_by_its_name", start),
    quick("keys_typed_during_boot_are_not_lost_and_nonsense_harms_nothing", nonsense),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Both, run }
}

fn escape(lab: &Lab) -> Result<()> {
    let mut emulator = linux::boot(lab, lab.vmlinux(Kernel::V6_12)?, "cmdline = \"console=ttyS0\"")?;
    line::to_shell(&mut emulator)?;
    emulator.send("help\r")?;
    let help = emulator.expect("cofferdam> ", STEP)?;
    for word in ["vm", "log", "host", "poweroff"] {
        ensure!(help.contains(word), "help does not name {word}: {help}");
    }
    emulator.send("vm list\r")?;
    let list = emulator.expect("cofferdam> ", STEP)?;
    ensure!(list.contains("demo") && list.contains("256M"), "vm list shows {list}");
    emulator.send("vm console nobody\r")?;
    emulator.expect("no VM is named \"nobody\"", STEP)?;
    emulator.send("log\r")?;
    emulator.expect("vm demo: started", STEP)?;
    emulator.send("host\r")?;
    emulator.expect("memory", STEP)?;
    emulator.send("vm console demo\r")?;
    emulator.expect("[console of demo", STEP)?;
    emulator.send("echo $((3 * 5))\n")?;
    emulator.expect("15", STEP)?;
    line::to_shell(&mut emulator)?;
    line::power_off_host(&mut emulator)
}

/// The most memory of a computer with 2 GiB and one guest that may be neither free nor the guest's.
const MOST_OVERHEAD_KIB: u64 = 6 * 1024;

/// The number between `before` and ` KiB` in `text`.
fn kib(text: &str, before: &str) -> Result<u64> {
    let number = text.split_once(before).and_then(|(_, rest)| rest.split_once(" KiB"));
    let number = number.and_then(|(number, _)| number.trim().parse().ok());
    number.ok_or_else(|| anyhow!("no number after {before:?} in {text}"))
}

fn memory_overhead(lab: &Lab) -> Result<()> {
    let config = "cmdline = \"console=ttyS0\"\non_reset = \"end\"";
    let kernel = lab.vmlinux(Kernel::V6_12)?;
    let mut emulator = linux::boot_on(lab, kernel, config, |machine| machine.memory_mib(2048))?;
    line::to_shell(&mut emulator)?;
    emulator.send("host mem\r")?;
    let memory = emulator.expect("cofferdam> ", STEP)?;
    let (ram, free) = (kib(&memory, "RAM ")?, kib(&memory, "\nfree ")?);
    let (guests, overhead) = (kib(&memory, "VMs ")?, kib(&memory, "overhead ")?);
    ensure!(guests == 256 * 1024, "the guest has {guests} KiB: {memory}");
    let others = kib(&memory, "free in pieces ")? + kib(&memory, "firmware ")?;
    ensure!(overhead == ram - free - guests - others, "the account does not add up: {memory}");
    // What has a name is counted by itself, so that this can differ.
    let named =
        ["image ", "frames in use ", "files kept for VMs ", "below 1 MiB ", "errors ", "left by boot "];
    let named = named.iter().map(|name| kib(&memory, name)).sum::<Result<u64>>()?;
    ensure!(named == overhead, "{named} KiB of {overhead} KiB have a name: {memory}");
    ensure!(overhead <= MOST_OVERHEAD_KIB, "{overhead} KiB are neither free nor the guest's: {memory}");
    ensure!(kib(&memory, "left by boot ")? == 0, "boot left something: {memory}");
    line::power_off_host(&mut emulator)
}

fn start(lab: &Lab) -> Result<()> {
    let config = "[[vm]]\nname = \"later\"\nmemory = \"16M\"\nkernel = \"guest\"\ndebug_exit = true\n\
                  on_reset = \"end\"\nautostart = false\n";
    let mut contents: Contents = lab.contents(config)?;
    contents.add("guest", lab.guest("port-io")?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("hypervisor ready", BOOT)?;
    emulator.send("vm list\r")?;
    emulator.expect("not started", STEP)?;
    emulator.send("vm start nobody\r")?;
    emulator.expect("no VM is named \"nobody\"", STEP)?;
    emulator.send("vm start later\r")?;
    emulator.expect("vm later: ended: debug exit", STEP)?;
    // Its kernel was given back when it had started.
    emulator.send("vm start later\r")?;
    emulator.expect("on_reset = \"restart\" keeps it", STEP)?;
    line::power_off_host(&mut emulator)
}

/// A host that stays at its shell after its only guest has ended.
fn staying(lab: &Lab) -> Result<Emulator> {
    let config = "[[vm]]\nname = \"ends\"\nmemory = \"16M\"\nkernel = \"guest\"\ndebug_exit = true\n";
    let mut contents: Contents = lab.contents(config)?;
    contents.add("guest", lab.guest("port-io")?);
    lab.start(lab.machine(&lab.image(&contents)?))
}

fn idle(lab: &Lab) -> Result<()> {
    let mut emulator = staying(lab)?;
    emulator.expect("vm ends: ended: debug exit", BOOT)?;
    emulator.send("vm list\r")?;
    emulator.expect("debug exit by the guest", STEP)?;
    line::power_off_host(&mut emulator)
}

/// QEMU's Zen 3 without features of its own against anything, on which the table counts.
const ZEN_3: &str = "EPYC-Milan,+svm";

fn vulnerabilities(lab: &Lab) -> Result<()> {
    let config = "[[vm]]\nname = \"later\"\nmemory = \"16M\"\nkernel = \"guest\"\nautostart = false\n";
    let mut contents: Contents = lab.contents(config)?;
    contents.add("guest", lab.guest("port-io")?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?).qemu_args(["-cpu", ZEN_3]))?;
    emulator.expect("hypervisor ready", BOOT)?;
    emulator.send("host cpus\r")?;
    // The prompt may come again before the answer: the log's last line redraws it.
    let cpus = emulator.expect("both exceptions leave the guest", STEP)?;
    let lines = [
        "CPU 0: AMD-V, 16 ASIDs",
        "AMD family 0x19 model 0x1 stepping 1",
        "Meltdown (CVE-2017-5754)               not affected",
        "MDS (CVE-2018-12126)                   not affected",
        "iTLB multihit (CVE-2018-12207)         not affected",
        "Zenbleed (CVE-2023-20593)              not affected",
        "SRSO (CVE-2023-20569)                  vulnerable: not stopped",
        "TSA (CVE-2024-36350)                   vulnerable: the microcode offers nothing",
        "#AC, #DB loops (CVE-2015-5307, -8104)",
    ];
    for line in lines {
        ensure!(cpus.contains(line), "`host cpus` does not say {line:?}: {cpus}");
    }
    line::power_off_host(&mut emulator)
}

fn nonsense(lab: &Lab) -> Result<()> {
    let mut emulator = staying(lab)?;
    // The hypervisor has the line now, and bring-up goes on.
    emulator.expect("booted by ", BOOT)?;
    emulator.send("vm list\r")?;
    emulator.expect("ends                                 16M", STEP)?;
    emulator.expect("vm ends: ended: debug exit", BOOT)?;

    // All byte values in an order of no meaning, among them NUL, the escape key and halves of characters.
    let every_byte: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let floods: [&[u8]; 5] =
        [&[0; 64], b"\x1b[6n\x1b[999A\x1b]0;x\x07\x1bOP\x1b[", &[b'a'; 1000], &[0x1d; 31], &every_byte];
    for flood in floods {
        type_bytes(&emulator, flood)?;
        // Whatever was left of an escape sequence and of a line ends, and the shell still answers.
        emulator.send("~\r\rvm list\r")?;
        emulator.expect("debug exit by the guest", STEP)?;
    }
    line::power_off_host(&mut emulator)
}

/// Types what is no text.
fn type_bytes(emulator: &Emulator, bytes: &[u8]) -> Result<()> {
    let input = emulator.input();
    let mut input = input.lock().map_err(|_| anyhow!("the line's input is poisoned"))?;
    input.write_all(bytes)?;
    Ok(input.flush()?)
}
