//! Debian's package tools, with a configuration of our own: the computer's own sources plus backports, and
//! lists and downloads in our cache. Nothing below `/etc/apt` is changed, and only installing needs root.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::distribution::Distribution;
use crate::guest::Architecture;
use crate::{paths, process};

/// The keys of Debian's archive: package `debian-archive-keyring`, part of every installation.
const ARCHIVE_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The part of apt that downloads a file and compares its checksum.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// apt with our configuration.
pub struct Apt {
    /// Folder of the configuration, the lists and the downloads.
    dir: PathBuf,
    /// Code name of the Debian release.
    release: &'static str,
    /// What the packages are built for.
    architecture: Architecture,
    /// What somebody else has to install.
    missing: RefCell<Missing>,
}

/// Packages that are wanted and that only root can install.
#[derive(Debug, Default)]
struct Missing {
    /// Their names, each once.
    packages: Vec<String>,
    /// The suite that one of them is from, if it is not the release: all take what they need from there then.
    suite: Option<String>,
}

impl Missing {
    fn add(&mut self, suite: Option<&str>, packages: &[&str]) {
        for package in packages {
            if !self.packages.iter().any(|known| known == package) {
                self.packages.push((*package).to_string());
            }
        }
        self.suite = self.suite.take().or(suite.map(str::to_string));
    }
}

/// Why packages were not installed: [`Registry::command_for_root`] installs them.
#[derive(Debug)]
pub struct NeedsRoot {
    packages: String,
}

impl fmt::Display for NeedsRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "missing: {}", self.packages)
    }
}

impl std::error::Error for NeedsRoot {}

/// apt, prepared when it is first needed.
pub struct Registry {
    dir: PathBuf,
    architecture: Architecture,
    apt: OnceCell<Apt>,
}

/// A registry for each architecture: only who needs another one's packages fetches its lists.
pub struct Registries {
    amd64: Registry,
    i386: Registry,
}

impl Registries {
    /// Registries whose files go to folders in `cache`.
    pub fn new(cache: &Path) -> Self {
        let registry =
            |dir: &str, architecture| Registry { dir: cache.join(dir), architecture, apt: OnceCell::new() };
        Self { amd64: registry("apt", Architecture::Amd64), i386: registry("apt-i386", Architecture::I386) }
    }

    /// The one of an architecture.
    pub fn of(&self, architecture: Architecture) -> &Registry {
        match architecture {
            Architecture::Amd64 => &self.amd64,
            Architecture::I386 => &self.i386,
        }
    }
}

impl Registry {
    /// apt with fresh lists. `remedy` is what to do where this cannot work.
    pub fn apt(&self, remedy: &str) -> Result<&Apt> {
        if let Some(apt) = self.apt.get() {
            return Ok(apt);
        }
        let apt = Apt::prepare(self.dir.clone(), self.architecture, remedy)?;
        Ok(self.apt.get_or_init(|| apt))
    }

    /// What to type to install all that [`NeedsRoot`] was said of.
    pub fn command_for_root(&self) -> Option<String> {
        let apt = self.apt.get()?;
        let missing = apt.missing.borrow();
        let packages: Vec<&str> = missing.packages.iter().map(String::as_str).collect();
        let command = apt.install_command(missing.suite.as_deref(), &packages);
        (!packages.is_empty()).then(|| format!("sudo {}", process::words(&command)))
    }
}

/// One version of a package, as the index describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Checksum of the `.deb`, in hexadecimal.
    pub sha256: String,
    /// The packages that it needs, as the index spells them.
    pub depends: String,
}

impl Apt {
    /// Writes the configuration and fetches the lists.
    fn prepare(dir: PathBuf, architecture: Architecture, remedy: &str) -> Result<Self> {
        let release = Distribution::of_this_computer().release(remedy)?;
        let apt = Self { dir, release, architecture, missing: RefCell::default() };
        apt.write_configuration()?;
        let update = apt.command("apt-get", &["update"]);
        if let Err(error) = process::quiet("fetching the lists of packages", &mut { update }) {
            // One source among many may be unreachable; whether it matters shows when a package is missing.
            eprintln!("warning: {error:#}");
        }
        Ok(apt)
    }

