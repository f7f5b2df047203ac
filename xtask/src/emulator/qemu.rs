//! QEMU as the emulator: AMD-V by its translator, either vendor's virtualization by nested KVM.
//!
//! The serial line is its standard input and output; how the machine ended is told by its machine protocol.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::machine::Start;
use super::{
    Accel, Cable, Debugger, Disk, Emulator, Ending, Error, Firmware, Machine, Network, OnReset, Program,
    Time, Transcript, Translations, Vendor, Virtualization, qmp,
};

/// The program; found through `PATH`.
pub const QEMU: &str = "qemu-system-x86_64";

/// The network behind the computer's NIC.
const OUTSIDE: &str = "outside";

/// An option of QEMU's user-mode network: a station, 10.0.2.100, that sends back what comes to its TCP port 7. It needs
/// nothing outside of this computer.
pub const ECHO: &str = "guestfwd=tcp:10.0.2.100:7-cmd:cat";

/// The shift of `-icount`: the binary logarithm of the nanoseconds that an instruction takes, where instructions count.
const fn instruction_shift(time: Time) -> Option<u8> {
    match time {
        Time::Host => None,
        Time::Instructions => Some(5),
        Time::FastInstructions => Some(0),
    }
}

/// What QEMU cannot do of what `machine` asks for.
pub fn refusal(machine: &Machine) -> Option<&'static str> {
    let is_translated = machine.executor() == Accel::Tcg;
    if machine.vendor == Vendor::Intel && is_translated {
        return Some("QEMU's translator has no VT-x: leave `--accel` out, or use `--accel bochs`");
    }
    if machine.time != Time::Host && !is_translated {
        return Some("counting instructions needs the translator: use `--accel tcg`");
    }
    if machine.disk == Some(Disk::Ata) {
        return Some("the disk of QEMU's computer is virtio or nvme: use `--disk virtio`");
    }
    if machine.translations == Translations::Kept {
        return Some("only Bochs can keep translations: use `--cpu intel`");
    }
    if machine.model.is_some() || !machine.excluded.is_empty() {
        return Some("processor models are Bochs': use `--cpu intel --accel bochs`");
    }
    if machine.virtualization == Virtualization::LockedOff {
        return Some("only on Bochs does firmware lock VT-x: use `--cpu intel --accel bochs`");
    }
    if matches!(machine.start, Start::Bare(_)) {
        return Some("only Bochs starts a program without firmware: use `--accel bochs`");
    }
    None
}

/// Starts it.
pub fn start(mut machine: Machine, scratch: tempfile::TempDir) -> Result<Emulator, Error> {
    let firmware = Firmware::find()?;
    let vars = scratch.path().join("vars.fd");
    std::fs::copy(&firmware.vars, &vars)
        .map_err(|source| Error::Scratch { path: firmware.vars.clone(), source })?;
    let socket = scratch.path().join("qmp");
    let monitor =
        qmp::Monitor::listen(&socket).map_err(|source| Error::Scratch { path: socket.clone(), source })?;

    let failed = |source| Error::Start { program: QEMU, source };
    let mut child = Command::new(QEMU)
        .args(arguments(&machine, &firmware, &vars, &socket))
        .env("TMPDIR", scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let transcript = Arc::new(Transcript::default());
    let missing_pipe = || failed(std::io::ErrorKind::BrokenPipe.into());
    let input = child.stdin.take().ok_or_else(missing_pipe)?;
    transcript.follow_serial(child.stdout.take().ok_or_else(missing_pipe)?, machine.copy.take());
    transcript.follow_stderr(child.stderr.take().ok_or_else(missing_pipe)?);
    Ok(Emulator::new(child, input, transcript, Box::new(Qemu { monitor }), scratch))
}

/// A started QEMU.
struct Qemu {
    monitor: qmp::Monitor,
}

impl Program for Qemu {
    fn name(&self) -> &'static str {
        QEMU
    }

    fn set_cable(&mut self, cable: Cable) -> std::io::Result<()> {
        self.monitor.set_cable(OUTSIDE, cable)
    }

    fn ending(&mut self, status: ExitStatus, transcript: &Transcript) -> Ending {
        match self.monitor.shutdown_reason(Duration::from_secs(2)).as_deref() {
            Some("guest-shutdown") => Ending::PoweredOff,
            Some("guest-reset") => Ending::Reset,
            reason => {
                let reason = reason.map(|r| format!(", reason {r}")).unwrap_or_default();
                let words = transcript.stderr();
                Ending::Failed {
                    what: format!("{QEMU} ended with {status}{reason}\n{words}").trim().to_string(),
                }
            }
        }
    }
}

