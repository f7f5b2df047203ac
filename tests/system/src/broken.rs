//! Broken configurations, images, kernels and hosts: each gives its promised message, and nothing crashes.

use crate::{BOOT, STEP};
use anyhow::{Result, ensure};
use xtask::emulator::Ending;
use xtask::guest::Kernel;
use xtask::image::Contents;
use xtask::scenario::{Lab, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    // Found by boot: one line, and back to firmware.
    quick("broken_config_missing", |lab| {
        boot_refuses(lab, GOOD, |c| c.remove("cofferdam.toml"), &["cofferdam.toml"])
    }),
    quick("broken_config_syntax", |lab| boot_refuses(lab, "[host\n", |_| {}, &["cofferdam.toml:1:"])),
    quick("broken_config_unknown_key", |lab| {
        boot_refuses(lab, &format!("{GOOD}colour = \"red\"\n"), |_| {}, &["cofferdam.toml:8:1", "colour"])
    }),
    quick("broken_config_not_utf8", |lab| {
        boot_refuses(
            lab,
            GOOD,
            |c| c.add("cofferdam.toml", b"[host]\n\xff\xfe\n".to_vec()),
            &["cofferdam.toml:2:"],
        )
    }),
    quick("broken_kernel_missing", |lab| {
        boot_refuses(lab, GOOD, |c| c.remove("guest"), &["guest", "cofferdam.toml:7:"])
    }),
    quick("broken_kernel_empty", |lab| {
        boot_refuses(lab, GOOD, |c| c.add("guest", Vec::new()), &["guest", "empty"])
    }),
    quick("broken_hypervisor_missing", |lab| {
        boot_refuses(lab, GOOD, |c| c.remove("hypervisor.elf"), &["hypervisor.elf"])
    }),
    quick("broken_hypervisor_not_elf", |lab| {
        boot_refuses(
            lab,
            GOOD,
            |c| c.add("hypervisor.elf", b"MZ not an ELF".to_vec()),
            &["hypervisor.elf", "ELF"],
        )
    }),
    quick("broken_hypervisor_truncated", |lab| {
        boot_refuses(lab, GOOD, truncate_hypervisor, &["hypervisor.elf"])
    }),
    // Found by the kernel: the VM does not start, the host goes on.
    quick("broken_kernel_is_text", |lab| {
        vm_refused(lab, "16M", |c| c.add("guest", b"#!/bin/sh\n".repeat(400)), &["guest"])
    }),
    quick("broken_kernel_truncated", |lab| vm_refused(lab, "128M", truncated_linux, &["guest", "truncated"])),
    quick("broken_memory_larger_than_the_host", |lab| vm_refused(lab, "64G", |_| {}, &["memory"])),
    quick("broken_host_without_amd_v", no_amd_v),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, run }
}

/// A configuration that works.
const GOOD: &str =
    "[host]\nwhen_idle = \"poweroff\"\n\n[[vm]]\nname = \"good\"\nmemory = \"16M\"\nkernel = \"guest\"\n";

/// `config` with the tiny guest, changed by `damage`.
fn contents(lab: &Lab, config: &str, damage: impl Fn(&mut Contents)) -> Result<Contents> {
    let mut contents = lab.contents(config)?;
    contents.add("guest", lab.guest("port-io")?);
    damage(&mut contents);
    Ok(contents)
}

/// Boot says all of `words` in its one line, and the hypervisor never runs.
fn boot_refuses(lab: &Lab, config: &str, damage: impl Fn(&mut Contents), words: &[&str]) -> Result<()> {
    let image = lab.image(&contents(lab, config, damage)?)?;
    let mut emulator = lab.start(lab.machine(&image))?;
    emulator.expect("cofferdam boot ", BOOT)?;
    // Its progress is told in the same form; the message is the first line that says something else.
    let line = loop {
        emulator.expect("cofferdam: boot: ", STEP)?;
        let line = emulator.expect("\n", STEP)?;
        if !line.starts_with("read ") {
            break line;
        }
    };
    for word in words {
        ensure!(line.contains(word), "the message lacks {word:?}: {line}");
    }
    ensure!(!emulator.serial_log().contains("hypervisor ready"), "the hypervisor ran all the same");
    Ok(())
}

/// The hypervisor says why the VM cannot start, with all of `words`, and powers the idle host off.
fn vm_refused(lab: &Lab, memory: &str, damage: impl Fn(&mut Contents), words: &[&str]) -> Result<()> {
    let config = GOOD.replace("16M", memory);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents(lab, &config, damage)?)?))?;
    emulator.expect("vm good: cannot start: ", BOOT)?;
    let line = emulator.expect("\n", STEP)?;
    for word in words {
        ensure!(line.contains(word), "the message lacks {word:?}: {line}");
    }
    let ending = emulator.wait_exit(STEP)?;
    ensure!(ending == Ending::PoweredOff, "the host ended by {ending:?}");
    Ok(())
}

fn truncate_hypervisor(contents: &mut Contents) {
    let Some(bytes) = contents.get("hypervisor.elf") else { return };
    let half = bytes[..bytes.len() / 2].to_vec();
    contents.add("hypervisor.elf", half);
}

fn truncated_linux(contents: &mut Contents) {
    // The first MiB of a kernel: its headers promise more.
    if let Ok(mut kernel) = xtask::guest::vmlinux(Kernel::V6_12) {
        kernel.truncate(1 << 20);
        contents.add("guest", kernel);
    }
}

fn no_amd_v(lab: &Lab) -> Result<()> {
    let image = lab.image(&contents(lab, GOOD, |_| {})?)?;
    let mut emulator = lab.start(lab.machine(&image).qemu_args(["-cpu", "max,svm=off"]))?;
    emulator.expect("this CPU shows no AMD-V", BOOT)?;
    Ok(())
}
