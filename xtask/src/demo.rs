//! The demonstration: a Debian kernel with a shell on its serial line, a disk and a network; and another to talk with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::emulator::Network;
use crate::guest::{self, Kernel};
use crate::image::ext4;
use crate::paths;

const CONFIG: &str = include_str!("../demo/cofferdam.toml");
/// The file system on the guests' disk, and the one file on it.
const DISK_SIZE: &str = "8M";
const GREETING: &str = "This file is on a disk of Cofferdam's.\n";

/// Puts the configuration for a computer on `network` and its files into a folder, and returns the configuration's path.
///
/// # Errors
/// When the kernel or busybox cannot be fetched, or the disk cannot be made.
pub fn prepare(network: Network) -> Result<PathBuf> {
    let folder = paths::lane("demo");
    let path = folder.join("cofferdam.toml");
    paths::write(&folder.join("vmlinux"), &guest::vmlinux(Kernel::V6_12)?)?;
    paths::write(&folder.join("initramfs.cpio"), &guest::initramfs()?)?;
    paths::write(&folder.join("disk.img"), &disk(&folder)?)?;
    paths::write(&path, configuration(network).as_bytes())?;
    Ok(path)
}

/// The configuration. Without a NIC the network has no uplink.
fn configuration(network: Network) -> String {
    let is_kept = |line: &&str| network != Network::None || !line.starts_with("uplink");
    CONFIG.split_inclusive('\n').filter(is_kept).collect()
}

/// The guests' disk; it is made below `folder`.
fn disk(folder: &Path) -> Result<Vec<u8>> {
    paths::make_folder(folder)?;
    let scratch = tempfile::tempdir_in(folder)?;
    let (contents, image) = (scratch.path().join("contents"), scratch.path().join("image"));
    paths::write(&contents.join("greeting"), GREETING.as_bytes())?;
    let from = contents.to_str().with_context(|| {
        format!(
            "{}: no path in UTF-8; set CARGO_TARGET_DIR to a build folder that has one",
            contents.display()
        )
    })?;
    let options = ["-L", "demo", "-E", "root_owner=0:0", "-d", from];
    ext4::make("making the demo's disk", &options, &image, DISK_SIZE)?;
    paths::read(&image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_configuration_is_valid_and_attaches_its_only_guest_that_starts() {
        for network in [Network::None, Network::Outside] {
            let config = config::parse(&configuration(network)).unwrap();
            let starting: Vec<_> = config.vms.iter().filter(|vm| vm.autostart).collect();
            assert_eq!(starting.len(), 1);
            assert_eq!(config.host.attach, Some(starting[0].name));
        }
    }

    #[test]
    fn its_network_has_an_uplink_where_the_computer_has_a_nic() {
        for network in [Network::None, Network::Outside] {
            let config = config::parse(&configuration(network)).unwrap();
            assert_eq!(config.networks[0].uplink.is_some(), network != Network::None);
        }
    }
}
