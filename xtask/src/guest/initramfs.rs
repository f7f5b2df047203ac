//! An initial RAM disk: a `cpio` archive in the format `newc` with busybox, an `init` and little else.
//!
//! `init` mounts the usual file systems and leaves an interactive shell with job control on the console; the
//! shell's end switches the machine off. Its prompt is `HOSTNAME:DIRECTORY# `, the host name `demo` unless the
//! kernel's command line sets another (`hostname=web`). On request of the command line a disk is mounted at `/mnt`
//! (`disk=/dev/vda`) and the first NIC is set up (`address=10.0.2.15/24 gateway=10.0.2.2`); a command there,
//! `run="poweroff -f"`, is executed instead of the shell.
//!
//! The same input gives the same bytes. Reference: Linux,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::io::{self, Write};

use cpio::newc;

const INIT: &str = include_str!("init.sh");
/// Who the shell runs as; it shows the home folder as `~`.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n";
const GROUP: &str = "root:x:0:\n";
const DIRECTORIES: [&str; 15] = [
    "bin",
    "dev",
    "etc",
    "lib",
    "lib/modules",
    "mnt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/sbin",
];

/// `S_IFDIR`, `S_IFREG`, `S_IFCHR` of inode(7) with permissions.
const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const ORDINARY: u32 = 0o100_644;
const CONSOLE_NODE: u32 = 0o020_600;

/// The drivers of one kernel. `init` loads those of the kernel that runs, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drivers {
    /// The kernel's series: `6.12`.
    pub series: String,
    /// Names of files, and the files.
    pub modules: Vec<(String, Vec<u8>)>,
}

/// Builds the archive around the given busybox.
///
/// # Errors
/// When an entry is too long for the format.
pub fn build(busybox: &[u8], drivers: &[Drivers]) -> io::Result<Vec<u8>> {
    let mut archive = Archive { bytes: Vec::new(), entries: 0 };
    for directory in DIRECTORIES {
        archive.add(newc::Builder::new(directory).mode(DIRECTORY).nlink(2), &[])?;
    }
    // Major 5, minor 1: the kernel opens it for `init` before anything is mounted.
    archive.add(newc::Builder::new("dev/console").mode(CONSOLE_NODE).rdev_major(5).rdev_minor(1), &[])?;
    archive.add(newc::Builder::new("bin/busybox").mode(EXECUTABLE), busybox)?;
    archive.add(newc::Builder::new("etc/passwd").mode(ORDINARY), PASSWD.as_bytes())?;
    archive.add(newc::Builder::new("etc/group").mode(ORDINARY), GROUP.as_bytes())?;
    archive.add(newc::Builder::new("init").mode(EXECUTABLE), INIT.as_bytes())?;
    for Drivers { series, modules } in drivers {
        let folder = format!("lib/modules/{series}");
        archive.add(newc::Builder::new(&folder).mode(DIRECTORY).nlink(2), &[])?;
        for (name, elf) in modules {
            archive.add(newc::Builder::new(&format!("{folder}/{name}")).mode(ORDINARY), elf)?;
        }
    }
    newc::trailer(archive.bytes)
}

/// An archive with one program, to be unpacked after another archive.
///
/// # Errors
/// When it is too long for the format.
pub fn program(path: &str, elf: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Archive { bytes: Vec::new(), entries: 0 };
    archive.add(newc::Builder::new(path).mode(EXECUTABLE), elf)?;
    newc::trailer(archive.bytes)
}

struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, header: newc::Builder, contents: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(contents.len()).map_err(io::Error::other)?;
        let mut writer = header.ino(self.entries).write(&mut self.bytes, size);
        writer.write_all(contents)?;
        writer.finish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_holds_an_executable_init_and_busybox() {
        let drivers = Drivers { series: "6.12".into(), modules: vec![("00-a.ko".into(), b"elf".to_vec())] };
        let bytes = build(b"box", &[drivers]).unwrap();
        let mut found = Vec::new();
        let mut rest = &bytes[..];
        loop {
            let reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            found.push((
                reader.entry().name().to_string(),
                reader.entry().mode(),
                reader.entry().file_size(),
            ));
            rest = reader.finish().unwrap();
        }
        assert!(found.contains(&("bin/busybox".into(), EXECUTABLE, 3)));
        assert!(found.contains(&("lib/modules/6.12/00-a.ko".into(), ORDINARY, 3)));
        assert!(found.iter().any(|(name, mode, _)| name == "init" && *mode == EXECUTABLE));
        assert!(found.iter().any(|(name, mode, _)| name == "dev/console" && *mode == CONSOLE_NODE));
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        assert_eq!(build(b"box", &[]).unwrap(), build(b"box", &[]).unwrap());
    }
}
