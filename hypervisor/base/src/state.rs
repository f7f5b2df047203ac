//! The saved-state codec: a stream of named, versioned sections, each a field-numbered CBOR map.
//!
//! ```text
//! [ "uart16550", version, critical?, bytes(payload) ] [ ... ] ...
//! ```
//!
//! Rules, so that any version can be read for ever:
//! - a field's number is never used again for another meaning; new fields are optional;
//! - a reader skips unknown fields, and unknown sections that are not critical;
//! - an unknown critical section, or a version newer than the reader's, is refused by name;
//! - loading treats every byte as hostile: a device checks ranges before it takes a value.

use alloc::{string::String, vec::Vec};
use core::fmt;
use minicbor::{Decoder, Encoder, data::Type};

/// What can be quiesced into bytes and brought back: every device, and the vCPU.
pub trait SavedState: Sized {
    /// The section's name, unique within a VM.
    const SECTION: &'static str;
    /// The newest version that this code writes; it reads all older ones.
    const VERSION: u16;
    /// The plain data that is written: a `minicbor` map with numbered fields.
    type Image: for<'a> minicbor::Decode<'a, ()> + minicbor::Encode<()>;

    /// The state as plain data.
    fn save(&self) -> Self::Image;

    /// Takes over saved data after checking every range.
    ///
    /// # Errors
    /// [`StateError::OutOfRange`] naming the field; `self` is unchanged then.
    fn load(&mut self, image: Self::Image) -> Result<(), StateError>;
}

/// Why saved state was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    /// The bytes are not the codec's.
    Malformed {
        /// The section that was being read, or empty between sections.
        section: String,
    },
    /// A section that must be understood is unknown here.
    UnknownCritical(String),
    /// A section was written by a newer version.
    TooNew {
        /// The section's name.
        section: String,
        /// The version found.
        found: u16,
        /// The newest version that can be read.
        newest: u16,
    },
    /// A field's value is impossible.
    OutOfRange {
        /// The section's name.
        section: &'static str,
        /// The field's name.
        field: &'static str,
    },
    /// A section that is needed is absent.
    Missing(&'static str),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { section } => write!(f, "saved state: section {section:?} is damaged"),
            Self::UnknownCritical(name) => {
                write!(
                    f,
                    "saved state: section {name:?} is unknown and critical; use the version that wrote it"
                )
            }
            Self::TooNew { section, found, newest } => {
                write!(
                    f,
                    "saved state: section {section:?} has version {found}; this build reads up to {newest}"
                )
            }
            Self::OutOfRange { section, field } => {
                write!(f, "saved state: section {section:?}: field {field:?} is out of range")
            }
            Self::Missing(name) => write!(f, "saved state: section {name:?} is missing"),
        }
    }
}

impl core::error::Error for StateError {}

/// Whether a reader that does not know a section may skip it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Must be understood.
    Critical,
    /// May be skipped.
    Optional,
}

/// Writes sections one after the other.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `device` as a critical section.
    pub fn section<D: SavedState>(&mut self, device: &D) {
        self.raw_section(D::SECTION, D::VERSION, Importance::Critical, &device.save());
    }

    /// Appends a section by its parts.
    pub fn raw_section<T: minicbor::Encode<()>>(
        &mut self,
        name: &str,
        version: u16,
        importance: Importance,
        image: &T,
    ) {
        let mut payload = Vec::new();
        // Writing into a `Vec` cannot fail: its error type is `Infallible`.
        let _ = minicbor::encode(image, &mut payload);
        let mut e = Encoder::new(&mut self.bytes);
        let _ = e.array(4).and_then(|e| e.str(name)).and_then(|e| e.u16(version));
        let _ = e.bool(importance == Importance::Critical).and_then(|e| e.bytes(&payload));
    }

    /// The stream.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// One section as read, not yet interpreted.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// The section's name.
    pub name: &'a str,
    /// The version of its writer.
    pub version: u16,
    /// Whether it must be understood.
    pub importance: Importance,
    payload: &'a [u8],
}

impl Section<'_> {
    /// Loads the section into `device`.
    ///
    /// # Errors
    /// As [`StateError`] says; `device` is unchanged then.
    pub fn load_into<D: SavedState>(&self, device: &mut D) -> Result<(), StateError> {
        if self.version > D::VERSION {
            let section = String::from(self.name);
            return Err(StateError::TooNew { section, found: self.version, newest: D::VERSION });
        }
        let image = minicbor::decode(self.payload)
            .map_err(|_| StateError::Malformed { section: String::from(self.name) })?;
        device.load(image)
    }
}

/// Reads sections one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    decoder: Decoder<'a>,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { decoder: Decoder::new(bytes) }
    }

    /// The next section, or `None` at the end.
    ///
    /// # Errors
    /// [`StateError::Malformed`] when the bytes are not a section.
    pub fn next_section(&mut self) -> Result<Option<Section<'a>>, StateError> {
        match self.decoder.datatype() {
            Ok(Type::Array) => {}
            Err(e) if e.is_end_of_input() => return Ok(None),
            _ => return Err(StateError::Malformed { section: String::new() }),
        }
        self.section().map(Some).map_err(|_| StateError::Malformed { section: String::new() })
    }

    fn section(&mut self) -> Result<Section<'a>, minicbor::decode::Error> {
        let d = &mut self.decoder;
        if d.array()? != Some(4) {
            return Err(minicbor::decode::Error::message("a section has four parts"));
        }
        let (name, version) = (d.str()?, d.u16()?);
        let importance = if d.bool()? { Importance::Critical } else { Importance::Optional };
        Ok(Section { name, version, importance, payload: d.bytes()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[derive(Default, Debug, PartialEq)]
    struct Counter(u8);

    #[derive(minicbor::Encode, minicbor::Decode)]
    #[cbor(map)]
    struct CounterImage {
        #[n(0)]
        value: u32,
    }

    impl SavedState for Counter {
        const SECTION: &'static str = "counter";
        const VERSION: u16 = 1;
        type Image = CounterImage;

        fn save(&self) -> CounterImage {
            CounterImage { value: self.0.into() }
        }

        fn load(&mut self, image: CounterImage) -> Result<(), StateError> {
            let out_of_range = StateError::OutOfRange { section: Self::SECTION, field: "value" };
            self.0 = image.value.try_into().map_err(|_| out_of_range)?;
            Ok(())
        }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let mut writer = Writer::new();
        writer.section(&Counter(7));
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        let mut back = Counter::default();
        reader.next_section().unwrap().unwrap().load_into(&mut back).unwrap();
        assert_eq!(back, Counter(7));
        assert!(reader.next_section().unwrap().is_none());
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut writer = Writer::new();
        writer.raw_section("counter", 2, Importance::Critical, &CounterImage { value: 1 });
        let bytes = writer.finish();
        let section = Reader::new(&bytes).next_section().unwrap().unwrap();
        let error = section.load_into(&mut Counter::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "saved state: section \"counter\" has version 2; this build reads up to 1"
        );
    }

    #[test]
    fn an_impossible_value_leaves_the_device_as_it_was() {
        let mut writer = Writer::new();
        writer.raw_section("counter", 1, Importance::Critical, &CounterImage { value: 256 });
        let bytes = writer.finish();
        let mut device = Counter(3);
        let section = Reader::new(&bytes).next_section().unwrap().unwrap();
        assert!(section.load_into(&mut device).is_err());
        assert_eq!(device, Counter(3));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while let Ok(Some(section)) = reader.next_section() {
                let _ = section.load_into(&mut Counter::default());
            }
        }
    }
}
