//! A root file system of Debian's packages: unpacked, never configured, in an ext4 image.
//!
//! `mke2fs` fills the image from a folder, so no step needs root. What a guest does not read is left out.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::Registry;
use super::deb;
use crate::image::ext4;
use crate::paths;

/// The folder of the image in the cache: a change of what is below gets a new name.
pub const FOLDER: &str = "rootfs-3";
/// The image's file.
pub const IMAGE: &str = "root.ext4";

/// What is in it, besides what these need.
const PACKAGES: [&str; 9] = [
    "base-files",
    "bash",
    "coreutils",
    "diffutils",
    "util-linux",
    "mount",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
];
/// What is left out.
const UNUSED: [&str; 6] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/perl",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/share/i18n",
];
const SIZE: &str = "192M";
/// The first process.
const INIT: &str = include_str!("../guest/rootfs-init.sh");

/// Makes the image `to`.
pub fn make(registry: &Registry, to: &Path) -> Result<()> {
    let remedy = format!("Put an ext4 image with a Debian root file system at {}", to.display());
    let apt = registry.apt(&remedy)?;
    let folder = to.parent().context("an image has a folder")?;
    paths::make_folder(folder)?;
    let scratch = tempfile::tempdir_in(folder)?;
    let archives = apt.download_all(&PACKAGES, scratch.path())?;
    let root = scratch.path().join("root");
    paths::make_folder(&root)?;
    for archive in archives {
        let bytes = paths::read(&archive)?;
        deb::with_tar(&bytes[..], |tar| unpack(tar, &root)).with_context(|| archive.display().to_string())?;
    }
    let init = root.join("sbin/init");
    paths::write(&init, INIT.as_bytes())?;
    make_executable(&init)?;
    let image = scratch.path().join(IMAGE);
    let from = root.to_str().context("the cache's folder has a name in UTF-8")?;
    let options = ["-L", "root", "-E", "root_owner=0:0", "-d", from];
    ext4::make("making a root file system of Debian's packages", &options, &image, SIZE)?;
    // Last: its presence means that all is there.
    std::fs::rename(&image, to).with_context(|| to.display().to_string())
}

/// Unpacks a package's files below `root`.
fn unpack(tar: &mut dyn Read, root: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(tar);
    archive.set_preserve_permissions(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path: PathBuf = entry.path()?.components().filter(|part| *part != Component::CurDir).collect();
        if UNUSED.iter().any(|unused| path.starts_with(unused)) {
            continue;
        }
        if !entry.unpack_in(root)? {
            bail!("{} leads out of the package", path.display());
        }
    }
    Ok(())
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[&str]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for path in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            header.set_mode(0o755);
            tar.append_data(&mut header, path, &b"x"[..]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn what_is_unused_is_left_out_and_the_rest_is_there() {
        let root = tempfile::tempdir().unwrap();
        let tar = archive(&["bin/sh", "usr/share/doc/sh/copyright"]);
        unpack(&mut &tar[..], root.path()).unwrap();
        assert!(root.path().join("bin/sh").is_file() && !root.path().join("usr/share/doc").exists());
    }
}
