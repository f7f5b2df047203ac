//! Which partition a name means.

use super::{Guid, Partition, Table};
use core::fmt;

/// A partition and the disk that it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The disk's place among those that were searched.
    pub disk: usize,
    /// The disk's name.
    pub disk_name: &'a str,
    /// The partition.
    pub partition: &'a Partition,
}

/// Why a name means no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocateError<'a> {
    /// Nothing is called so.
    NotFound,
    /// Two are.
    Ambiguous {
        /// One of them.
        one: Found<'a>,
        /// The other.
        other: Found<'a>,
    },
}

impl fmt::Display for LocateError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => {
                f.write_str("no partition has this label, UUID, or disk and number: correct the name")
            }
            Self::Ambiguous { one, other } => write!(
                f,
                "partition {} of {} and partition {} of {} have this name: write disk and number, such as {}",
                one.partition.number,
                one.disk_name,
                other.partition.number,
                other.disk_name,
                Numbered { disk_name: one.disk_name, number: one.partition.number },
            ),
        }
    }
}

impl core::error::Error for LocateError<'_> {}

/// A partition by disk and number: the name that [`locate`] finds before any other.
pub struct Numbered<'a> {
    /// The disk's name.
    pub disk_name: &'a str,
    /// The partition's number.
    pub number: u32,
}

impl fmt::Display for Numbered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.disk_name, separator(self.disk_name), self.number)
    }
}

/// What stands between a disk's name and a number: nothing, or after a digit a `p`.
fn separator(disk_name: &str) -> &'static str {
    if disk_name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" }
}

/// The partition called `name` on one of `disks`.
///
/// Disk and number come first, then UUIDs, then labels: who can write a label must not be able to take a name from
/// another disk.
///
/// # Errors
/// When none is, or several are.
pub fn locate<'a>(
    name: &str,
    disks: impl Iterator<Item = (&'a str, &'a Table)> + Clone,
) -> Result<Found<'a>, LocateError<'a>> {
    let all = disks.enumerate().flat_map(|(disk, (disk_name, table))| {
        table.partitions.iter().map(move |partition| Found { disk, disk_name, partition })
    });
    let guid = Guid::try_parse(name).ok();
    let by_number = all.clone().filter(|found| is_numbered(name, found));
    let by_guid = all.clone().filter(|found| Some(found.partition.guid) == guid);
    let by_label = all.filter(|found| found.partition.label == name);
    let found = match only(by_number)? {
        Some(found) => Some(found),
        None => match only(by_guid)? {
            Some(found) => Some(found),
            None => only(by_label)?,
        },
    };
    found.ok_or(LocateError::NotFound)
}

fn is_numbered(name: &str, found: &Found<'_>) -> bool {
    let number = name.strip_prefix(found.disk_name);
    let number = number.and_then(|rest| rest.strip_prefix(separator(found.disk_name)));
    // `parse` would take a sign, and zeros in front.
    let digits = number.filter(|digits| digits.starts_with(|c: char| matches!(c, '1'..='9')));
    digits.and_then(|digits| digits.parse().ok()) == Some(found.partition.number)
}

/// The only one there is, or none.
fn only<'a>(mut found: impl Iterator<Item = Found<'a>>) -> Result<Option<Found<'a>>, LocateError<'a>> {
    match (found.next(), found.next()) {
        (Some(one), Some(other)) => Err(LocateError::Ambiguous { one, other }),
        (one, _) => Ok(one),
    }
}
