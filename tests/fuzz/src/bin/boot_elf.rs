//! The hypervisor's file: any bytes give an image or an error that can be shown, and never a panic. An accepted image
//! - has segments of whole pages, in order, within its length;
//! - is entered in an executable segment;
//! - differs by where it is to run in no executable segment, since relocations spare those.

#![no_main]

use boot::elf::{Image, MAX_IMAGE_BYTES};
use handoff::Protection;
use libfuzzer_sys::fuzz_target;

/// Longer images differ in zeros alone: filling them would only cost time.
const LOADED_MAX_BYTES: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let image = match Image::parse(data) {
        Ok(image) => image,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(image.len_bytes() <= MAX_IMAGE_BYTES && image.len_bytes().is_multiple_of(base::PAGE_BYTES));
    let mut end = 0;
    for segment in image.segments() {
        assert!(segment.offset_bytes.is_multiple_of(base::PAGE_BYTES) && segment.len_bytes > 0);
        assert!(segment.len_bytes.is_multiple_of(base::PAGE_BYTES) && segment.offset_bytes >= end);
        end = segment.offset_bytes + segment.len_bytes;
    }
    assert_eq!(end, image.len_bytes());
    let executable: Vec<_> = image
        .segments()
        .into_iter()
        .filter(|segment| segment.protection == Protection::ReadExecute)
        .map(|segment| segment.offset_bytes as usize..(segment.offset_bytes + segment.len_bytes) as usize)
        .collect();
    assert!(executable.iter().any(|range| range.contains(&(image.entry_offset_bytes() as usize))));

    if image.len_bytes() > LOADED_MAX_BYTES {
        return;
    }
    let loaded_at = |start| {
        let mut memory = vec![0xcc; image.len_bytes() as usize];
        image.load(&mut memory, start).expect("the memory has the image's length");
        memory
    };
    let (here, there) = (loaded_at(0xffff_ffff_8000_0000), loaded_at(0xffff_ffff_9fe0_0000));
    for range in executable {
        assert_eq!(here[range.clone()], there[range]);
    }
});
