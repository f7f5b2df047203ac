//! The boot overrides that every build knows: `key=value` words that boot passes on. Of two with the same key the later
//! counts; words with other keys are somebody else's.

use core::fmt;
use virt::ApicVirtualization;

/// The key that says whether the processor may run guests' local APICs.
const APICV: &str = "apicv=";

/// A value that a key does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownValue<'a> {
    key: &'static str,
    value: &'a str,
    choices: &'static str,
}

impl fmt::Display for UnknownValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, choices } = self;
        write!(f, "boot override {key}{value}: choose {choices}, or leave it out")
    }
}

impl core::error::Error for UnknownValue<'_> {}

/// What the word `apicv=on` or `apicv=off` says.
///
/// # Errors
/// [`UnknownValue`] for any other value.
pub fn apic_virtualization(overrides: &str) -> Result<ApicVirtualization, UnknownValue<'_>> {
    match last(overrides, APICV) {
        None | Some("on") => Ok(ApicVirtualization::WherePresent),
        Some("off") => Ok(ApicVirtualization::Off),
        Some(value) => Err(UnknownValue { key: APICV, value, choices: "on or off" }),
    }
}

/// The value of the last word that begins with `key`.
fn last<'a>(overrides: &'a str, key: &str) -> Option<&'a str> {
    overrides.split(' ').filter_map(|word| word.strip_prefix(key)).next_back()
}
