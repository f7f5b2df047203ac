//! Bochs as the emulator: VT-x on any computer, in software (docs/decisions/0010-bochs.md).
//!
//! ```text
//!   ROM            OVMF, or what enters a program without firmware (`bare`); with OVMF:
//!   first disk     our program that completes firmware (tests/firmware-tables); firmware then tries the
//!   second disk    image under test, as it is on a real machine's disk
//!   COM1           a connection to a socket of ours on the loopback interface
//! ```
//! Bochs ends with status 1 whatever has happened; how the computer ended is told by its last words on standard error. Where
//! a reset is to end the run, it is noticed by Bochs' log, which goes there too.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::machine::Start;
use super::{
    Bare, Debugger, Disk, Emulator, Ending, Error, Machine, Model, Network, OnReset, Program, Time,
    Transcript, Translations, Vendor, Virtualization, bare, firmware,
};
use crate::image::{self, Contents, Table};
use crate::{build, setup};

const NAME: &str = "bochs";

/// Instructions in a second of the computer's time, and ticks of its time-stamp counter.
const INSTRUCTIONS_PER_SECOND: u32 = 100_000_000;
const FAST_INSTRUCTIONS_PER_SECOND: u32 = 1_000_000_000;

/// Every run begins at the same time: 2000-01-01 00:00:00 UTC.
const START_TIME_S: u32 = 946_684_800;

/// How long Bochs may take to connect its serial line.
const CONNECT: Duration = Duration::from_secs(30);

/// What Bochs says as the computer switches its power off: by ACPI, or by Bochs' own port.
const POWER_OFF: [&str; 2] = ["ACPI control: soft power off", "Shutdown port: shutdown requested"];
/// What it says of a triple fault, where that is not to reset the computer.
const TRIPLE_FAULT: &str = "exception with no resolution";
/// What its log says of every reset, that at power-on included.
const RESET: &str = "bx_pc_system_c::Reset(";

impl Model {
    /// Its name in Bochs.
    const fn name(self) -> &'static str {
        match self {
            Self::SkylakeX => "corei7_skylake_x",
            Self::Haswell => "corei7_haswell_4770",
            Self::IvyBridge => "corei7_ivy_bridge_3770k",
            Self::Lynnfield => "corei5_lynnfield_750",
            Self::Penryn => "core2_penryn_t9600",
            Self::Prescott => "p4_prescott_celeron_336",
        }
    }
}

/// What Bochs cannot do of what `machine` asks for.
pub fn refusal(machine: &Machine) -> Option<&'static str> {
    if machine.vendor != Vendor::Intel {
        return Some("Bochs is the emulator for Intel's processors: use `--cpu intel`, or `--accel tcg`");
    }
    if !machine.extra.is_empty() {
        return Some("arguments for QEMU mean nothing to Bochs: leave `--qemu-args` out");
    }
    if machine.debugger == Debugger::Wait {
        return Some("Bochs cannot wait for gdb: use `--cpu amd` with `--debug`");
    }
    if machine.disk.is_some_and(|disk| disk != Disk::Ata) {
        return Some("Bochs has neither virtio nor NVMe: leave `--disk` out");
    }
    if machine.network != Network::None {
        return Some("our settings give Bochs no NIC: use `--cpu amd` for one");
    }
    None
}