    fn write_configuration(&self) -> Result<()> {
        for dir in ["lists/partial", "cache/archives/partial"] {
            paths::make_folder(&self.dir.join(dir))?;
        }
        let own = std::fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
        let backports = backports_source(self.release)?;
        paths::write(&self.dir.join("sources.list"), format!("{own}\n{backports}\n").as_bytes())?;
        paths::write(&self.configuration(), configuration(&self.dir, self.architecture).as_bytes())
    }

    fn configuration(&self) -> PathBuf {
        self.dir.join("apt.conf")
    }

    /// `program` (apt-get or apt-cache) with our configuration.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.configuration()).args(args);
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Installs packages, or fails by [`NeedsRoot`].
    pub fn install(&self, packages: &[&str]) -> Result<()> {
        self.install_from(None, packages)
    }

    /// Installs packages, and what they need, as backports have them.
    pub fn install_backported(&self, packages: &[&str]) -> Result<()> {
        self.install_from(Some(&backports(self.release)), packages)
    }

    fn install_from(&self, suite: Option<&str>, packages: &[&str]) -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            self.missing.borrow_mut().add(suite, packages);
            bail!(NeedsRoot { packages: packages.join(", ") });
        }
        let mut command = self.install_command(suite, packages);
        process::quiet(&format!("installing {}", packages.join(", ")), &mut command)
    }

    fn install_command(&self, suite: Option<&str>, packages: &[&str]) -> Command {
        let mut command = self.command("apt-get", &["install", "--yes", "--no-install-recommends"]);
        // Naming the suite of a package alone would leave what it needs to the older release.
        command.args(suite.into_iter().flat_map(|suite| ["--target-release", suite])).args(packages);
        command
    }

    /// Downloads a file of the archive's pool to `to`, if it has this SHA-256. For sources that no list in use names.
    pub fn download_from_pool(&self, path: &str, sha256: &str, to: &Path) -> Result<()> {
        let mirror = mirror_of(self.release, &sources()?)
            .with_context(|| format!("apt has no source for Debian {}", self.release))?
            .to_string();
        let uri = format!("{mirror}/pool/{path}");
        let mut download = self.command(HELPER, &["download-file"]);
        download.arg(&uri).arg(to).arg(format!("SHA256:{sha256}"));
        process::quiet(&format!("downloading {uri}"), &mut download)
    }

    /// All versions of a package in the index, the newest first.
    pub fn versions(&self, name: &str) -> Result<Vec<Package>> {
        let mut show = self.command("apt-cache", &["show", "--all-versions", name]);
        let text = process::output("looking up a package", &mut show)?;
        Ok(text.split("\n\n").filter_map(Package::parse).collect())
    }

    /// Downloads packages and all that they need, as for a computer that has none, to files in `folder`.
    pub fn download_all(&self, names: &[&str], folder: &Path) -> Result<Vec<PathBuf>> {
        let archives = folder.join("archives");
        paths::make_folder(&archives.join("partial"))?;
        let status = folder.join("status");
        paths::write(&status, b"")?;
        let mut command = self.command("apt-get", &["install", "--yes", "--no-install-recommends"]);
        command.args(["--download-only", "-o", "Debug::NoLocking=1"]);
        command.arg("-o").arg(format!("Dir::State::status={}", status.display()));
        command.arg("-o").arg(format!("Dir::Cache::archives={}", archives.display())).args(names);
        process::quiet("downloading packages for a root file system", &mut command)?;
        let entries =
            std::fs::read_dir(&archives)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        let mut packages: Vec<PathBuf> =
            entries.into_iter().filter(|path| path.extension().is_some_and(|end| end == "deb")).collect();
        packages.sort();
        Ok(packages)
    }

    /// Downloads one version of a package, compares it with the index's checksum, and returns its bytes.
    pub fn download(&self, package: &Package) -> Result<Vec<u8>> {
        let scratch = tempfile::tempdir_in(&self.dir)?;
        let wanted = format!("{}={}", package.name, package.version);
        let mut download = self.command("apt-get", &["download", &wanted]);
        process::quiet(&format!("downloading {wanted}"), download.current_dir(scratch.path()))?;
        let deb = paths::read(&only_file_in(scratch.path())?)?;
        let sha256 = sha256(&deb);
        ensure!(
            sha256 == package.sha256,
            "{wanted}: the download has SHA-256 {sha256}, the index says {}: try again",
            package.sha256
        );
        Ok(deb)
    }
}

