//! Unmodified Debian kernels, from power-on to a shell and off again.

use crate::{BOOT, STEP, line};
use anyhow::{Context, Result, ensure};
use xtask::emulator::{Emulator, Machine, Model};
use xtask::guest::{Architecture, Kernel};
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("linux_6_12_boots_from_elf_to_a_shell_and_powers_off", |lab| shell(lab, Kernel::V6_12, Form::Elf)),
    quick("linux_6_12_boots_from_bzimage_to_a_shell_and_powers_off", |lab| {
        shell(lab, Kernel::V6_12, Form::BzImage)
    }),
    quick("linux_6_1_boots_from_elf_to_a_shell_and_powers_off", |lab| shell(lab, Kernel::V6_1, Form::Elf)),
    quick("linux_6_1_boots_from_bzimage_to_a_shell_and_powers_off", |lab| {
        shell(lab, Kernel::V6_1, Form::BzImage)
    }),
    intel("linux_6_12_boots_to_a_shell_without_apicv", |lab| without_apicv(lab, Kernel::V6_12)),
    intel("linux_6_1_boots_to_a_shell_without_apicv", |lab| without_apicv(lab, Kernel::V6_1)),
    intel("linux_6_12_boots_to_a_shell_on_a_processor_without_apicv", |lab| {
        on_ivy_bridge(lab, Kernel::V6_12)
    }),
    intel("linux_6_1_boots_to_a_shell_on_a_processor_without_apicv", |lab| on_ivy_bridge(lab, Kernel::V6_1)),
    quick("linux_on_the_virtio_console_gets_the_operators_keys_there", virtio_console),
    quick("linux_6_1_of_32_bits_boots_to_a_shell_and_powers_off", shell_of_32_bits),
    quick("a_reset_restarts_the_vm_or_ends_it_as_configured", reset),
    quick("a_guest_panic_that_reboots_ends_only_its_vm", panic_ends_the_vm),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Both, run }
}

const fn intel(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Intel("APICv is VT-x's"), run }
}

/// What Linux says of firmware, tables or a processor that is not in order. Two patterns: a line of more than 80
/// characters would come back in two.
const COMPLAINTS: [&str; 2] =
    ["(firmware|bios) (bug|error)|unchecked|call trace", "acpi (bios )?(bug|error|warning|exception)"];

/// What the configuration names as kernel.
#[derive(Clone, Copy)]
enum Form {
    Elf,
    BzImage,
}

/// The configuration of one Linux VM; `extra` is more lines of its table.
pub fn config(extra: &str) -> String {
    format!(
        "[host]\nwhen_idle = \"poweroff\"\nattach = \"demo\"\n\n[[vm]]\nname = \"demo\"\nmemory = \"256M\"\n\
         kernel = \"kernel\"\ninitrd = \"initramfs.cpio\"\n{extra}\n"
    )
}

/// Boots `kernel` and waits for its prompt.
pub fn boot(lab: &Lab, kernel: Vec<u8>, extra: &str) -> Result<Emulator> {
    boot_on(lab, kernel, extra, |machine| machine)
}

/// As [`boot`], on a computer that `change` has made.
pub fn boot_on(
    lab: &Lab,
    kernel: Vec<u8>,
    extra: &str,
    change: impl FnOnce(Machine) -> Machine,
) -> Result<Emulator> {
    let mut contents = lab.contents(&config(extra))?;
    contents.add("kernel", kernel);
    contents.add("initramfs.cpio", lab.initramfs()?);
    let mut emulator = lab.start(change(lab.machine(&lab.image(&contents)?)))?;
    emulator.expect("demo:~# ", BOOT)?;
    Ok(emulator)
}

/// Runs a command in the guest's shell and returns what it printed.
pub fn command(emulator: &mut Emulator, line: &str) -> Result<String> {
    emulator.send(&format!("{line}\n"))?;
    // The terminal echoes the line before the shell runs it.
    emulator.expect("\n", STEP)?;
    Ok(emulator.expect("demo:~# ", STEP)?)
}

/// Linux has read the ACPI tables, and has nothing to say against what it was given.
fn no_complaints(emulator: &mut Emulator) -> Result<()> {
    for complaint in COMPLAINTS {
        let complaints = command(emulator, &format!("dmesg | grep -iE '{complaint}'"))?;
        ensure!(complaints.trim().is_empty(), "Linux complains: {complaints}");
    }
    let tables = command(emulator, "dmesg | grep -c 'ACPI: FACP'")?;
    ensure!(tables.trim() == "1", "Linux has read no ACPI tables");
    Ok(())
}