/// Starts it.
pub fn start(mut machine: Machine, scratch: tempfile::TempDir) -> Result<Emulator, Error> {
    let folder =
        setup::bochs_folder().map_err(|error| Error::NotBuilt { what: format!("Bochs ({error:#})") })?;
    let started = match &machine.start {
        Start::Disk(image) => started_disks(image, machine.virtualization, scratch.path())?,
        Start::Bare(program) => started_program(program, scratch.path())?,
    };
    let failed = |source| Error::Start { program: NAME, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let settings = scratch.path().join("bochsrc");
    write(&settings, (configuration(&machine, &folder, port) + &started).as_bytes())?;

    let mut command = Command::new(setup::bochs_program(&folder));
    if machine.translations == Translations::Kept {
        command.env(setup::KEEP_TRANSLATIONS, "1");
    }
    let mut child = command
        // No menu; no lock file beside the images; our settings alone.
        .args(["-q", "-unlock", "-f"])
        .arg(&settings)
        .env("BXSHARE", folder.join("share/bochs"))
        .env("TMPDIR", scratch.path())
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let transcript = Arc::new(Transcript::default());
    let missing_pipe = || failed(std::io::ErrorKind::BrokenPipe.into());
    transcript.follow_stderr(child.stderr.take().ok_or_else(missing_pipe)?);
    let line = connected(&listener, &mut child, &transcript)?;
    transcript.follow_serial(line.try_clone().map_err(failed)?, machine.copy.take());
    let program = Box::new(Bochs { on_reset: machine.on_reset });
    Ok(Emulator::new(child, line, transcript, program, scratch))
}

/// Settings by which firmware starts from our disk, then from `image`. Changes go to scratch files: runs repeat, and may
/// share the image.
fn started_disks(image: &Path, virtualization: Virtualization, scratch: &Path) -> Result<String, Error> {
    let first = scratch.join("firmware.img");
    write_first_disk(&first, virtualization)?;
    let disk = |place: &str, path: &Path| {
        let (path, journal) = (path.display(), scratch.join(place));
        format!("{place}: type=disk, path=\"{path}\", mode=volatile, journal=\"{}\"\n", journal.display())
    };
    Ok(format!(
        "romimage: file=\"{}\"\n{}{}",
        firmware::find_small()?.display(),
        disk("ata0-master", &first),
        disk("ata0-slave", image),
    ))
}

/// Settings by which `program` starts at power-on.
fn started_program(program: &Bare, scratch: &Path) -> Result<String, Error> {
    let (rom, memory) = (scratch.join("rom"), scratch.join("memory"));
    write(&rom, &program.rom())?;
    write(&memory, &program.memory)?;
    Ok(format!(
        "romimage: file=\"{}\"\noptramimage1: file=\"{}\", address={:#x}\n",
        rom.display(),
        memory.display(),
        bare::ADDRESS
    ))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(|source| Error::Scratch { path: path.to_path_buf(), source })
}

/// Writes the disk with our program.
fn write_first_disk(out: &Path, virtualization: Virtualization) -> Result<(), Error> {
    let program = build::firmware_tables_path();
    let missing =
        |error: anyhow::Error| Error::NotBuilt { what: format!("the firmware's tables ({error:#})") };
    let mut contents = Contents::default();
    contents.files.insert(image::BOOT_LOADER.into(), crate::paths::read(&program).map_err(missing)?);
    if virtualization == Virtualization::LockedOff {
        contents.files.insert("LOCKVMX".into(), Vec::new());
    }
    image::write(&contents, Table::Mbr, out).map_err(missing)
}

/// The serial line, once Bochs has connected to it.
fn connected(listener: &TcpListener, child: &mut Child, transcript: &Transcript) -> Result<TcpStream, Error> {
    let failed = |source| Error::Start { program: NAME, source };
    let deadline = Instant::now() + CONNECT;
    listener.set_nonblocking(true).map_err(failed)?;
    loop {
        match listener.accept() {
            Ok((line, _)) => {
                line.set_nonblocking(false).and_then(|()| line.set_nodelay(true)).map_err(failed)?;
                return Ok(line);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed(error)),
        }
        let has_ended = child.try_wait().map_err(failed)?.is_some();
        if has_ended || Instant::now() >= deadline {
            // It has said all it had to say a moment before its end.
            std::thread::sleep(super::POLL);
            let _ = child.kill();
            let _ = child.wait();
            let words = transcript.stderr();
            let why = format!("its serial line was not connected within {} s\n{words}", CONNECT.as_secs());
            return Err(failed(std::io::Error::other(if has_ended { words } else { why })));
        }
        std::thread::sleep(super::POLL);
    }
}

/// Bochs' settings but for what is started (Bochs User Manual, "The configuration file bochsrc").
fn configuration(machine: &Machine, folder: &Path, port: u16) -> String {
    let model = machine.model.unwrap_or(Model::SkylakeX).name();
    let (ips, sync) = match machine.time {
        Time::Host => (INSTRUCTIONS_PER_SECOND, "slowdown"),
        Time::Instructions => (INSTRUCTIONS_PER_SECOND, "none"),
        Time::FastInstructions => (FAST_INSTRUCTIONS_PER_SECOND, "none"),
    };
    let mut excluded = machine.excluded.clone();
    if machine.cpus > 1 {
        // Firmware parks the others in MWAIT, which Bochs executes as a loop.
        excluded.push("mwait".into());
    }
    let excluded = if excluded.is_empty() {
        String::new()
    } else {
        format!(", exclude_features=\"{}\"", excluded.join(","))
    };
    let resets = u8::from(machine.on_reset == OnReset::Restart);
    // OVMF reads IA32_PLATFORM_ID, which Bochs does not have. Where firmware is not needed, unknown registers fault.
    let ignores_msrs = u8::from(matches!(machine.start, Start::Disk(_)));
    let (cpus, memory) = (machine.cpus, machine.memory_mib);
    let vga = folder.join("share/bochs/vgabios-cirrus.bin-1.13.0");
    let vga = vga.display();
    format!(
        "config_interface: textconfig\n\
         display_library: nogui\n\
         cpu: model={model}, count={cpus}, ips={ips}, reset_on_triple_fault={resets}, \
         ignore_bad_msrs={ignores_msrs}{excluded}\n\
         memory: guest={memory}, host={memory}\n\
         pci: enabled=1, chipset=i440fx\n\
         vga: extension=cirrus\n\
         vgaromimage: file=\"{vga}\"\n\
         boot: disk\n\
         com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}\n\
         clock: sync={sync}, time0={START_TIME_S}\n\
         panic: action=fatal\n\
         error: action=ignore\n\
         info: action=ignore, pc_system=report\n"
    )
}

/// A started Bochs.
struct Bochs {
    on_reset: OnReset,
}

impl Program for Bochs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn ending(&mut self, status: ExitStatus, transcript: &Transcript) -> Ending {
        ending_told(&transcript.stderr(), status)
    }

    fn ending_of_running(&self, transcript: &Transcript) -> Option<Ending> {
        let ends = self.on_reset == OnReset::End && has_been_reset(&transcript.stderr());
        ends.then_some(Ending::Reset)
    }
}

