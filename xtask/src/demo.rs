//! The demonstration: one Debian kernel with a shell on its serial line.

use std::path::PathBuf;

use anyhow::Result;

use crate::guest::{self, Kernel};
use crate::paths;

const CONFIG: &str = include_str!("../demo/cofferdam.toml");

/// Puts the configuration and its files into a folder, and returns the configuration's path.
///
/// # Errors
/// When the kernel or busybox cannot be fetched.
pub fn prepare() -> Result<PathBuf> {
    let folder = paths::lane("demo");
    let config = folder.join("cofferdam.toml");
    paths::write(&folder.join("vmlinux"), &guest::vmlinux(Kernel::V6_12)?)?;
    paths::write(&folder.join("initramfs.cpio"), &guest::initramfs()?)?;
    paths::write(&config, CONFIG.as_bytes())?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    #[test]
    fn its_configuration_is_valid_and_attaches_its_only_guest() {
        let config = config::parse(super::CONFIG).unwrap();
        assert_eq!(config.vms.len(), 1);
        assert_eq!(config.host.attach, Some(config.vms[0].name));
    }
}