fn shell(lab: &Lab, kernel: Kernel, form: Form) -> Result<()> {
    let file = match form {
        Form::Elf => lab.vmlinux(kernel)?,
        Form::BzImage => lab.bzimage(kernel)?,
    };
    let mut emulator = boot(lab, file, "cmdline = \"console=ttyS0\"")?;

    let release = command(&mut emulator, "uname -r")?;
    ensure!(release.starts_with(&format!("{}.", kernel.series())), "uname -r says {release:?}");
    let sum = command(&mut emulator, "echo $((6 * 7))")?;
    ensure!(sum.trim() == "42", "the shell computes {sum:?}");
    let hypervisor = command(&mut emulator, "grep -c hypervisor /proc/cpuinfo")?;
    ensure!(hypervisor.trim() == "1", "/proc/cpuinfo shows no hypervisor");
    let x2apic = command(&mut emulator, "dmesg | grep -c -i 'x2apic enabled'")?;
    ensure!(x2apic.trim() != "0", "Linux has not switched to x2APIC");
    let clocks =
        command(&mut emulator, "cat /sys/devices/system/clocksource/clocksource0/available_clocksource")?;
    ensure!(clocks.contains("kvm-clock"), "the clock sources are {clocks:?}");
    let memory = command(&mut emulator, "grep MemTotal /proc/meminfo")?;
    ensure!(memory.contains("kB"), "/proc/meminfo has {memory:?}");
    no_complaints(&mut emulator)?;
    let slept = command(&mut emulator, "sleep 1 && echo awake")?;
    ensure!(slept.trim() == "awake", "sleep says {slept:?}");

    line::power_off_guest(&mut emulator)
}

/// The processor could run the guest's local APIC, and the operator says no.
fn without_apicv(lab: &Lab, kernel: Kernel) -> Result<()> {
    let lab = lab.with_override("apicv=off")?;
    let file = lab.vmlinux(kernel)?;
    powers_off(&lab, boot(&lab, file, "cmdline = \"console=ttyS0\"")?)
}

/// The processor has no APICv.
fn on_ivy_bridge(lab: &Lab, kernel: Kernel) -> Result<()> {
    let change = |machine: Machine| machine.model(Model::IvyBridge);
    let file = lab.vmlinux(kernel)?;
    powers_off(lab, boot_on(lab, file, "cmdline = \"console=ttyS0\"", change)?)
}

/// The shell computes and the guest powers itself off; the hypervisor has told the log that no APICv is in force.
fn powers_off(lab: &Lab, mut emulator: Emulator) -> Result<()> {
    let sum = command(&mut emulator, "echo $((6 * 7))")?;
    ensure!(sum.trim() == "42", "the shell computes {sum:?}");
    line::power_off_guest(&mut emulator)?;
    let log = emulator.serial_log();
    let line = log.lines().find(|line| line.contains("virtualization: VT-x")).context("it is not VT-x")?;
    ensure!(!line.contains("apic-virtualization"), "{}: APICv is in force: {line}", lab.name());
    Ok(())
}

/// The serial line has no part in it: what is typed there, no shell reads.
fn virtio_console(lab: &Lab) -> Result<()> {
    let extra = "cmdline = \"console=hvc0\"\nconsole = \"virtio\"";
    let mut emulator = boot(lab, lab.vmlinux(Kernel::V6_12)?, extra)?;
    let terminal = command(&mut emulator, "tty")?;
    ensure!(terminal.trim() == "/dev/hvc0", "the shell is on {terminal:?}");
    let sum = command(&mut emulator, "echo $((6 * 7))")?;
    ensure!(sum.trim() == "42", "the shell computes {sum:?}");
    line::power_off_guest(&mut emulator)
}

fn shell_of_32_bits(lab: &Lab) -> Result<()> {
    let mut contents = lab.contents(&config("cmdline = \"console=ttyS0\""))?;
    contents.add("kernel", lab.bzimage(Kernel::V6_1I386)?);
    contents.add("initramfs.cpio", lab.initramfs_of(Architecture::I386)?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("demo:~# ", BOOT)?;
    let machine = command(&mut emulator, "uname -m")?;
    ensure!(machine.trim() == "i686", "uname -m says {machine:?}");
    let sum = command(&mut emulator, "echo $((6 * 7))")?;
    ensure!(sum.trim() == "42", "the shell computes {sum:?}");
    no_complaints(&mut emulator)?;
    line::power_off_guest(&mut emulator)
}

fn reset(lab: &Lab) -> Result<()> {
    let kernel = lab.vmlinux(Kernel::V6_12)?;
    let mut emulator = boot(lab, kernel.clone(), "cmdline = \"console=ttyS0\"\non_reset = \"restart\"")?;
    emulator.send("reboot -f\n")?;
    emulator.expect("Linux version 6.12", STEP)?;
    emulator.expect("demo:~# ", BOOT)?;
    emulator.send("poweroff -f\n")?;
    emulator.expect("vm demo: ended: powered off", STEP)?;

    let mut emulator = boot(lab, kernel, "cmdline = \"console=ttyS0\"\non_reset = \"end\"")?;
    emulator.send("reboot -f\n")?;
    emulator.expect("vm demo: ended: reset by the guest", STEP)?;
    line::await_power_off(&mut emulator)
}

fn panic_ends_the_vm(lab: &Lab) -> Result<()> {
    let kernel = lab.vmlinux(Kernel::V6_12)?;
    let mut emulator = boot(lab, kernel, "cmdline = \"console=ttyS0 panic=-1\"\non_reset = \"end\"")?;
    emulator.send("echo c > /proc/sysrq-trigger\n")?;
    emulator.expect("Kernel panic", STEP)?;
    emulator.expect("vm demo: ended: reset by the guest", STEP)?;
    line::await_power_off(&mut emulator)
}
