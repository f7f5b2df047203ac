//! `cargo xtask`: see the library's documentation, or `cargo xtask --help`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::emulator::Network;
use xtask::image::{self, Kernels, Request, Table};
use xtask::{bench, build, check, demo, run, setup, symbolize, test};

/// Everything one does with Cofferdam, a bare-metal hypervisor.
///
/// New here? `cargo xtask run` installs what is missing, builds everything, and leaves you at the prompt of a
/// Linux guest in an emulated computer. `cargo xtask test` runs all tests.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot the hypervisor in an emulated computer, with you at its serial line
    Run(Box<run::Options>),
    /// Make a disk image to write to a disk or USB stick and boot from
    Image(ImageOptions),
    /// Run the host tests, then the scenarios in emulated computers
    Test(test::Options),
    /// Measure, in counts that do not depend on this computer
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Check formatting, lints, documentation, the order of crates, sizes and unsafe code
    Check(check::Options),
    /// Name functions and source lines in the epitaph of a hypervisor that died
    Symbolize(symbolize::Options),
    /// Install or fetch what the other commands need (they do so by themselves)
    Setup,
}

#[derive(clap::Args)]
struct ImageOptions {
    /// The configuration; the files that it names are beside it [default: the demo of `run`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The image to make
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Partition table
    #[arg(long, value_enum, default_value = "gpt")]
    table: Table,
    /// Use this hypervisor instead of building one (with --boot)
    #[arg(long, value_name = "ELF", requires = "boot")]
    hypervisor: Option<PathBuf>,
    /// Use this boot loader instead of building one (with --hypervisor)
    #[arg(long, value_name = "EFI", requires = "hypervisor")]
    boot: Option<PathBuf>,
    /// Store a bzImage as it is, instead of the kernel that it carries
    #[arg(long)]
    keep_bzimage: bool,
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(options) => run::command(&options),
        Command::Image(options) => make_image(options),
        Command::Test(options) => test::command(&options),
        Command::Bench(bench) => bench::command(&bench).map(|()| ExitCode::SUCCESS),
        Command::Check(options) => Ok(check::command(&options)),
        Command::Symbolize(options) => symbolize::command(&options).map(|()| ExitCode::SUCCESS),
        Command::Setup => setup::command().map(|()| ExitCode::SUCCESS),
    }
}

fn make_image(options: ImageOptions) -> Result<ExitCode> {
    let config = match options.config {
        Some(config) => config,
        // Nobody knows what NIC the computer has.
        None => demo::prepare(Network::None)?,
    };
    let kernels = if options.keep_bzimage { Kernels::Keep } else { Kernels::Unpack };
    let request = Request { config, out: options.out, table: options.table, kernels };
    image::make(&request, || match (options.hypervisor, options.boot) {
        (Some(kernel), Some(boot)) => Ok(build::Hypervisor { kernel, boot }),
        _ => build::hypervisor(),
    })?;
    let out = request.out.display();
    println!("{out} is ready. To write it to a disk, all of whose contents are lost:");
    println!("  sudo dd if={out} of=/dev/DISK bs=4M conv=fsync status=progress");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_hypervisor_comes_with_its_boot_loader() {
        assert!(Cli::try_parse_from(["xtask", "image", "--out", "x", "--hypervisor", "k"]).is_err());
        assert!(
            Cli::try_parse_from(["xtask", "image", "--out", "x", "--hypervisor", "k", "--boot", "b"]).is_ok()
        );
    }

    #[test]
    fn arguments_for_qemu_may_begin_with_a_hyphen() {
        assert!(Cli::try_parse_from(["xtask", "run", "--qemu-args", "-d int"]).is_ok());
    }
}
