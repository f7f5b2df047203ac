//! Kinds of kernels other than Linux: what each is told, printed by a tiny guest that is entered so.

use crate::BOOT;
use anyhow::{Result, ensure};
use std::time::Duration;
use xtask::emulator::Ending;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("multiboot_guest_gets_its_memory_map_and_modules", |lab| {
        told(lab, "multiboot", &["640 KiB below, 15360 KiB above 1 MiB", "loaded by \"Cofferdam\""])
    }),
    quick("pvh_guest_gets_its_memory_map_and_modules", |lab| told(lab, "pvh", &[])),
    quick("memtest_starts_by_linuxs_protocol", |lab| memtest(lab, &MEMTEST_BEGINS)),
    Scenario {
        name: "memtest_finishes_its_first_pass_without_errors",
        speed: Speed::Long,
        on: On::Both,
        run: |lab| memtest(lab, &MEMTEST_PASSES),
    },
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Both, run }
}

/// A VM with the kernel "guest", an initial RAM disk and two modules.
fn config(guest: &str) -> String {
    format!(
        "[host]\nwhen_idle = \"poweroff\"\nattach = \"{guest}\"\n\n[[vm]]\nname = \"{guest}\"\nmemory = \"16M\"\nkernel = \"guest\"\n\
         initrd = \"initrd\"\nmodules = [\"first one  two\", \"second\"]\ncmdline = \"quiet three=4\"\n\
         debug_exit = true\non_reset = \"end\"\n"
    )
}

/// Runs `guest` with its files to the end of its host and returns all that was on the serial line.
fn run(lab: &Lab, guest: &str, name: &str, last_words: &str) -> Result<String> {
    let mut contents = lab.contents(&config(name))?;
    contents.add("guest", lab.guest(guest)?);
    contents.add("initrd", vec![1; 10]);
    contents.add("first", vec![2; 5000]);
    contents.add("second", vec![3; 4096]);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect(last_words, BOOT)?;
    let ending = emulator.wait_exit(BOOT)?;
    ensure!(ending == Ending::PoweredOff, "the host ended by {ending:?}");
    Ok(emulator.serial_log())
}

/// Runs `guest`, whose own checks must pass, and which must print what it was given, and `more`.
fn told(lab: &Lab, guest: &str, more: &[&str]) -> Result<()> {
    let log = run(lab, guest, guest, &format!("vm {guest}: ended: "))?;
    let given = [
        "command line \"quiet three=4\"",
        "memory 0x0..0xa0000 type 1",
        "memory 0xa0000..0x100000 type 2",
        "memory 0x100000..0x1000000 type 1",
        "module 0 has 10 bytes of sum 10, \"\"",
        "module 1 has 5000 bytes of sum 10000, \"one  two\"",
        "module 2 has 4096 bytes of sum 12288, \"\"",
    ];
    for line in given.iter().chain(more) {
        ensure!(log.contains(&format!("guest: {line}\r")), "the guest did not say: {line}");
    }
    ensure!(!log.contains(": FAILED"), "a check of the guest failed");
    // It exits with 0 when all its checks have run and passed; the status is 2N+1.
    ensure!(
        log.contains(&format!("vm {guest}: ended: debug exit by the guest, status 1\r")),
        "another ending"
    );
    Ok(())
}

/// What memtest86+ shows on its serial console, and how long it may take to.
const MEMTEST_BEGINS: [(&str, Duration); 2] = [("Memtest86+", BOOT), ("Address test", BOOT)];
const MEMTEST_PASSES: [(&str, Duration); 2] =
    [("Memtest86+", BOOT), ("Pass:  1        Errors: 0", FIRST_PASS)];
/// One pass over a small memory on an emulated processor; two tests wait 80 seconds each.
const FIRST_PASS: Duration = Duration::from_secs(1800);

fn memtest(lab: &Lab, shows: &[(&str, Duration)]) -> Result<()> {
    let config = "[host]\nwhen_idle = \"poweroff\"\nattach = \"memtest\"\n\n[[vm]]\nname = \"memtest\"\n\
                  memory = \"16M\"\nkernel = \"memtest\"\ncmdline = \"console=ttyS0,115200\"\n";
    let mut contents = lab.contents(config)?;
    contents.add("memtest", lab.memtest()?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    for (text, limit) in shows {
        emulator.expect(text, *limit)?;
    }
    ensure!(!emulator.serial_log().contains("Fail"), "memtest86+ found errors");
    Ok(())
}
