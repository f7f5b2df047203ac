//! What an emulated computer is made of, and how that is said to QEMU.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{Accel, Emulator, Error, Firmware, QEMU, Transcript, qmp};

/// Whose processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Vendor {
    /// AMD, with AMD-V.
    Amd,
    /// Intel, with VT-x.
    Intel,
}

/// How the disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Disk {
    /// A virtio block device.
    Virtio,
    /// An NVMe controller.
    Nvme,
}

/// What follows when the computer's software asks for a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReset {
    /// The computer starts again, as a real one does.
    Restart,
    /// The run ends with [`super::Ending::Reset`].
    End,
}

/// Whether the computer waits for a debugger before its first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debugger {
    /// No debugger.
    None,
    /// Waits for gdb on TCP port 1234.
    Wait,
}

/// What makes the computer's clock tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The host's clock.
    Host,
    /// Executed instructions, 32 ns each: this computer's speed does not matter. One CPU, translator only.
    Instructions,
    /// Executed instructions, 1 ns each: as fast as a real computer, so that timers tick as often as there. Firmware, which
    /// waits a lot, takes minutes.
    FastInstructions,
}

impl Time {
    /// The binary logarithm of the nanoseconds that an instruction takes, where instructions count.
    const fn instruction_shift(self) -> Option<u8> {
        match self {
            Self::Host => None,
            Self::Instructions => Some(5),
            Self::FastInstructions => Some(0),
        }
    }
}

/// A computer, not yet powered on.
pub struct Machine {
    disk_image: PathBuf,
    disk: Disk,
    memory_mib: u32,
    cpus: u32,
    vendor: Vendor,
    accel: Accel,
    time: Time,
    on_reset: OnReset,
    debugger: Debugger,
    extra: Vec<String>,
    copy: Option<Box<dyn Write + Send>>,
}

impl Machine {
    /// One AMD processor, 1 GiB of memory, `disk_image` on virtio, executed by the translator, ending at reset.
    #[must_use]
    pub fn new(disk_image: impl Into<PathBuf>) -> Self {
        Self {
            disk_image: disk_image.into(),
            disk: Disk::Virtio,
            memory_mib: 1024,
            cpus: 1,
            vendor: Vendor::Amd,
            accel: Accel::Tcg,
            time: Time::Host,
            on_reset: OnReset::End,
            debugger: Debugger::None,
            extra: Vec::new(),
            copy: None,
        }
    }

    /// How the disk is attached.
    #[must_use]
    pub fn disk(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }

    /// Memory, in MiB.
    #[must_use]
    pub fn memory_mib(self, memory_mib: u32) -> Self {
        Self { memory_mib, ..self }
    }

    /// Number of processors.
    #[must_use]
    pub fn cpus(self, cpus: u32) -> Self {
        Self { cpus, ..self }
    }

    /// Whose processors.
    #[must_use]
    pub fn vendor(self, vendor: Vendor) -> Self {
        Self { vendor, ..self }
    }

    /// Who executes the instructions.
    #[must_use]
    pub fn accel(self, accel: Accel) -> Self {
        Self { accel, ..self }
    }

    /// What makes the clock tick.
    #[must_use]
    pub fn time(self, time: Time) -> Self {
        Self { time, ..self }
    }

    /// What follows a reset.
    #[must_use]
    pub fn on_reset(self, on_reset: OnReset) -> Self {
        Self { on_reset, ..self }
    }

    /// Whether to wait for a debugger.
    #[must_use]
    pub fn debugger(self, debugger: Debugger) -> Self {
        Self { debugger, ..self }
    }

    /// More arguments for QEMU, after all others.
    #[must_use]
    pub fn qemu_args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Self {
        self.extra.extend(args.into_iter().map(Into::into));
        self
    }

    /// Also writes all that appears on the serial line to `copy`, as it comes.
    #[must_use]
    pub fn copy_serial_to(self, copy: impl Write + Send + 'static) -> Self {
        Self { copy: Some(Box::new(copy)), ..self }
    }

