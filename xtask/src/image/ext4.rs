//! ext4 file systems for guests' disks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{paths, process};

/// Makes the file system `image` with what is in `folder`. `size` is mke2fs's: `192M`. `what` is told meanwhile.
///
/// `mke2fs` fills it from the folder, so nobody needs to be root.
///
/// # Errors
/// What mke2fs said.
pub fn make(what: &str, label: &str, folder: &Path, size: &str, image: &Path) -> Result<()> {
    let mke2fs = paths::program("mke2fs").unwrap_or_else(|| PathBuf::from("/usr/sbin/mke2fs"));
    let mut command = Command::new(mke2fs);
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-L", label, "-E", "root_owner=0:0", "-d"]);
    command.arg(folder).arg(image).arg(size);
    process::quiet(what, &mut command)
}
