//! Why boot gave up, as the one line that the operator reads: `cofferdam: boot: <what>: <where>: <remedy>`.

use crate::elf::ElfError;
use crate::overrides::OverridesError;
use crate::page_tables::TableError;
use crate::source::SourceError;
use alloc::string::String;
use base::ByteSize;
use config::{ConfigError, Position};
use core::fmt;
use handoff::HandoffError;

/// What begins every line of boot.
pub const PREFIX: &str = "cofferdam: boot: ";

/// Why boot gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The volume that boot was started from cannot be read, in firmware's words.
    NoVolume(String),
    /// A file cannot be had.
    File {
        /// Its place on the ESP.
        place: String,
        /// Where the configuration names it, if it does.
        named_at: Option<Position>,
        /// Why.
        problem: FileProblem,
    },
    /// The configuration is wrong.
    Config(ConfigError),
    /// The file of overrides is wrong.
    Overrides(OverridesError),
    /// The hypervisor's file is wrong.
    Hypervisor(ElfError),
    /// There is not enough memory for this.
    Memory {
        /// What it was for.
        what: &'static str,
        /// How much was asked for.
        len_bytes: u64,
    },
    /// The CPU is not in a state, or not of a kind, that the hypervisor can be entered in.
    Cpu(CpuProblem),
    /// The page tables could not be built.
    Tables(TableError),
    /// The handoff would be refused.
    Handoff(HandoffError),
}

/// Why a file cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileProblem {
    /// The source does not give it.
    Source(SourceError),
    /// It has no bytes.
    Empty,
    /// It has this many bytes, more than memory could hold.
    TooLarge(u64),
}

/// What is wrong with the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuProblem {
    /// Firmware runs with five levels of page tables, which cannot be left without leaving long mode.
    FiveLevelPaging,
    /// Pages cannot be protected from execution.
    NoExecuteDisable,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Empty => f.write_str("file is empty"),
            Self::TooLarge(len_bytes) => write!(f, "file of {len_bytes} bytes does not fit into memory"),
        }
    }
}

impl FileProblem {
    const fn remedy(&self) -> &'static str {
        match self {
            Self::Source(SourceError::NotFound) => "copy it there, or correct its path",
            Self::Source(SourceError::IsDirectory) => "put a file there, or correct its path",
            Self::Source(SourceError::Short | SourceError::Device(_)) => {
                "check the disk and copy the file again"
            }
            Self::Empty => "copy the file again",
            Self::TooLarge(_) => "use a smaller file, or a machine with more memory",
        }
    }
}

impl fmt::Display for CpuProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FiveLevelPaging => {
                "five-level paging is active: CR4.LA57: switch it off in the firmware's setup"
            }
            Self::NoExecuteDisable => {
                "pages cannot be protected from execution: CPUID 80000001h EDX.NX: switch \"execute disable\" on in \
                 the firmware's setup"
            }
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const REBUILD: &str = "write the ESP again with `cargo xtask image`";
        f.write_str(PREFIX)?;
        match self {
            Self::NoVolume(status) => write!(
                f,
                "no file system ({status}): the device that boot was started from: start it from a FAT ESP"
            ),
            Self::File { place, named_at: None, problem } => {
                write!(f, "{problem}: {place}: {}", problem.remedy())
            }
            Self::File { place, named_at: Some(at), problem } => {
                write!(f, "{problem}: {place} (named at {}:{at}): {}", config::FILE_NAME, problem.remedy())
            }
            Self::Config(error) => write!(f, "bad configuration: {error}"),
            Self::Overrides(error) => write!(f, "bad boot overrides: {}:{error}", crate::OVERRIDES_FILE),
            Self::Hypervisor(error) => {
                write!(
                    f,
                    "bad hypervisor: {}{}: {error}: {REBUILD}",
                    crate::DIRECTORY,
                    crate::HYPERVISOR_FILE
                )
            }
            Self::Memory { what, len_bytes } => {
                let size = ByteSize(*len_bytes);
                write!(f, "not enough memory: {size} for {what}: use fewer or smaller files, or add memory")
            }
            Self::Cpu(problem) => problem.fmt(f),
            Self::Tables(error) => write!(f, "internal error: page tables: {error}: please report it"),
            Self::Handoff(error) => write!(f, "internal error: {error}: please report it"),
        }
    }
}

impl core::error::Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<OverridesError> for Failure {
    fn from(error: OverridesError) -> Self {
        Self::Overrides(error)
    }
}

impl From<ElfError> for Failure {
    fn from(error: ElfError) -> Self {
        Self::Hypervisor(error)
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        Self::Tables(error)
    }
}

impl From<HandoffError> for Failure {
    fn from(error: HandoffError) -> Self {
        Self::Handoff(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_failure_names_what_where_and_the_remedy() {
        let file = |named_at, problem| Failure::File { place: "\\cofferdam\\k".into(), named_at, problem };
        let named_at = Some(Position { line: 11, column: 10 });
        for (failure, expected) in [
            (
                file(named_at, FileProblem::Source(SourceError::NotFound)),
                "file not found: \\cofferdam\\k (named at cofferdam.toml:11:10): copy it there, or correct its path",
            ),
            (file(None, FileProblem::Empty), "file is empty: \\cofferdam\\k: copy the file again"),
            (
                config::parse("hots = 1").unwrap_err().into(),
                "bad configuration: cofferdam.toml:1:1: unknown key \"hots\"; did you mean \"host\"?",
            ),
            (
                ElfError::NotElf.into(),
                "bad hypervisor: \\cofferdam\\hypervisor.elf: not an ELF file: write the ESP again with `cargo xtask image`",
            ),
            (
                Failure::Memory { what: "vmlinux", len_bytes: 1 << 20 },
                "not enough memory: 1M for vmlinux: use fewer or smaller files, or add memory",
            ),
            (
                OverridesError::NotText(3).into(),
                "bad boot overrides: overrides:3: not printable ASCII; correct or delete the file",
            ),
        ] {
            assert_eq!(failure.to_string(), alloc::format!("cofferdam: boot: {expected}"));
        }
    }
}
