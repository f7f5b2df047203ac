//! Little-endian fields in a table's bytes, and entries that carry their length.

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_le_bytes)
}

pub fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array_at(bytes, offset).map(u64::from_le_bytes)
}

/// Splits `bytes` into entries whose 16-bit length is at offset 2. An entry shorter than that, or longer than what is
/// left, ends the walk as `None`.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = u16_at(rest, 2).map(usize::from).filter(|&len| len >= 4);
        let split = len.and_then(|len| rest.split_at_checked(len));
        let (entry, behind) = split.map_or((None, &[][..]), |(entry, behind)| (Some(entry), behind));
        rest = behind;
        Some(entry)
    })
}