/// The command line.
fn arguments(machine: &Machine, firmware: &Firmware, vars: &Path, socket: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
    add(&["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"]);
    match machine.executor() {
        // QEMU 10.0 ends with "Bad icount read" at an access to a timer through an x2APIC register.
        // There an iteration of REP is an instruction: kernels are to choose the widest.
        Accel::Tcg if machine.time == Time::FastInstructions => {
            add(&["-accel", "tcg", "-cpu", "max,-x2apic,-erms,-fsrm,-fzrm,-fsrs"]);
        }
        Accel::Tcg if machine.time != Time::Host => add(&["-accel", "tcg", "-cpu", "max,-x2apic"]),
        Accel::Tcg => add(&["-accel", "tcg", "-cpu", "max"]),
        _ => add(&["-accel", "kvm", "-cpu", "host"]),
    }
    add(&["-smp", &machine.cpus.to_string(), "-m", &format!("{}M", machine.memory_mib)]);
    add(&["-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line"]);
    add(&["-qmp", &format!("unix:{}", option_value(socket))]);
    add(&[
        "-drive",
        &format!("if=pflash,unit=0,format=raw,readonly=on,file={}", option_value(&firmware.code)),
        "-drive",
        &format!("if=pflash,unit=1,format=raw,file={}", option_value(vars)),
    ]);
    if let Start::Disk(image) = &machine.start {
        // Changes go to a scratch file: runs repeat, and may share the image.
        let drive = format!("if=none,id=disk,format=raw,snapshot=on,file={}", option_value(image));
        add(&["-drive", &drive]);
    }
    match machine.disk {
        Some(Disk::Nvme) => add(&["-device", "nvme,drive=disk,serial=cofferdam"]),
        _ => add(&["-device", "virtio-blk-pci,drive=disk"]),
    }
    let user_network = match machine.network {
        Network::None => None,
        Network::Outside => Some(format!("user,id={OUTSIDE}")),
        Network::Closed => Some(format!("user,id={OUTSIDE},restrict=on,{ECHO}")),
    };
    if let Some(user_network) = user_network {
        // Firmware has a driver: no ROM, which would be one more package to install.
        let nic = format!("virtio-net-pci,netdev={OUTSIDE},romfile=");
        add(&["-netdev", &user_network, "-device", &nic]);
    }
    if let Some(shift) = instruction_shift(machine.time) {
        add(&["-icount", &format!("shift={shift},sleep=off")]);
        add(&["-rtc", "base=2000-01-01,clock=vm", "-seed", "1"]);
    }
    if machine.on_reset == OnReset::End {
        add(&["-no-reboot"]);
    }
    if machine.debugger == Debugger::Wait {
        add(&["-S", "-gdb", "tcp:127.0.0.1:1234"]);
    }
    args.extend(machine.extra.iter().map(OsString::from));
    args
}

/// A path inside a comma-separated option: QEMU wants each comma doubled.
fn option_value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(machine: &Machine) -> Vec<String> {
        let firmware = Firmware { code: "/code".into(), vars: "/vars".into() };
        let args = arguments(machine, &firmware, Path::new("/run/vars"), Path::new("/run/qmp"));
        args.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn a_comma_in_a_path_is_doubled() {
        let words = words(&Machine::new("/a,b.img"));
        assert!(words.iter().any(|word| word.ends_with("file=/a,,b.img")), "{words:?}");
    }

    #[test]
    fn reset_ends_the_run_unless_told_otherwise() {
        assert!(words(&Machine::new("d")).contains(&"-no-reboot".to_string()));
        assert!(!words(&Machine::new("d").on_reset(OnReset::Restart)).contains(&"-no-reboot".to_string()));
    }

    #[test]
    fn extra_arguments_come_last() {
        let words = words(&Machine::new("d").qemu_args(["-trace", "x"]));
        assert_eq!(words.last().unwrap(), "x");
    }

    #[test]
    fn a_nic_is_there_only_when_the_computer_is_on_a_network() {
        let has_nic =
            |machine: &Machine| words(machine).iter().any(|word| word.starts_with("virtio-net-pci"));
        assert!(!has_nic(&Machine::new("d")));
        assert!(has_nic(&Machine::new("d").network(Network::Outside)));
        let closed = words(&Machine::new("d").network(Network::Closed));
        assert!(closed.iter().any(|word| word.contains("restrict=on")), "{closed:?}");
    }

    #[test]
    fn an_intel_processor_is_refused_by_the_translator_alone() {
        let intel = || Machine::new("d").vendor(Vendor::Intel);
        let error = intel().accel(Accel::Tcg).check().unwrap_err().to_string();
        assert!(error.contains("VT-x"), "{error}");
        assert!(intel().accel(Accel::Kvm).check().is_ok());
        assert!(words(&intel().accel(Accel::Kvm)).windows(2).any(|pair| pair == ["-cpu", "host"]));
    }

    #[test]
    fn counting_instructions_is_refused_with_nested_virtualization() {
        assert!(Machine::new("d").time(Time::Instructions).accel(Accel::Kvm).check().is_err());
        assert!(Machine::new("d").time(Time::Instructions).check().is_ok());
    }

    #[test]
    fn what_only_bochs_has_is_refused_with_a_remedy() {
        let refused = [
            Machine::new("d").disk(Disk::Ata),
            Machine::new("d").translations(Translations::Kept),
            Machine::new("d").model(super::super::Model::Haswell),
            Machine::new("d").virtualization(Virtualization::LockedOff),
        ];
        for machine in refused {
            let text = machine.check().unwrap_err().to_string();
            assert!(text.contains("use `"), "{text}");
        }
    }
}
