//! Paths of files that the configuration names: relative to it, and legal on the ESP's FAT file system.

use alloc::string::String;
use core::fmt;

/// The longest path, in bytes: what a FAT long name can hold.
pub const MAX_PATH_BYTES: usize = 255;

/// Names in the configuration's own directory that Cofferdam's files have.
const RESERVED: [&str; 3] = [crate::FILE_NAME, "hypervisor.elf", "overrides"];

/// A path below the directory of the configuration: printable ASCII, parts separated by `/`, none of them `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

/// Why a text is no such path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathProblem {
    /// It is empty.
    Empty,
    /// It has more than 255 bytes.
    TooLong,
    /// It begins with `/`.
    Absolute,
    /// It uses `\` between its parts.
    Backslash,
    /// A part is empty, `.` or `..`.
    Part,
    /// A part ends in a dot or a blank, which FAT drops.
    TrailingDotOrBlank,
    /// It holds a character that a file name on FAT cannot have, or that is not printable ASCII.
    Character(char),
    /// The name belongs to one of Cofferdam's own files.
    Reserved,
}

impl fmt::Display for PathProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty; name a file"),
            Self::TooLong => write!(f, "is longer than {MAX_PATH_BYTES} bytes; shorten it"),
            Self::Absolute => f.write_str("is absolute; name the file relative to the configuration"),
            Self::Backslash => f.write_str("uses \\ between its parts; write /"),
            Self::Part => {
                f.write_str("has an empty, \".\" or \"..\" part; name a file below the configuration")
            }
            Self::TrailingDotOrBlank => {
                f.write_str("has a part that ends in a dot or a blank, which FAT drops; rename the file")
            }
            Self::Character(c) => {
                write!(f, "holds {c:?}; use printable ASCII without any of : * ? \" < > |")
            }
            Self::Reserved => f.write_str("is the name of a file of Cofferdam's own; rename the file"),
        }
    }
}

impl core::error::Error for PathProblem {}

impl RelativePath {
    /// The path `text`.
    ///
    /// # Errors
    /// The [`PathProblem`] that rules it out.
    pub fn new(text: &str) -> Result<Self, PathProblem> {
        if text.is_empty() {
            return Err(PathProblem::Empty);
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(PathProblem::TooLong);
        }
        if text.starts_with('/') {
            return Err(PathProblem::Absolute);
        }
        if text.contains('\\') {
            return Err(PathProblem::Backslash);
        }
        let illegal =
            |c: &char| !matches!(c, ' '..='~') || matches!(c, ':' | '*' | '?' | '"' | '<' | '>' | '|');
        if let Some(c) = text.chars().find(illegal) {
            return Err(PathProblem::Character(c));
        }
        text.split('/').try_for_each(check_part)?;
        if RESERVED.iter().any(|name| name.eq_ignore_ascii_case(text)) {
            return Err(PathProblem::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether FAT, which ignores case, holds both under the same name.
    pub fn is_same_on_fat(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

fn check_part(part: &str) -> Result<(), PathProblem> {
    if matches!(part, "" | "." | "..") {
        return Err(PathProblem::Part);
    }
    if part.ends_with(['.', ' ']) {
        return Err(PathProblem::TrailingDotOrBlank);
    }
    Ok(())
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_the_configuration_are_named() {
        for text in ["vmlinux", "guests/demo/vmlinux-6.12", "a b.cpio", ".hidden", "x+y,z=1;[2]"] {
            assert_eq!(RelativePath::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_leaves_the_directory_or_fat_cannot_hold_is_refused() {
        let long = "x".repeat(256);
        for (text, problem) in [
            ("", PathProblem::Empty),
            (long.as_str(), PathProblem::TooLong),
            ("/etc/passwd", PathProblem::Absolute),
            ("a\\b", PathProblem::Backslash),
            ("../x", PathProblem::Part),
            ("a//b", PathProblem::Part),
            ("a/./b", PathProblem::Part),
            ("a/", PathProblem::Part),
            ("a./b", PathProblem::TrailingDotOrBlank),
            ("a ", PathProblem::TrailingDotOrBlank),
            ("C:vmlinux", PathProblem::Character(':')),
            ("ü", PathProblem::Character('ü')),
            ("a\0", PathProblem::Character('\0')),
            ("Hypervisor.ELF", PathProblem::Reserved),
        ] {
            assert_eq!(RelativePath::new(text), Err(problem), "{text:?}");
        }
    }
}
