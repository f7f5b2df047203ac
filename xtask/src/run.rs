//! `cargo xtask run`: a machine with the hypervisor, in front of a person or of a script.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::build::Hypervisor;
use crate::emulator::{
    Accel, Debugger, Disk, Emulator, Ending, Machine, Model, Network, OnReset, Time, Vendor,
};
use crate::image::{self, Kernels, Request, Table};
use crate::setup::{self, Need};
use crate::{build, demo, paths, terminal};

/// How often the run's end, its deadline and signals are looked at.
const POLL: Duration = Duration::from_millis(50);

/// What to run and how.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Configuration to boot [default: a demo with a Debian guest, a disk and a network]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For scripts: the serial line on stdout, input from stdin; status 0 only if the host powered itself off
    #[arg(long)]
    headless: bool,
    /// Give up after so many seconds, with status 1
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Whose processors the machine has
    #[arg(long, value_enum, default_value = "amd")]
    cpu: Vendor,
    /// Number of processors
    #[arg(long, value_name = "N", default_value_t = 1)]
    smp: u32,
    /// Memory of the machine, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// What its disk is attached to [default: virtio, on Bochs ata]
    #[arg(long, value_enum)]
    disk: Option<Disk>,
    /// Who executes its instructions [default: nested KVM where there is one, else tcg for AMD and bochs for Intel]
    #[arg(long, value_enum)]
    accel: Option<Accel>,
    /// Which of Bochs' Intel processors it has [default: skylake-x]
    #[arg(long, value_enum)]
    model: Option<Model>,
    /// More arguments for QEMU, separated by blanks
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, default_value = "")]
    qemu_args: String,
    /// Wait for gdb before the first instruction, and say how to attach
    #[arg(long)]
    debug: bool,
    /// Let time be executed instructions, so that this computer's speed does not matter (slower)
    #[arg(long)]
    icount: bool,
    /// Store a bzImage as it is, instead of the kernel that it carries
    #[arg(long)]
    keep_bzimage: bool,
}

/// Builds, boots, and stays until the end.
///
/// # Errors
/// When something cannot be built or started, or the time is over.
pub fn command(options: &Options) -> Result<ExitCode> {
    // Before minutes of building.
    options.machine(PathBuf::new()).check()?;
    let interrupted = catch_signals()?;
    let config = match &options.config {
        Some(config) => {
            setup::ensure(&[Need::Toolchain, options.emulator()])?;
            config.clone()
        }
        None => {
            // At once: the lists of packages are then fetched once.
            setup::ensure(&Need::ALL)?;
            demo::prepare(options.network())?
        }
    };
    if options.accel() == Accel::Bochs {
        build::firmware_tables()?;
    }
    let kernels = if options.keep_bzimage { Kernels::Keep } else { Kernels::Unpack };
    let scratch = tempfile::Builder::new().prefix("cofferdam-run-").tempdir()?;
    let out = scratch.path().join("disk.img");
    let request = Request { config, out: out.clone(), table: Table::Gpt, kernels };
    let hypervisor = image::make(&request, build::hypervisor)?;

    eprintln!("The machine runs by {}; `--accel` chooses otherwise.", options.accel());
    if options.debug {
        explain_debugger(&hypervisor);
    }
    let machine = options.machine(out);
    let ending = match options.headless {
        true => options.for_a_script(machine, &interrupted),
        false => options.for_a_person(machine, &interrupted),
    };
    judge(ending?)
}

impl Options {
    fn machine(&self, disk_image: PathBuf) -> Machine {
        let time = if self.icount { Time::Instructions } else { Time::Host };
        let mut machine = Machine::new(disk_image)
            .vendor(self.cpu)
            .cpus(self.smp)
            .memory_mib(self.memory)
            .accel(self.accel())
            .network(self.network())
            .time(time)
            .debugger(if self.debug { Debugger::Wait } else { Debugger::None })
            .qemu_args(self.qemu_args.split_whitespace());
        if let Some(disk) = self.disk {
            machine = machine.disk(disk);
        }
        if let Some(model) = self.model {
            machine = machine.model(model);
        }
        machine
    }

