//! A VM's disks: what stands behind them.

use crate::path::{PathProblem, RelativePath};
use crate::position::{Located, Position};
use alloc::string::String;
use base::ByteSize;
use core::fmt;

/// The longest label of a GPT partition, in UTF-16 code units (UEFI 2.10, table 5.7).
const MAX_LABEL_UNITS: usize = 36;

/// The longest name of a host disk, in bytes.
const MAX_DISK_NAME_BYTES: usize = 31;

/// One disk of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where its table begins.
    pub position: Position,
    /// What stands behind it.
    pub source: Located<DiskSource>,
    /// How much memory writes may take, which go there and are dropped with the VM; `None` when they go to the source.
    pub overlay: Option<ByteSize>,
    /// Whether the guest may write.
    pub access: DiskAccess,
}

/// Whether a guest may write to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskAccess {
    /// It may.
    ReadWrite,
    /// It may not.
    ReadOnly,
}

/// What stands behind a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// A partition, by GPT label, by UUID, or by disk and number such as `nvme0n1p2`.
    Partition(String),
    /// A whole disk of the host, by name.
    Disk(String),
    /// A file on the ESP, in memory.
    File(RelativePath),
}

/// Why a text names nothing that can stand behind a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceProblem {
    /// It begins with none of the known kinds.
    NoKind,
    /// No name follows.
    NoName,
    /// The name is longer than any.
    TooLong,
    /// The name holds a control character, or for a disk what is not printable ASCII.
    Character(char),
    /// It is a file, by an impossible path.
    Path(PathProblem),
}

impl fmt::Display for SourceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKind => {
                f.write_str("names no kind; write \"partition:NAME\", \"disk:NAME\" or \"file:PATH\"")
            }
            Self::NoName => f.write_str("names nothing; write the name after the colon"),
            Self::TooLong => f.write_str("is too long for a name; correct it"),
            Self::Character(c) => write!(f, "holds {c:?}, which no such name does; correct it"),
            Self::Path(problem) => problem.fmt(f),
        }
    }
}

impl Disk {
    /// Whether the guest's writes go to the source.
    pub fn writes_to_source(&self) -> bool {
        self.access == DiskAccess::ReadWrite && self.overlay.is_none()
    }

    /// The file that it needs, with the place that names it.
    pub fn file(&self) -> Option<(&RelativePath, Position)> {
        match &self.source.value {
            DiskSource::File(path) => Some((path, self.source.position)),
            _ => None,
        }
    }
}

impl DiskSource {
    /// What `text` names.
    pub(crate) fn parse(text: &str) -> Result<Self, SourceProblem> {
        let (kind, name) = text.split_once(':').ok_or(SourceProblem::NoKind)?;
        match kind {
            "partition" => check_label(name).map(|()| Self::Partition(name.into())),
            "disk" => check_disk(name).map(|()| Self::Disk(name.into())),
            "file" => RelativePath::new(name).map(Self::File).map_err(SourceProblem::Path),
            _ => Err(SourceProblem::NoKind),
        }
    }
}

/// A label can be nearly any text.
fn check_label(name: &str) -> Result<(), SourceProblem> {
    if name.is_empty() {
        return Err(SourceProblem::NoName);
    }
    if name.encode_utf16().count() > MAX_LABEL_UNITS {
        return Err(SourceProblem::TooLong);
    }
    name.chars().find(|c| c.is_control()).map_or(Ok(()), |c| Err(SourceProblem::Character(c)))
}

fn check_disk(name: &str) -> Result<(), SourceProblem> {
    if name.is_empty() {
        return Err(SourceProblem::NoName);
    }
    if name.len() > MAX_DISK_NAME_BYTES {
        return Err(SourceProblem::TooLong);
    }
    name.chars().find(|c| !c.is_ascii_graphic()).map_or(Ok(()), |c| Err(SourceProblem::Character(c)))
}

/// As it is written.
impl fmt::Display for DiskSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(name) => write!(f, "partition:{name}"),
            Self::Disk(name) => write!(f, "disk:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_source_is_written_as_it_was_read() {
        for text in ["partition:web-root", "partition:a b ü", "disk:nvme0n1", "file:images/rootfs.img"] {
            assert_eq!(DiskSource::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_names_no_source_is_refused() {
        for (text, problem) in [
            ("web-root", SourceProblem::NoKind),
            ("lvm:root", SourceProblem::NoKind),
            ("partition:", SourceProblem::NoName),
            ("partition:0123456789012345678901234567890123456", SourceProblem::TooLong),
            ("partition:a\n", SourceProblem::Character('\n')),
            ("disk:", SourceProblem::NoName),
            ("disk:01234567890123456789012345678901", SourceProblem::TooLong),
            ("disk:a b", SourceProblem::Character(' ')),
            ("file:../x", SourceProblem::Path(PathProblem::Part)),
        ] {
            assert_eq!(DiskSource::parse(text), Err(problem), "{text:?}");
        }
    }
}