    /// Powers the computer on.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a combination that QEMU cannot do, and what else keeps it from starting.
    pub fn start(self) -> Result<Emulator, Error> {
        self.check()?;
        let firmware = Firmware::find()?;
        let scratch = tempfile::Builder::new()
            .prefix("cofferdam-")
            .tempdir()
            .map_err(|source| Error::Scratch { path: std::env::temp_dir(), source })?;
        let vars = scratch.path().join("vars.fd");
        std::fs::copy(&firmware.vars, &vars)
            .map_err(|source| Error::Scratch { path: firmware.vars.clone(), source })?;
        let socket = scratch.path().join("qmp");
        let monitor = qmp::Monitor::listen(&socket)
            .map_err(|source| Error::Scratch { path: socket.clone(), source })?;

        let mut child = Command::new(QEMU)
            .args(self.arguments(&firmware, &vars, &socket))
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Start { source })?;
        let transcript = Arc::new(Transcript::default());
        let missing_pipe = || Error::Start { source: std::io::ErrorKind::BrokenPipe.into() };
        let stdin = child.stdin.take().ok_or_else(missing_pipe)?;
        transcript.follow_serial(child.stdout.take().ok_or_else(missing_pipe)?, self.copy);
        transcript.follow_stderr(child.stderr.take().ok_or_else(missing_pipe)?);
        Ok(Emulator {
            child,
            input: Arc::new(Mutex::new(stdin)),
            transcript,
            monitor,
            seen: 0,
            ending: None,
            _scratch: scratch,
        })
    }

    /// Refuses what QEMU cannot do, in our words instead of its. [`Self::start`] does so too.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn check(&self) -> Result<(), Error> {
        if self.vendor == Vendor::Intel {
            let what = "`--cpu intel` comes with VT-x support, which this version does not have yet: use `--cpu amd`";
            return Err(Error::Unsupported { what: what.into() });
        }
        if self.time != Time::Host && self.accel != Accel::Tcg {
            let what = "counting instructions needs the translator: use `--accel tcg`";
            return Err(Error::Unsupported { what: what.into() });
        }
        Ok(())
    }

    /// The command line.
    fn arguments(
        &self,
        firmware: &Firmware,
        vars: &std::path::Path,
        socket: &std::path::Path,
    ) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
        add(&["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"]);
        match self.accel {
            // QEMU 10.0 ends with "Bad icount read" at an access to a timer through an x2APIC register.
            // There an iteration of REP is an instruction: kernels are to choose the widest.
            Accel::Tcg if self.time == Time::FastInstructions => {
                add(&["-accel", "tcg", "-cpu", "max,-x2apic,-erms,-fsrm,-fzrm,-fsrs"]);
            }
            Accel::Tcg if self.time != Time::Host => add(&["-accel", "tcg", "-cpu", "max,-x2apic"]),
            Accel::Tcg => add(&["-accel", "tcg", "-cpu", "max"]),
            Accel::Kvm => add(&["-accel", "kvm", "-cpu", "host"]),
        }
        add(&["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.memory_mib)]);
        add(&["-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line"]);
        add(&["-qmp", &format!("unix:{}", option_value(socket))]);
        add(&[
            "-drive",
            &format!("if=pflash,unit=0,format=raw,readonly=on,file={}", option_value(&firmware.code)),
            "-drive",
            &format!("if=pflash,unit=1,format=raw,file={}", option_value(vars)),
            // Changes go to a scratch file: runs repeat, and may share the image.
            "-drive",
            &format!("if=none,id=disk,format=raw,snapshot=on,file={}", option_value(&self.disk_image)),
        ]);
        match self.disk {
            Disk::Virtio => add(&["-device", "virtio-blk-pci,drive=disk"]),
            Disk::Nvme => add(&["-device", "nvme,drive=disk,serial=cofferdam"]),
        }
        if let Some(shift) = self.time.instruction_shift() {
            add(&["-icount", &format!("shift={shift},sleep=off")]);
            add(&["-rtc", "base=2000-01-01,clock=vm", "-seed", "1"]);
        }
        if self.on_reset == OnReset::End {
            add(&["-no-reboot"]);
        }
        if self.debugger == Debugger::Wait {
            add(&["-S", "-gdb", "tcp:127.0.0.1:1234"]);
        }
        args.extend(self.extra.iter().map(OsString::from));
        args
    }
}

/// A path inside a comma-separated option: QEMU wants each comma doubled.
fn option_value(path: &std::path::Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn words(machine: &Machine) -> Vec<String> {
        let firmware = Firmware { code: "/code".into(), vars: "/vars".into() };
        let args = machine.arguments(&firmware, Path::new("/run/vars"), Path::new("/run/qmp"));
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
    fn an_intel_processor_is_refused_with_the_reason() {
        let error = Machine::new("d").vendor(Vendor::Intel).check().unwrap_err().to_string();
        assert!(error.contains("VT-x"), "{error}");
    }

    #[test]
    fn counting_instructions_is_refused_with_nested_virtualization() {
        assert!(Machine::new("d").time(Time::Instructions).accel(Accel::Kvm).check().is_err());
        assert!(Machine::new("d").time(Time::Instructions).check().is_ok());
    }
}
