//! Boot overrides: `key=value` words for the kernel, from the file `overrides` and from the load options of the boot
//! entry. Boot passes them on unread; where a key comes twice, the later one (the load options') counts.

use alloc::string::String;
use core::fmt;
use handoff::MAX_OVERRIDES_BYTES;

/// What is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverridesError {
    /// This line, from 1, holds something else than printable ASCII.
    NotText(usize),
    /// This line has a word that is not `key=value`.
    NotAWord {
        /// The line, from 1.
        line: usize,
        /// The word.
        word: String,
    },
    /// All words together are longer than [`MAX_OVERRIDES_BYTES`].
    TooLong,
}

impl fmt::Display for OverridesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText(line) => write!(f, "{line}: not printable ASCII; correct or delete the file"),
            Self::NotAWord { line, word } => {
                write!(f, "{line}: {word:?} is not of the form key=value; correct it")
            }
            Self::TooLong => {
                write!(f, "1: more than {MAX_OVERRIDES_BYTES} bytes with the load options; shorten it")
            }
        }
    }
}

impl core::error::Error for OverridesError {}

/// All words, separated by blanks: those of `file`, then those of `load_options`.
///
/// The file is the operator's and must be right. Load options can hold anything (a shell puts the program's name
/// there, boot managers put data of their own): what is not a word is no override.
///
/// # Errors
/// What is wrong with the file, or that there is too much.
pub fn collect(file: &[u8], load_options: &[u8]) -> Result<String, OverridesError> {
    let mut words = String::new();
    for (index, line) in file.split(|&b| b == b'\n').enumerate() {
        let line_number = index + 1;
        let text = core::str::from_utf8(line).ok().filter(|text| text.bytes().all(is_text));
        let text = text.ok_or(OverridesError::NotText(line_number))?;
        for word in text.split_ascii_whitespace().take_while(|word| !word.starts_with('#')) {
            if !is_override(word) {
                let word = word.chars().take(64).collect();
                return Err(OverridesError::NotAWord { line: line_number, word });
            }
            push(&mut words, word)?;
        }
    }
    let options = text_of(load_options).unwrap_or_default();
    options
        .split_ascii_whitespace()
        .filter(|word| is_override(word))
        .try_for_each(|word| push(&mut words, word))?;
    Ok(words)
}

fn push(words: &mut String, word: &str) -> Result<(), OverridesError> {
    if words.len() + 1 + word.len() > MAX_OVERRIDES_BYTES {
        return Err(OverridesError::TooLong);
    }
    if !words.is_empty() {
        words.push(' ');
    }
    words.push_str(word);
    Ok(())
}

/// The ASCII text of load options in UCS-2, up to a NUL, or `None` when they are something else.
fn text_of(load_options: &[u8]) -> Option<String> {
    let units = load_options.chunks_exact(2).filter_map(|pair| pair.first_chunk());
    let units = units.map(|pair| u16::from_le_bytes(*pair)).take_while(|&unit| unit != 0);
    units.map(|unit| u8::try_from(unit).ok().filter(|b| is_text(*b)).map(char::from)).collect()
}

const fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\r')
}

/// Whether `word` is a key of lower-case letters, digits, `_`, `-` and `.`, an equals sign and a value.
fn is_override(word: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    word.split_once('=').is_some_and(|(key, _)| !key.is_empty() && key.bytes().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec::Vec};

    fn ucs2(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn words_of_the_file_come_before_those_of_the_load_options() {
        let words = collect(b"log=debug # why\r\n\n console=com2\n", &ucs2("BOOTX64.EFI log=trace\0"));
        assert_eq!(words.unwrap(), "log=debug console=com2 log=trace");
    }

    #[test]
    fn load_options_that_are_no_text_are_ignored() {
        assert_eq!(collect(b"", &[0xFF, 0xFE, 0x01]).unwrap(), "");
        assert_eq!(collect(b"", &ucs2("ü a=b")).unwrap(), "");
    }

    #[test]
    fn a_wrong_file_is_an_error_with_a_line() {
        let message = |file: &[u8]| collect(file, &[]).unwrap_err().to_string();
        assert_eq!(message(b"a=b\nquiet"), "2: \"quiet\" is not of the form key=value; correct it");
        assert_eq!(message(b"\n\xFF"), "2: not printable ASCII; correct or delete the file");
        assert_eq!(
            message("a=b\n".repeat(300).as_bytes()),
            "1: more than 1024 bytes with the load options; shorten it"
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_accepted_fits_the_handoff(file: Vec<u8>, options: Vec<u8>) {
            if let Ok(words) = collect(&file, &options) {
                assert!(words.len() <= MAX_OVERRIDES_BYTES && words.bytes().all(|b| matches!(b, b' '..=b'~')));
            }
        }
    }
}
