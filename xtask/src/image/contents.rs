//! Which files an image holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::elf;
use crate::build::Hypervisor;
use crate::guest::bzimage;
use crate::paths;

/// The path that UEFI firmware tries on a disk without a boot entry (UEFI 2.10, 3.5.1.1).
pub const BOOT_LOADER: &str = "EFI/BOOT/BOOTX64.EFI";
/// The folder of the configuration and all that it names.
const FOLDER: &str = "cofferdam";

/// What to do with kernels that are a bzImage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Store the ELF inside, where it can be unpacked: the guest then need not do it at each start.
    Unpack,
    /// Store files as they are.
    Keep,
}

/// The files of an image by their path on the EFI system partition, `/` between its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Path to bytes.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Contents {
    /// The configuration with all that it names.
    ///
    /// # Errors
    /// Names the line of the configuration and the file.
    pub fn of_config(config: &Path, kernels: Kernels) -> Result<Self> {
        let text = paths::read(config)?;
        let parsed =
            config::parse_bytes(&text).map_err(|error| anyhow!(at_path(config, &error.to_string())))?;
        let mut contents = Self::default();
        contents.add(config::FILE_NAME, text);
        let folder = config.parent().unwrap_or(Path::new("."));
        for vm in &parsed.vms {
            for (path, position) in vm.files() {
                let is_kernel = *path == vm.kernel.value;
                let place = || format!("{}:{position}: vm \"{}\"", config.display(), vm.name);
                let mut file = file_in(folder, path.as_str()).with_context(place)?;
                if is_kernel && kernels == Kernels::Unpack && bzimage::is_bzimage(&file) {
                    file = unpacked(file, &place());
                }
                contents.add(path.as_str(), file);
            }
        }
        Ok(contents)
    }

    /// The boot loader, the hypervisor, and a configuration that is taken as it is: nothing is checked, so that
    /// a test can make a broken image.
    ///
    /// # Errors
    /// When the boot loader or the hypervisor cannot be read.
    pub fn with_hypervisor(hypervisor: &Hypervisor, config: Vec<u8>) -> Result<Self> {
        let mut contents = Self::default();
        contents.add(config::FILE_NAME, config);
        contents.add_hypervisor(hypervisor)?;
        Ok(contents)
    }

    /// Adds the boot loader and the hypervisor.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn add_hypervisor(&mut self, hypervisor: &Hypervisor) -> Result<()> {
        self.files.insert(BOOT_LOADER.into(), paths::read(&hypervisor.boot)?);
        let elf = paths::read(&hypervisor.kernel)?;
        let stripped =
            elf::without_sections(&elf).with_context(|| hypervisor.kernel.display().to_string())?;
        self.add("hypervisor.elf", stripped);
        Ok(())
    }

    /// Puts a file beside the configuration, in place of one of the same name.
    pub fn add(&mut self, relative_path: &str, bytes: Vec<u8>) {
        self.files.insert(format!("{FOLDER}/{relative_path}"), bytes);
    }

    /// A file beside the configuration.
    #[must_use]
    pub fn get(&self, relative_path: &str) -> Option<&[u8]> {
        self.files.get(&format!("{FOLDER}/{relative_path}")).map(Vec::as_slice)
    }

    /// Takes away a file beside the configuration.
    pub fn remove(&mut self, relative_path: &str) {
        self.files.remove(&format!("{FOLDER}/{relative_path}"));
    }
}

/// An error in the configuration with the file's own path instead of the name that it has on the image.
fn at_path(config: &Path, error: &str) -> String {
    let place = error.strip_prefix(config::FILE_NAME).unwrap_or(error);
    format!("{}{place}", config.display())
}

/// Reads a file below `folder`.
fn file_in(folder: &Path, relative_path: &str) -> Result<Vec<u8>> {
    let path: PathBuf = folder.join(relative_path);
    let Ok(metadata) = std::fs::metadata(&path) else { bail!("there is no file {}", path.display()) };
    if !metadata.is_file() {
        bail!("{} is not a file", path.display());
    }
    if metadata.len() > u64::from(u32::MAX) {
        bail!("{} is larger than 4 GiB, the most that FAT can hold", path.display());
    }
    paths::read(&path)
}

/// The kernel inside a bzImage, or the bzImage itself, with a word about why.
fn unpacked(file: Vec<u8>, place: &str) -> Vec<u8> {
    match bzimage::unpack(&file) {
        Ok(elf) => elf,
        Err(error) => {
            eprintln!("note: {place}: the bzImage is stored as it is: {error}");
            file
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypervisor_in(dir: &Path) -> Hypervisor {
        let hypervisor = Hypervisor { kernel: dir.join("k"), boot: dir.join("b") };
        std::fs::write(&hypervisor.kernel, elf::tests::tiny_elf()).unwrap();
        std::fs::write(&hypervisor.boot, b"MZ").unwrap();
        hypervisor
    }

    fn collect(config: &str) -> Result<Contents> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/vmlinux"), b"\x7fELF").unwrap();
        let path = dir.path().join("cofferdam.toml");
        std::fs::write(&path, config).unwrap();
        let mut contents = Contents::of_config(&path, Kernels::Unpack)?;
        contents.add_hypervisor(&hypervisor_in(dir.path()))?;
        Ok(contents)
    }

    #[test]
    fn files_keep_their_relative_paths() {
        let contents = collect("[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"sub/vmlinux\"\n").unwrap();
        assert_eq!(contents.files["cofferdam/sub/vmlinux"], b"\x7fELF");
        assert!(contents.files.contains_key("EFI/BOOT/BOOTX64.EFI"));
        assert!(contents.files.contains_key("cofferdam/hypervisor.elf"));
        assert!(contents.files.contains_key("cofferdam/cofferdam.toml"));
    }

    #[test]
    fn a_missing_file_is_named_with_its_line() {
        let error = collect("[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"absent\"\n").unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("cofferdam.toml:4:") && text.contains("absent"), "{text}");
    }

    #[test]
    fn a_folder_is_not_a_file() {
        let error = collect("[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"sub\"\n").unwrap_err();
        assert!(format!("{error:#}").contains("not a file"));
    }

    #[test]
    fn an_error_in_the_configuration_has_file_line_and_column() {
        let text = format!("{:#}", collect("[host]\nconsole = 7.5\n").unwrap_err());
        assert!(text.contains("/cofferdam.toml:2:"), "{text}");
        assert_eq!(at_path(Path::new("my.toml"), "cofferdam.toml:2:1: x"), "my.toml:2:1: x");
    }
}
