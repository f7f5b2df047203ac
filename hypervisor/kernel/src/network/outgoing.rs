//! A complete frame on its way to a receiver, with the change of its VLAN tag.

use backends::switch::{TAG_AT, TagChange, tag_bytes};

const TAG_BYTES: usize = 4;

/// The bytes of a frame as its receiver gets them: what is before the tag, the tag, what is behind it.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    addresses: &'a [u8],
    tag: [u8; TAG_BYTES],
    tag_len: usize,
    rest: &'a [u8],
}

impl<'a> Outgoing<'a> {
    /// The frame `bytes` after `change`.
    pub fn new(bytes: &'a [u8], change: TagChange) -> Self {
        let (addresses, rest) = bytes.split_at_checked(TAG_AT).unwrap_or((bytes, &[]));
        let plain = Self { addresses, tag: [0; TAG_BYTES], tag_len: 0, rest };
        match change {
            TagChange::Keep => plain,
            TagChange::Insert(vlan) => Self { tag: tag_bytes(vlan), tag_len: TAG_BYTES, ..plain },
            TagChange::Remove => Self { rest: rest.get(TAG_BYTES..).unwrap_or_default(), ..plain },
        }
    }

    /// Its parts, one behind the other.
    pub fn parts(&self) -> [&[u8]; 3] {
        [self.addresses, self.tag.get(..self.tag_len).unwrap_or_default(), self.rest]
    }

    /// Its length.
    pub fn len_bytes(&self) -> u32 {
        self.parts().iter().map(|part| part.len() as u32).sum()
    }

    /// Copies it to `to`, as far as that reaches.
    pub fn copy(&self, to: &mut [u8]) {
        let mut rest = to;
        for part in self.parts() {
            let Some((here, behind)) = rest.split_at_mut_checked(part.len().min(rest.len())) else { return };
            here.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            rest = behind;
        }
    }
}
