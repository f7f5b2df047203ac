//! The shell's commands: their grammar by `embedded-cli`, their effects through [`Operator`].

use crate::outbox::Outbox;
use alloc::string::String;
use base::{ByteSize, Nanoseconds, VmName};
use core::{
    convert::Infallible,
    fmt::{self, Write},
};
use embedded_cli::{
    Command,
    cli::{Cli, CliBuilder},
};

const PROMPT: &str = "cofferdam> ";
const COMMAND_BYTES: usize = 128;
const HISTORY_BYTES: usize = 512;

/// The line editor, with completion, history and help.
pub(crate) type Editor = Cli<Outbox, Infallible, [u8; COMMAND_BYTES], [u8; HISTORY_BYTES]>;

/// A line editor, which shows its prompt at once.
pub(crate) fn editor(out: Outbox) -> Editor {
    let Ok(editor) = CliBuilder::default()
        .writer(out)
        .command_buffer([0; COMMAND_BYTES])
        .history_buffer([0; HISTORY_BYTES])
        .prompt(PROMPT)
        .build();
    editor
}

/// One VM as `vm list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmLine {
    /// Its name.
    pub name: VmName,
    /// What it is doing: `running`, `halted`, or how it ended.
    pub state: String,
    /// Its memory.
    pub memory: ByteSize,
    /// How long it has been served by a CPU.
    pub served: Nanoseconds,
}

/// What the shell can ask of the hypervisor.
pub trait Operator {
    /// All VMs of the configuration, in its order.
    fn vms(&self) -> impl Iterator<Item = VmLine>;
    /// Gives a key to a VM's console. A VM that takes no input drops it.
    fn type_into(&mut self, vm: VmName, byte: u8);
    /// Writes the retained log.
    ///
    /// # Errors
    /// Only those of `out`.
    fn log(&self, out: &mut dyn Write) -> fmt::Result;
    /// Writes what the host has and uses.
    ///
    /// # Errors
    /// Only those of `out`.
    fn host(&self, out: &mut dyn Write) -> fmt::Result;
    /// Writes who has the host's memory.
    ///
    /// # Errors
    /// Only those of `out`.
    fn host_memory(&self, out: &mut dyn Write) -> fmt::Result;
    /// Writes what each CPU is, and what is done about its vulnerabilities.
    ///
    /// # Errors
    /// Only those of `out`.
    fn host_cpus(&self, out: &mut dyn Write) -> fmt::Result;
    /// Writes the host's disks and their partitions.
    ///
    /// # Errors
    /// Only those of `out`.
    fn disks(&self, out: &mut dyn Write) -> fmt::Result;
    /// Writes the host's NICs and the networks, with what went through each port and what did not.
    ///
    /// # Errors
    /// Only those of `out`.
    fn networks(&self, out: &mut dyn Write) -> fmt::Result;
    /// Starts a VM that is not there: it was not to start by itself, or it has ended. The log tells what came of it.
    fn start(&mut self, vm: VmName);
    /// Ends all VMs and powers the host off.
    fn power_off(&mut self);
}

#[derive(Command)]
enum HostCommand<'a> {
    /// List the VMs, or go to the console of one
    #[command(subcommand)]
    Vm(VmCommand<'a>),

    /// List the host's disks
    #[command(subcommand)]
    Disk(DiskCommand),

    /// List the host's NICs and the networks
    #[command(subcommand)]
    Net(NetCommand),

    /// Show the hypervisor's log
    Log,

    /// Show the host's CPU, memory and devices, who has its memory, or its CPUs' vulnerabilities
    Host {
        /// `mem` for the memory, `cpus` for the CPUs
        what: Option<&'a str>,
    },

    /// End all VMs and power the host off
    Poweroff,
}

#[derive(Command)]
enum DiskCommand {
    /// List all disks and partitions
    List,
}

#[derive(Command)]
enum NetCommand {
    /// List all NICs and networks, with what each VM has sent and got
    List,
}

#[derive(Command)]
enum VmCommand<'a> {
    /// List all VMs with their states
    List,

    /// Start a VM that has not been started or has ended
    Start {
        /// The VM's name, as `vm list` shows it
        name: &'a str,
    },

    /// Go to the console of a VM
    Console {
        /// The VM's name, as `vm list` shows it
        name: &'a str,
    },
}

/// What a command wants of the terminal beyond its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing: the prompt comes back.
    Prompt,
    /// The VM's console.
    Attach(VmName),
}

/// Gives a key to the line editor and runs the command that it completes, if it does.
pub(crate) fn edit(editor: &mut Editor, byte: u8, operator: &mut impl Operator, mut out: Outbox) -> After {
    let mut after = After::Prompt;
    let Ok(()) = editor.process_byte::<HostCommand<'_>, _>(
        byte,
        &mut HostCommand::processor(|_, command| {
            after = run(command, operator, &mut out);
            Ok(())
        }),
    );
    after
}

/// Runs one command; what it prints goes to `out`.
fn run(command: HostCommand<'_>, operator: &mut impl Operator, out: &mut Outbox) -> After {
    // Writing to the outbox cannot fail: what does not fit is counted there.
    let _ = match command {
        HostCommand::Vm(VmCommand::List) => list(operator, out),
        HostCommand::Vm(VmCommand::Console { name }) => match find(operator, name) {
            Some(vm) => return After::Attach(vm),
            None => unknown(name, out),
        },
        HostCommand::Vm(VmCommand::Start { name }) => match find(operator, name) {
            Some(vm) => {
                operator.start(vm);
                Ok(())
            }
            None => unknown(name, out),
        },
        HostCommand::Disk(DiskCommand::List) => operator.disks(out),
        HostCommand::Net(NetCommand::List) => operator.networks(out),
        HostCommand::Log => operator.log(out),
        HostCommand::Host { what: None } => operator.host(out),
        HostCommand::Host { what: Some("mem") } => operator.host_memory(out),
        HostCommand::Host { what: Some("cpus") } => operator.host_cpus(out),
        HostCommand::Host { what: Some(other) } => {
            writeln!(
                out,
                "the host has no {other:?} to show; `host mem` shows its memory, `host cpus` its CPUs"
            )
        }
        HostCommand::Poweroff => {
            operator.power_off();
            writeln!(out, "powering off")
        }
    };
    After::Prompt
}

fn unknown(name: &str, out: &mut Outbox) -> fmt::Result {
    writeln!(out, "no VM is named {name:?}; `vm list` shows the names")
}

fn list(operator: &impl Operator, out: &mut Outbox) -> fmt::Result {
    writeln!(out, "{:<31} {:>8} {:>10}  STATE", "NAME", "MEMORY", "SERVED")?;
    for VmLine { name, state, memory, served } in operator.vms() {
        let milliseconds = served.0 / 1_000_000;
        let (memory, seconds) = (alloc::format!("{memory}"), milliseconds / 1000);
        writeln!(out, "{name:<31} {memory:>8} {seconds:>5}.{:03}s  {state}", milliseconds % 1000)?;
    }
    Ok(())
}

fn find(operator: &impl Operator, name: &str) -> Option<VmName> {
    operator.vms().map(|line| line.name).find(|vm| vm.as_str() == name)
}
