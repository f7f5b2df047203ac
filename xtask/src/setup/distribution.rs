//! Which operating system this is: `/etc/os-release` (os-release(5)).

use anyhow::Result;

/// The release of Debian that the commands below are made for.
const KNOWN_RELEASE: &str = "bookworm";

/// What this computer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Debian 12, which `setup` knows.
    DebianBookworm,
    /// Anything else, by the name it gives itself.
    Other(String),
}

impl Distribution {
    /// Asks the system.
    pub fn of_this_computer() -> Self {
        let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self::from_os_release(&text)
    }

    fn from_os_release(text: &str) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            Some(line.trim_matches('"').to_string())
        };
        if value("ID").as_deref() == Some("debian")
            && value("VERSION_CODENAME").as_deref() == Some(KNOWN_RELEASE)
        {
            return Self::DebianBookworm;
        }
        Self::Other(value("PRETTY_NAME").unwrap_or_else(|| "this system".into()))
    }

    /// The release's code name, for lists of packages.
    ///
    /// # Errors
    /// When the distribution is not one that `setup` knows; `remedy` then says what to do by hand.
    pub fn release(&self, remedy: &str) -> Result<&'static str> {
        match self {
            Self::DebianBookworm => Ok(KNOWN_RELEASE),
            Self::Other(name) => {
                anyhow::bail!("{name}: `setup` can fetch packages only on Debian 12.\n{remedy}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_12_is_known() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n";
        assert_eq!(Distribution::from_os_release(text), Distribution::DebianBookworm);
    }

    #[test]
    fn another_system_is_named_and_gets_the_remedy() {
        let fedora = Distribution::from_os_release("ID=fedora\nPRETTY_NAME=\"Fedora Linux 44\"\n");
        let error = fedora.release("dnf install qemu").unwrap_err().to_string();
        assert!(error.contains("Fedora Linux 44") && error.contains("dnf install qemu"), "{error}");
    }

    #[test]
    fn an_empty_file_is_another_system() {
        assert!(matches!(Distribution::from_os_release(""), Distribution::Other(_)));
    }
}