    /// Who executes the instructions. What needs an emulator gets it, unless the person says otherwise.
    fn accel(&self) -> Accel {
        let needs_emulator = self.icount || self.model.is_some();
        let best = || if needs_emulator { Accel::emulating(self.cpu) } else { Accel::best(self.cpu) };
        self.accel.unwrap_or_else(best)
    }

    /// What network the machine is on: that of the emulator, where Cofferdam drives the emulator's NIC.
    fn network(&self) -> Network {
        if self.accel() == Accel::Bochs { Network::None } else { Network::Outside }
    }

    /// The emulator that must be there.
    fn emulator(&self) -> Need {
        if self.accel() == Accel::Bochs { Need::Bochs } else { Need::Emulator }
    }

    /// Runs with the standard streams as they are.
    fn for_a_script(&self, machine: Machine, interrupted: &AtomicBool) -> Result<Ending> {
        let mut emulator = machine.copy_serial_to(std::io::stdout()).start()?;
        terminal::forward_stdin(emulator.input());
        self.watch(&mut emulator, interrupted)
    }

    /// Runs with every key going to the machine; afterwards the terminal is as it was.
    fn for_a_person(&self, machine: Machine, interrupted: &Arc<AtomicBool>) -> Result<Ending> {
        explain_keys();
        let raw = terminal::Raw::enter()?;
        let screen = terminal::WithoutClearing::new(std::io::stdout());
        let mut emulator = machine.copy_serial_to(screen).on_reset(OnReset::Restart).start()?;
        let quit = Arc::clone(interrupted);
        terminal::forward_keys(emulator.input(), move || quit.store(true, Ordering::Relaxed));
        let ending = self.watch(&mut emulator, interrupted);
        drop(raw);
        println!();
        ending
    }

    /// Waits for the machine's end, the deadline or a signal.
    fn watch(&self, emulator: &mut Emulator, interrupted: &AtomicBool) -> Result<Ending> {
        let begin = Instant::now();
        loop {
            if let Some(ending) = emulator.ending()? {
                return Ok(ending);
            }
            if interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if let Some(timeout) =
                self.timeout.filter(|timeout| begin.elapsed() >= Duration::from_secs(*timeout))
            {
                bail!("not over after {timeout} s; the serial line ends:\n{}", emulator.tail());
            }
            std::thread::sleep(POLL);
        }
    }
}

/// The exit status, with a word about an ending that is not a power-off.
fn judge(ending: Ending) -> Result<ExitCode> {
    match ending {
        Ending::PoweredOff => Ok(ExitCode::SUCCESS),
        Ending::Reset => bail!("the machine was reset instead of powered off"),
        Ending::Failed { what } => bail!("{what}"),
    }
}

/// A flag that the usual signals set, so that what is open is closed before the end.
fn catch_signals() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // The second one ends us at once: a build does not look at the flag.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&interrupted))?;
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

fn explain_keys() {
    println!("Keys: Ctrl-]    to the hypervisor's prompt and back (help, vm list, poweroff, ...)");
    println!("      Ctrl-A X  ends the emulator at once; Ctrl-A A is Ctrl-A");
}

fn explain_debugger(hypervisor: &Hypervisor) {
    let kernel = hypervisor.kernel.display();
    let boot = paths::lane(build::LANE);
    eprintln!("The machine waits for gdb. In another terminal:");
    eprintln!("  gdb -ex 'target remote :1234' -ex continue");
    eprintln!("The hypervisor's log says where it was loaded; with that address in gdb:");
    eprintln!("  add-symbol-file {kernel} -o ADDRESS");
    eprintln!("Build folder: {}", boot.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_power_off_is_success() {
        assert!(judge(Ending::PoweredOff).is_ok());
        assert!(judge(Ending::Reset).is_err());
        assert!(judge(Ending::Failed { what: "x".into() }).is_err());
    }
}
