//! What can be wrong with a configuration. Every error says where, what, and what to do about it.

use crate::path::PathProblem;
use crate::position::Position;
use crate::size::SizeProblem;
use alloc::string::String;
use base::{ByteSize, VmName};
use core::fmt;

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where in the text.
    pub position: Position,
    /// Which part of the configuration.
    pub subject: Subject,
    /// Which key of that part, when the problem is with one.
    pub key: Option<&'static str>,
    /// What is wrong.
    pub problem: Problem,
}

/// The part of the configuration that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The file as a whole.
    File,
    /// The `[host]` table.
    Host,
    /// A `[[vm]]` table whose name is not known, counted from 1.
    UnnamedVm(usize),
    /// The VM of this name.
    Vm(VmName),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Host => f.write_str("host: "),
            Self::UnnamedVm(ordinal) => write!(f, "vm number {ordinal}: "),
            Self::Vm(name) => write!(f, "vm \"{name}\": "),
        }
    }
}

/// A type of TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text in quotes.
    String,
    /// A whole number.
    Integer,
    /// A number with a fraction or an exponent.
    Float,
    /// `true` or `false`.
    Boolean,
    /// A date, a time or both.
    Datetime,
    /// Values in brackets.
    Array,
    /// Keys and values.
    Table,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Float => "a float",
            Self::Boolean => "a boolean",
            Self::Datetime => "a date or time",
            Self::Array => "an array",
            Self::Table => "a table",
        })
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is nothing in the file.
    Empty,
    /// The file has this many bytes, more than [`crate::MAX_TEXT_BYTES`].
    TextTooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// A byte is not part of a UTF-8 character.
    NotUtf8,
    /// Brackets or dotted keys are nested too deep.
    TooDeep,
    /// It is not TOML, in the parser's words.
    Syntax(String),
    /// A key that has no meaning.
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A key that has to be there is not.
    Missing,
    /// A value of another type.
    WrongType {
        /// The type that was found.
        found: Type,
        /// What is expected, with an example.
        expected: &'static str,
    },
    /// A word that is not one of those allowed.
    UnknownWord {
        /// The word as it was written.
        word: String,
        /// The words that are allowed, as one text.
        allowed: &'static str,
    },
    /// A port at which no 16550 can be.
    BadPort,
    /// A text that cannot name a VM.
    BadVmName,
    /// Another VM has the name already.
    DuplicateVm {
        /// Where the other one's table begins.
        first: Position,
    },
    /// More VMs than [`crate::MAX_VMS`].
    TooManyVms,
    /// `attach` names no VM.
    NoSuchVm(VmName),
    /// More or fewer vCPUs than one.
    NotOneVcpu,
    /// A text that is no size.
    BadSize {
        /// The text.
        text: String,
        /// Why.
        problem: SizeProblem,
    },
    /// Memory outside the limits, or not whole pages.
    BadMemory(ByteSize),
    /// A text that is no path.
    BadPath {
        /// The text.
        text: String,
        /// Why.
        problem: PathProblem,
    },
    /// Two paths that differ in nothing but the case of letters.
    SameOnFat {
        /// The path that is refused.
        text: String,
        /// Where the other one is.
        first: Position,
    },
    /// More modules than [`crate::MAX_MODULES`].
    TooManyModules,
    /// A text longer than [`crate::MAX_CMDLINE_BYTES`].
    TooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// A text that holds a NUL.
    HoldsNul,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty; write a [[vm]] table"),
            Self::TextTooLong { len_bytes } => {
                write!(
                    f,
                    "the file has {len_bytes} bytes; {} are allowed, so shorten it",
                    crate::MAX_TEXT_BYTES
                )
            }
            Self::NotUtf8 => f.write_str("not UTF-8; save the file as UTF-8 text"),
            Self::TooDeep => f.write_str("nested too deep; write [host] and [[vm]] tables with plain values"),
            Self::Syntax(message) => write!(f, "not TOML: {message}; correct the line"),
            Self::UnknownKey { key, nearest: Some(nearest) } => {
                write!(f, "unknown key {key:?}; did you mean \"{nearest}\"?")
            }
            Self::UnknownKey { key, nearest: None } => write!(f, "unknown key {key:?}; remove it"),
            Self::Missing => f.write_str("is missing; add it"),
            Self::WrongType { found, expected } => write!(f, "is {found}; write {expected}"),
            Self::UnknownWord { word, allowed } => write!(f, "{word:?} is not known; write {allowed}"),
            Self::BadPort => f.write_str("is no port of a 16550; write 0x1 to 0xFFF8, usually 0x3F8"),
            Self::BadVmName => write!(f, "{}; choose such a name", base::InvalidVmName),
            Self::DuplicateVm { first } => {
                write!(f, "the VM at line {} has this name too; rename one of them", first.line)
            }
            Self::TooManyVms => write!(f, "more than {} VMs; remove some", crate::MAX_VMS),
            Self::NoSuchVm(name) => write!(f, "there is no VM \"{name}\"; name one of the [[vm]] tables"),
            Self::NotOneVcpu => f.write_str("this release gives each VM one vCPU; write vcpus = 1"),
            Self::BadSize { text, problem } => {
                write!(f, "{text:?} {problem}; write a size with K, M or G such as \"256M\"")
            }
            Self::BadMemory(size) => write!(
                f,
                "{size} is out of range; write {} to {} in steps of 4K",
                ByteSize(crate::MIN_MEMORY_BYTES),
                ByteSize(crate::MAX_MEMORY_BYTES)
            ),
            Self::BadPath { text, problem } => write!(f, "{text:?} {problem}"),
            Self::SameOnFat { text, first } => write!(
                f,
                "{text:?} and the path at line {} differ only in case, which FAT ignores; rename one of the files",
                first.line
            ),
            Self::TooManyModules => write!(f, "more than {} modules; remove some", crate::MAX_MODULES),
            Self::TooLong { len_bytes } => {
                write!(f, "has {len_bytes} bytes; {} are allowed, so shorten it", crate::MAX_CMDLINE_BYTES)
            }
            Self::HoldsNul => f.write_str("holds a NUL character; remove it"),
        }
    }
}

impl ConfigError {
    /// A problem with the file as a whole.
    pub(crate) const fn file(position: Position, problem: Problem) -> Self {
        Self { position, subject: Subject::File, key: None, problem }
    }

    /// The error as one line that names `file`, for a configuration that is not called `cofferdam.toml`.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        InFile { error: self, file }
    }
}

struct InFile<'a> {
    error: &'a ConfigError,
    file: &'a str,
}

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConfigError { position, subject, key, problem } = self.error;
        write!(f, "{}:{position}: {subject}", self.file)?;
        if let Some(key) = key {
            write!(f, "{key}: ")?;
        }
        problem.fmt(f)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.in_file(crate::FILE_NAME).fmt(f)
    }
}

impl core::error::Error for ConfigError {}
