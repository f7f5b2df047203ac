//! UEFI firmware for the emulated computer: where distributions keep OVMF.

use std::path::PathBuf;

use super::Error;

/// Code and variable store of one firmware build; they belong together.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// The code, mapped read-only.
    pub code: PathBuf,
    /// The template of the variable store; every run gets a copy.
    pub vars: PathBuf,
}

/// Pairs of code and variables without Secure Boot: Debian and Ubuntu, Arch, Fedora, openSUSE.
const KNOWN: [(&str, &str); 5] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// Firmware of 2 MiB without Secure Boot, as one image whose variables are kept in memory: what Bochs can map and start.
/// Debian and Ubuntu, Arch, Fedora, openSUSE.
const KNOWN_SMALL: [&str; 4] = [
    "/usr/share/OVMF/OVMF_CODE.fd",
    "/usr/share/edk2/x64/OVMF_CODE.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.fd",
    "/usr/share/qemu/ovmf-x86_64-code.bin",
];

/// The first small firmware that is installed.
///
/// # Errors
/// [`Error::NoSmallFirmware`] when there is none.
pub fn find_small() -> Result<PathBuf, Error> {
    KNOWN_SMALL.iter().map(PathBuf::from).find(|path| path.is_file()).ok_or(Error::NoSmallFirmware)
}

impl Firmware {
    /// The first firmware that is installed.
    ///
    /// # Errors
    /// [`Error::NoFirmware`] when there is none.
    pub fn find() -> Result<Self, Error> {
        KNOWN
            .iter()
            .map(|(code, vars)| Self { code: code.into(), vars: vars.into() })
            .find(|firmware| firmware.code.is_file() && firmware.vars.is_file())
            .ok_or(Error::NoFirmware)
    }
}
