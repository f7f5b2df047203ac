//! Scenarios: an image in an emulator, driven over its serial line. Run by `cargo xtask test`.
//!
//! A scenario passes only when the guest, the hypervisor or boot has said what it promises on the serial line, and the
//! computer ended as it should. Times are limits against hanging, never a measure.

#![forbid(unsafe_code)]

mod acpi;
mod apics;
mod broken;
mod demo;
mod differences;
mod disks;
mod drives;
mod faults;
mod kernels;
mod line;
mod linux;
mod long;
mod networks;
mod operator;
mod power_cuts;
mod rebinding;
mod reference;
mod several;
mod tiny_guests;
mod translations;
mod uplinks;
mod virtio_net;

use std::process::ExitCode;
use std::time::Duration;
use xtask::scenario::{self, Scenario};

/// How long a guest, or firmware, may take to come up on a busy machine without hardware virtualization.
const BOOT: Duration = Duration::from_secs(240);
/// How long a guest may take for much work: to copy a folder, or to write file after file and wait for each.
const WORK: Duration = Duration::from_secs(240);
/// How long anything else may take.
const STEP: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    let broken = broken::all();
    let groups: [&[Scenario]; 20] = [
        acpi::SCENARIOS,
        apics::SCENARIOS,
        linux::SCENARIOS,
        kernels::SCENARIOS,
        tiny_guests::SCENARIOS,
        reference::SCENARIOS,
        translations::SCENARIOS,
        several::SCENARIOS,
        demo::SCENARIOS,
        disks::SCENARIOS,
        drives::SCENARIOS,
        power_cuts::SCENARIOS,
        networks::SCENARIOS,
        virtio_net::SCENARIOS,
        uplinks::SCENARIOS,
        rebinding::SCENARIOS,
        operator::SCENARIOS,
        &broken,
        faults::SCENARIOS,
        long::SCENARIOS,
    ];
    scenario::main(&groups.concat())
}
