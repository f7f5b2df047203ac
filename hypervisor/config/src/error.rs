//! What can be wrong with a configuration. Every error says where, what, and what to do about it.

use crate::network::NetworkName;
use crate::path::PathProblem;
use crate::position::Position;
use crate::size::SizeProblem;
use crate::storage::SourceProblem;
use alloc::string::String;
use base::{ByteSize, MacAddress, VmName};
use core::fmt;
use core::net::IpAddr;

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
    /// A `[[vm.disk]]` table of the VM of this name, counted from 1.
    Disk(VmName, u8),
    /// A `[[vm.nic]]` table of the VM of this name, counted from 1.
    Nic(VmName, u8),
    /// A `[[network]]` table whose name is not known, counted from 1.
    UnnamedNetwork(usize),
    /// The network of this name.
    Network(NetworkName),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Host => f.write_str("host: "),
            Self::UnnamedVm(ordinal) => write!(f, "vm number {ordinal}: "),
            Self::Vm(name) => write!(f, "vm \"{name}\": "),
            Self::Disk(vm, ordinal) => write!(f, "vm \"{vm}\": disk {ordinal}: "),
            Self::Nic(vm, ordinal) => write!(f, "vm \"{vm}\": nic {ordinal}: "),
            Self::UnnamedNetwork(ordinal) => write!(f, "network number {ordinal}: "),
            Self::Network(name) => write!(f, "network \"{name}\": "),
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
    /// More of something than there can be.
    TooMany {
        /// What there can be so many of, in the plural.
        what: &'static str,
        /// How many.
        max: usize,
    },
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
    /// A text longer than [`crate::MAX_CMDLINE_BYTES`].
    TooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// A text that holds a NUL.
    HoldsNul,
    /// A text that names nothing that can stand behind a disk.
    BadSource {
        /// The text.
        text: String,
        /// Why.
        problem: SourceProblem,
    },
    /// A disk that refuses writes, with memory for them.
    OverlayOfReadOnly,
    /// An overlay outside the limits.
    BadOverlay(ByteSize),
    /// A writable source that stands behind another disk too, or is a file that a VM starts from.
    SourceInUse {
        /// The other VM; the same, when it has both.
        other: VmName,
        /// The line that says so.
        line: usize,
    },
    /// A text that cannot name a network.
    BadNetworkName,
    /// A text that cannot name a NIC of the host.
    BadUplinkName,
    /// Another network has the name, or the uplink, already.
    DuplicateNetwork {
        /// Where the other one's table begins.
        first: Position,
    },
    /// A NIC is on a network that there is not.
    NoSuchNetwork {
        /// The name as it was written.
        name: String,
        /// The network that was probably meant.
        nearest: Option<String>,
    },
    /// A text that is no address of one station.
    BadMac(String),
    /// A text that is no IP address of one station.
    BadIp(String),
    /// Another NIC on the network has the address already.
    DuplicateMac {
        /// The address.
        mac: MacAddress,
        /// Where that NIC's table begins.
        first: Position,
    },
    /// Another NIC on the network and VLAN has the address already.
    DuplicateIp {
        /// The address.
        ip: IpAddr,
        /// Where that NIC's table begins.
        first: Position,
    },
    /// A number that is no VLAN's.
    BadVlan,
    /// A text that is no rate.
    BadRate(String),
    /// A NIC that may talk to the uplink only, on a network that has none.
    IsolatedWithoutUplink,
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
            Self::TooMany { what, max } => write!(f, "more than {max} {what}; remove some"),
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
            Self::TooLong { len_bytes } => {
                write!(f, "has {len_bytes} bytes; {} are allowed, so shorten it", crate::MAX_CMDLINE_BYTES)
            }
            Self::HoldsNul => f.write_str("holds a NUL character; remove it"),
            Self::BadSource { text, problem } => write!(f, "{text:?} {problem}"),
            Self::OverlayOfReadOnly => {
                f.write_str("a read-only disk needs no memory for writes; remove overlay or read_only")
            }
            Self::BadOverlay(size) => write!(
                f,
                "{size} is out of range; write {} to {}",
                ByteSize(crate::MIN_OVERLAY_BYTES),
                ByteSize(crate::MAX_MEMORY_BYTES)
            ),
            Self::SourceInUse { other, line } => write!(
                f,
                "vm \"{other}\" uses it too, at line {line}, and one of them would write to it; add overlay or read_only = true"
            ),
            Self::BadNetworkName => {
                f.write_str("a network's name is 1 to 31 of a-z, 0-9 and -; choose such a name")
            }
            Self::BadUplinkName => {
                f.write_str("names no NIC of the host; write a name as `net list` shows it")
            }
            Self::DuplicateNetwork { first } => {
                write!(f, "the network at line {} has the same; change one of them", first.line)
            }
            Self::NoSuchNetwork { name, nearest: Some(nearest) } => {
                write!(f, "there is no network {name:?}; did you mean \"{nearest}\"?")
            }
            Self::NoSuchNetwork { name, nearest: None } => {
                write!(f, "there is no network {name:?}; add a [[network]] table")
            }
            Self::BadMac(text) => {
                write!(f, "{text:?} is no address of one NIC; write one such as \"52:54:00:12:34:56\"")
            }
            Self::BadIp(text) => {
                write!(f, "{text:?} is no address of one host; write one such as \"10.0.0.2\" or \"fd00::2\"")
            }
            Self::DuplicateMac { mac, first } => {
                write!(f, "the NIC at line {} has {mac} too; write another", first.line)
            }
            Self::DuplicateIp { ip, first } => {
                write!(f, "the NIC at line {} has {ip} too; write another", first.line)
            }
            Self::BadVlan => f.write_str("is no VLAN; write 1 to 4094, or remove it"),
            Self::BadRate(text) => {
                write!(f, "{text:?} is no rate; write 64Kbit to 1000Gbit such as \"100Mbit\" or \"1Gbit\"")
            }
            Self::IsolatedWithoutUplink => {
                f.write_str("the network has no uplink to talk to; add one, or write isolated = false")
            }
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
