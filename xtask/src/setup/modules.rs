//! The drivers that a guest's kernel needs for Cofferdam's devices, out of its package.
//!
//! Debian builds them as modules; what they depend on is said in each one's section `.modinfo` (Linux,
//! `include/linux/moduleparam.h`).

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result};

/// Devices' drivers, by the names of their modules. One that a kernel has built in is not in its package.
const WANTED: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng"];

/// Part of the name of a folder that has the drivers: another one when others are wanted.
pub fn version() -> String {
    use sha2::Digest;
    let sum = sha2::Sha256::digest(WANTED.join(",").as_bytes());
    sum.iter().take(VERSION_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// How much of a checksum tells one list from all that there will be.
const VERSION_BYTES: usize = 4;

/// A module, not compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Its ELF file.
    pub elf: Vec<u8>,
}

/// Whether a package's file is a module.
pub fn is_module(path: &str) -> bool {
    path.starts_with("lib/modules/") && (path.ends_with(".ko") || path.ends_with(".ko.xz"))
}

/// The wanted ones of a package's modules and what they depend on, in an order in which they can be loaded.
pub fn select(files: Vec<(String, Vec<u8>)>) -> Result<Vec<Module>> {
    let packed = files.into_iter().map(|(path, bytes)| (name_of(&path), (path, bytes))).collect();
    let mut selection = Selection { packed, loaded: Vec::new() };
    for name in WANTED {
        selection.load(name)?;
    }
    Ok(selection.loaded)
}

struct Selection {
    packed: BTreeMap<String, (String, Vec<u8>)>,
    loaded: Vec<Module>,
}

impl Selection {
    /// Selects `name` after all that it depends on. One that is not there is part of the kernel.
    fn load(&mut self, name: &str) -> Result<()> {
        let Some((path, bytes)) = self.packed.remove(name) else { return Ok(()) };
        let elf = unpack(&path, bytes).with_context(|| path.clone())?;
        for dependency in dependencies(&elf) {
            self.load(&dependency)?;
        }
        self.loaded.push(Module { name: name.to_string(), elf });
        Ok(())
    }
}

/// The name of the module in the file at `path`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

fn unpack(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    if !path.ends_with(".xz") {
        return Ok(bytes);
    }
    let mut elf = Vec::new();
    lzma_rust2::XzReader::new(&bytes[..], true).read_to_end(&mut elf)?;
    Ok(elf)
}

/// What a module depends on: an entry `depends=a,b` of its `.modinfo`, whose entries end with NUL.
fn dependencies(elf: &[u8]) -> Vec<String> {
    let entry = elf.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
    let names = String::from_utf8_lossy(entry.unwrap_or_default()).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, depends: &str) -> (String, Vec<u8>) {
        (format!("lib/modules/6/kernel/{path}"), format!("\0license=GPL\0depends={depends}\0").into_bytes())
    }

    #[test]
    fn what_a_module_depends_on_comes_before_it_and_once() {
        let files = vec![
            module("virtio-rng.ko", "virtio"),
            module("virtio_blk.ko", "virtio-ring,virtio"),
            module("virtio.ko", ""),
            module("virtio_ring.ko", "virtio"),
            module("floppy.ko", ""),
        ];
        let names: Vec<String> = select(files).unwrap().into_iter().map(|module| module.name).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_blk", "virtio_rng"]);
    }

    #[test]
    fn only_files_of_modules_are_modules() {
        assert!(is_module("lib/modules/6/kernel/a.ko.xz") && is_module("lib/modules/6/kernel/a.ko"));
        assert!(!is_module("lib/modules/6/modules.order") && !is_module("boot/vmlinuz"));
    }
}