/// How a computer came to its end, by what Bochs said.
fn ending_told(words: &str, status: ExitStatus) -> Ending {
    if POWER_OFF.iter().any(|text| words.contains(text)) {
        return Ending::PoweredOff;
    }
    if words.contains(TRIPLE_FAULT) {
        return Ending::Reset;
    }
    Ending::Failed { what: format!("{NAME} ended with {status}\n{words}").trim().to_string() }
}

/// Whether the log tells of a reset after that at power-on.
fn has_been_reset(log: &str) -> bool {
    log.matches(RESET).count() > 1
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn settings(machine: &Machine) -> String {
        configuration(machine, Path::new("/b"), 4711)
    }

    fn intel() -> Machine {
        Machine::new("/disk.img").vendor(Vendor::Intel)
    }

    #[test]
    fn the_serial_line_is_a_connection_to_us() {
        assert!(settings(&intel()).contains("mode=socket-client, dev=127.0.0.1:4711\n"));
    }

    #[test]
    fn counted_instructions_run_free_of_the_hosts_clock() {
        assert!(settings(&intel()).contains("ips=100000000") && settings(&intel()).contains("sync=slowdown"));
        assert!(settings(&intel().time(Time::Instructions)).contains("sync=none"));
    }

    #[test]
    fn features_can_be_taken_away_and_several_processors_have_no_mwait() {
        assert!(!settings(&intel()).contains("exclude_features"));
        let text = settings(&intel().without_feature("pcid").cpus(2));
        assert!(text.contains("exclude_features=\"pcid,mwait\""), "{text}");
    }

    #[test]
    fn what_only_qemu_has_is_refused_with_a_remedy() {
        let refused = [
            intel().qemu_args(["-trace"]),
            intel().debugger(Debugger::Wait),
            intel().disk(Disk::Nvme),
            intel().network(Network::Closed),
            Machine::new("d").accel(super::super::Accel::Bochs),
        ];
        for machine in refused {
            let text = machine.check().unwrap_err().to_string();
            assert!(text.contains("use `") || text.contains("leave `"), "{text}");
        }
        assert!(intel().disk(Disk::Ata).cpus(4).check().is_ok());
    }

    #[test]
    fn endings_are_told_apart_by_bochs_last_words() {
        let told = |words| ending_told(words, ExitStatus::from_raw(1 << 8));
        assert_eq!(told("x[ACPI  ] ACPI control: soft power off\n"), Ending::PoweredOff);
        assert_eq!(told("exception(): 3rd (13) exception with no resolution"), Ending::Reset);
        assert!(matches!(told("no such file"), Ending::Failed { what } if what.contains("no such file")));
    }

    #[test]
    fn the_reset_at_power_on_is_none() {
        let log = "i[SYS   ] bx_pc_system_c::Reset(HARDWARE) called\n";
        assert!(!has_been_reset(log));
        assert!(has_been_reset(&log.repeat(2)));
    }
}
