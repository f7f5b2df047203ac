//! Bochs: built from the source that Debian carries, because no package of the supported release has what VT-x needs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::apt::Registry;
use crate::emulator::firmware;
use crate::progress::Step;
use crate::{paths, process};

/// The folder in the cache. Another source, other options or other changes get another name.
pub const FOLDER: &str = "bochs-3.0-2";

/// The source in Debian's pool (package `bochs` of Debian 13), and its SHA-256.
const SOURCE: &str = "main/b/bochs/bochs_3.0+dfsg.orig.tar.xz";
const SOURCE_SHA256: &str = "78f6c73d4a6472d5130a87ab9dc306d02c7c71ed8e25b3a8ef642e2a7acd282b";

/// Its folder in the source's archive.
const SOURCE_FOLDER: &str = "bochs-3.0";

/// What is changed in it:
/// - Bochs drops all translations at each entry and exit, and so hides a flush that is missing. The change keeps them, if
///   [`KEEP_TRANSLATIONS`] is in the environment.
/// - Bochs hides interrupts of the host's from a guest that was entered with RFLAGS.IF clear until that changes the flag,
///   and delivers a virtual interrupt in spite of a clear flag when one of the host's comes. The change corrects both.
const CHANGES: [&str; 2] = [
    include_str!("patches/bochs-kept-translations.patch"),
    include_str!("patches/bochs-interrupt-flag.patch"),
];

/// The environment variable that the change looks for.
pub const KEEP_TRANSLATIONS: &str = "BOCHS_KEEP_TRANSLATIONS";

/// What building takes: programs, each in a package of its name.
const TOOLS: [&str; 6] = ["gcc", "g++", "make", "bison", "flex", "patch"];

const COMPILER_FLAGS: &str = "-O3 -fomit-frame-pointer -pipe";

/// What is built: no window and no debugger; processors with VT-x up to posted interrupts; the quickest interpreter.
const OPTIONS: [&str; 32] = [
    "--with-nogui",
    "--disable-docbook",
    "--disable-debugger",
    "--disable-debugger-gui",
    "--disable-plugins",
    "--disable-cdrom",
    "--enable-smp",
    "--enable-cpu-level=6",
    "--enable-x86-64",
    "--enable-long-phy-address",
    "--enable-large-ramfile",
    "--enable-vmx=2",
    "--enable-svm",
    "--enable-avx",
    "--enable-evex",
    "--enable-cet",
    "--enable-uintr",
    "--enable-protection-keys",
    "--enable-memtype",
    "--enable-perfmon",
    "--enable-monitor-mwait",
    "--enable-alignment-check",
    "--enable-pci",
    "--enable-e1000",
    "--enable-ne2000",
    "--enable-all-optimizations",
    "--enable-fast-function-calls",
    "--enable-handlers-chaining",
    "--enable-repeat-speedups",
    "--enable-trace-linking",
    "--enable-show-ips",
    "--enable-logging",
];

/// Builds Bochs into `folder`, and installs firmware for it.
pub fn make(registry: &Registry, folder: &Path) -> Result<()> {
    let remedy = format!(
        "Build Bochs 3.0 with `--enable-vmx=2 --enable-x86-64 --with-nogui` (all options are in \
         xtask/src/setup/bochs.rs), install it to {}, and install OVMF.",
        folder.display()
    );
    let apt = registry.apt(&remedy)?;
    let is_built = super::bochs_program(folder).is_file();
    let is_missing = |tool: &&str| !is_built && paths::program(tool).is_none();
    let mut missing: Vec<&str> = TOOLS.into_iter().filter(is_missing).collect();
    if firmware::find_small().is_err() {
        missing.push("ovmf");
    }
    if !missing.is_empty() {
        apt.install(&missing).context("Bochs is built from source, and needs firmware")?;
        firmware::find_small()?;
    }
    if is_built {
        return Ok(());
    }
    // Beside its place, so that the finished folder can be moved there.
    let cache = folder.parent().context("the cache has no folder")?;
    let scratch = tempfile::Builder::new().prefix("bochs-build-").tempdir_in(cache)?;
    let archive = scratch.path().join("source.tar.xz");
    apt.download_from_pool(SOURCE, SOURCE_SHA256, &archive).context(remedy)?;
    unpack(&archive, scratch.path())?;
    let source = scratch.path().join(SOURCE_FOLDER);
    change(&source)?;
    build(&source, folder, &scratch.path().join("root"))
}

/// Makes the changes in `source`.
fn change(source: &Path) -> Result<()> {
    let file = source.join("change.patch");
    for change in CHANGES {
        std::fs::write(&file, change).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new("patch");
        command.current_dir(source).args(["-p1", "-i"]).arg(&file);
        process::quiet("changing the source of Bochs", &mut command)?;
    }
    Ok(())
}

/// Unpacks a `tar.xz` file below `to`.
fn unpack(archive: &Path, to: &Path) -> Result<()> {
    let _step = Step::start("unpacking the source of Bochs");
    let compressed = paths::read(archive)?;
    let tar = lzma_rust2::XzReader::new(&compressed[..], true);
    tar::Archive::new(tar).unpack(to).with_context(|| format!("cannot unpack {}", archive.display()))
}

/// Builds the source for `folder`, by way of `root`, so that `folder` is there only when it is complete.
fn build(source: &Path, folder: &Path, root: &Path) -> Result<()> {
    let within = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(source);
        command
    };
    let mut configure = within("./configure");
    configure.env("CFLAGS", COMPILER_FLAGS).env("CXXFLAGS", COMPILER_FLAGS);
    configure.args(OPTIONS).arg(format!("--prefix={}", folder.display()));
    process::quiet("configuring Bochs", &mut configure)?;
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    process::quiet("building Bochs (some minutes, once)", within("make").arg(format!("-j{jobs}")))?;
    process::quiet(
        "installing Bochs",
        within("make").arg("install").arg(format!("DESTDIR={}", root.display())),
    )?;
    let installed = root.join(folder.strip_prefix("/").unwrap_or(folder));
    ensure!(super::bochs_program(&installed).is_file(), "the build of Bochs left no program");
    std::fs::rename(&installed, folder).with_context(|| format!("cannot make {}", folder.display()))
}
