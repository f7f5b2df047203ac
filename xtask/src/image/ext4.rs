//! File systems of the format ext4 in files, by the programs of e2fsprogs: nothing is mounted, and nobody needs to be root.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{paths, process};

/// Those that are used here.
pub const PROGRAMS: [&str; 3] = ["mke2fs", "e2fsck", "debugfs"];
/// How e2fsck's questions end when the answer is always yes.
const ANSWERED: &str = "? yes";
/// What it asks about sums in the superblock. Linux writes them at unmounting only, and computes them when it mounts.
const SUMS: [&str; 2] = ["Free blocks count wrong (", "Free inodes count wrong ("];
/// What the exit status of e2fsck says: it has changed something (e2fsck(8)).
const CHANGED: i32 = 1;

/// One of the programs of e2fsprogs, if it is there. Debian keeps them where only root's `PATH` leads to.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let usual = Path::new("/usr/sbin").join(name);
    paths::program(name).or_else(|| usual.is_file().then_some(usual))
}

/// A command of e2fsprogs that speaks English.
fn command(name: &str) -> Result<Command> {
    let program = program(name).with_context(|| format!("no program {name}: install e2fsprogs"))?;
    let mut command = Command::new(program);
    command.env("LC_ALL", "C");
    Ok(command)
}

/// Makes the file `out` of `size` (`64M`) a file system. It is that of mke2fs but for `options`.
///
/// # Errors
/// When mke2fs is not there, or fails.
pub fn make(what: &str, options: &[&str], out: &Path, size: &str) -> Result<()> {
    let mut command = command("mke2fs")?;
    command.args(["-q", "-t", "ext4", "-b", "4096"]).args(options).arg(out).arg(size);
    process::quiet(what, &mut command)
}

/// Does to the file system in `image` what a mount does after a power cut, which is to replay its journal, and checks it.
///
/// # Errors
/// With e2fsck's words, when it finds anything else to be repaired. What it can repair is repaired then.
pub fn recover(image: &Path) -> Result<()> {
    let output = command("e2fsck")?.args(["-f", "-y"]).arg(image).output().context("cannot start e2fsck")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let is_well = output.status.success() || output.status.code() == Some(CHANGED);
    let answers = said.matches(ANSWERED).count();
    let of_sums = said.lines().filter(|line| SUMS.iter().any(|sum| line.starts_with(sum))).count();
    ensure!(is_well && answers == of_sums, "e2fsck repaired more than a journal does: {said}");
    process::quiet("checking a file system", command("e2fsck")?.args(["-f", "-n"]).arg(image))
}

/// Copies the folder `folder` of the file system in `image` into the folder `to`.
///
/// # Errors
/// When debugfs is not there, or fails. When there is no such folder nothing is copied.
pub fn copy_out(image: &Path, folder: &str, to: &Path) -> Result<()> {
    let request = format!("rdump {folder} \"{}\"", to.display());
    process::quiet("reading a file system", command("debugfs")?.args(["-R", &request]).arg(image))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    /// A file system with one file.
    fn file_system(folder: &Path) -> PathBuf {
        let (from, image) = (folder.join("from"), folder.join("image"));
        paths::write(&from.join("sub/file"), b"contents").unwrap();
        let from = from.display().to_string();
        make("making a file system", &["-d", &from], &image, "8M").unwrap();
        image
    }

    #[test]
    fn what_is_put_into_a_file_system_is_read_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let image = file_system(folder.path());
        recover(&image).unwrap();
        copy_out(&image, "/sub", folder.path()).unwrap();
        assert_eq!(paths::read(&folder.path().join("sub/file")).unwrap(), b"contents");
    }

    #[test]
    fn sums_that_were_not_written_are_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let image = file_system(folder.path());
        let request = "set_super_value free_blocks_count 1";
        process::quiet("", command("debugfs").unwrap().args(["-w", "-R", request]).arg(&image)).unwrap();
        recover(&image).unwrap();
    }

    #[test]
    fn damage_that_no_journal_repairs_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let image = file_system(folder.path());
        // Group descriptors, in the second block.
        File::options().write(true).open(&image).unwrap().write_all_at(&[0xff; 64], 4096).unwrap();
        let error = recover(&image).unwrap_err().to_string();
        assert!(error.contains("e2fsck repaired more"), "{error}");
    }
}