impl Package {
    /// Reads one stanza of the index (deb-control(5)).
    fn parse(stanza: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = stanza.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))?;
            Some(line.trim().to_string())
        };
        Some(Self {
            name: value("Package")?,
            version: value("Version")?,
            sha256: value("SHA256")?,
            depends: value("Depends").unwrap_or_default(),
        })
    }
}

/// The private configuration (apt.conf(5)).
fn configuration(dir: &Path, architecture: Architecture) -> String {
    let (dir, architecture) = (dir.display(), architecture.debian_name());
    format!(
        "Dir::Etc::sourcelist \"{dir}/sources.list\";\n\
         Dir::State::lists \"{dir}/lists\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         APT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Keep-Downloaded-Packages \"false\";\n\
         // Our folders are not for the unprivileged user that apt would fetch as.\n\
         APT::Sandbox::User \"root\";\n"
    )
}

/// What the computer's own apt would fetch lists from. Works before any was fetched.
fn sources() -> Result<String> {
    let mut ask = Command::new("apt-get");
    ask.args(["update", "--print-uris"]);
    process::output("asking apt for its sources", &mut ask)
}

/// The suite of backports for a release.
fn backports(release: &str) -> String {
    format!("{release}-backports")
}

/// The line for backports: on the mirror that the computer already uses; empty when it has backports.
fn backports_source(release: &str) -> Result<String> {
    let uris = sources()?;
    let backports = backports(release);
    if mirror_of(&backports, &uris).is_some() {
        return Ok(String::new());
    }
    let mirror =
        mirror_of(release, &uris).with_context(|| format!("apt has no source for Debian {release}"))?;
    Ok(format!("deb [signed-by={ARCHIVE_KEYS}] {mirror} {backports} main"))
}

/// The mirror that has a suite, from lines such as `'http://mirror/debian/dists/bookworm/InRelease' NAME 0`.
fn mirror_of<'a>(suite: &str, uris: &'a str) -> Option<&'a str> {
    let tail = format!("/dists/{suite}/InRelease'");
    uris.lines().find_map(|line| Some(line.strip_prefix('\'')?.split_once(&tail)?.0))
}

fn only_file_in(folder: &Path) -> Result<PathBuf> {
    let mut files = std::fs::read_dir(folder)?;
    let file = files.next().context("apt-get download left no file")??;
    Ok(file.path())
}

/// SHA-256 of `bytes` in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_of_the_index_is_read() {
        let stanza =
            "Package: busybox-static\nVersion: 1:1.35\nDepends: a, b\nDescription: x\n more\nSHA256: abc\n";
        let package = Package::parse(stanza).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("busybox-static", "1:1.35"));
        assert_eq!((package.sha256.as_str(), package.depends.as_str()), ("abc", "a, b"));
    }

    #[test]
    fn a_stanza_without_a_checksum_is_no_package() {
        assert_eq!(Package::parse("Package: x\nVersion: 1\n"), None);
        assert_eq!(Package::parse(""), None);
    }

    #[test]
    fn what_root_has_to_install_is_one_command() {
        let registry = Registry { dir: "/c".into(), architecture: Architecture::Amd64, apt: OnceCell::new() };
        assert_eq!(registry.command_for_root(), None);
        let apt = Apt {
            dir: "/c".into(),
            release: "bookworm",
            architecture: Architecture::Amd64,
            missing: RefCell::default(),
        };
        let apt = registry.apt.get_or_init(|| apt);
        assert_eq!(registry.command_for_root(), None);
        apt.missing.borrow_mut().add(Some("bookworm-backports"), &["qemu"]);
        apt.missing.borrow_mut().add(None, &["ovmf", "make"]);
        apt.missing.borrow_mut().add(None, &["ovmf"]);
        let told = registry.command_for_root().unwrap();
        let end = "install --yes --no-install-recommends --target-release bookworm-backports qemu ovmf make";
        assert!(told.starts_with("sudo ") && told.ends_with(end), "{told}");
    }

    #[test]
    fn a_suite_is_found_on_its_mirror() {
        let uris = "'http://m.example/debian/dists/bookworm/InRelease' m.example_InRelease 0 \n\
                    'http://s.example/debian/dists/bookworm-updates/InRelease' x 0 \n";
        assert_eq!(mirror_of("bookworm", uris), Some("http://m.example/debian"));
        assert_eq!(mirror_of("bookworm-backports", uris), None);
    }

    #[test]
    fn a_checksum_is_hexadecimal() {
        assert!(sha256(b"").starts_with("e3b0c44298fc1c14"));
    }
}
