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

    fn parts(&self) -> [&[u8]; 3] {
        [self.addresses, self.tag.get(..self.tag_len).unwrap_or_default(), self.rest]
    }

    /// Its length.
    pub fn len_bytes(&self) -> u32 {
        self.parts().iter().map(|part| part.len() as u32).sum()
    }

    /// The `len_bytes` from byte `from` on, in pieces: where each belongs, counted from there.
    pub fn pieces(&self, from: u32, len_bytes: u32) -> impl Iterator<Item = (u32, &[u8])> {
        let (from, end) = (from as usize, from.saturating_add(len_bytes) as usize);
        let mut start = 0;
        self.parts().into_iter().filter_map(move |part| {
            let first = from.saturating_sub(start).min(part.len());
            let last = end.saturating_sub(start).min(part.len());
            let place = (start + first).saturating_sub(from) as u32;
            start += part.len();
            part.get(first..last).filter(|bytes| !bytes.is_empty()).map(|bytes| (place, bytes))
        })
    }

    /// Copies what is from byte `from` on to `to`, as far as that reaches.
    pub fn copy(&self, from: u32, to: &mut [u8]) {
        let len_bytes = u32::try_from(to.len()).unwrap_or(u32::MAX);
        for (place, bytes) in self.pieces(from, len_bytes) {
            let to = to.get_mut(place as usize..).unwrap_or_default();
            to.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        }
    }
}
