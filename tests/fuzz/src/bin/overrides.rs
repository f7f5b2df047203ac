//! Boot overrides: any file and any load options give words that the handoff can hold, or an error that can be shown.
//! What was accepted means the same when it is read again.
//!
//! The input: length of the load options u8, the load options (UCS-2), the file.

#![no_main]

use boot::overrides::collect;
use fuzz::Bytes;
use handoff::MAX_OVERRIDES_BYTES;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    let options_bytes = input.u8();
    let options = input.take(options_bytes.into());
    match collect(input.rest(), options) {
        Ok(words) => {
            assert!(
                words.len() <= MAX_OVERRIDES_BYTES && words.bytes().all(|byte| matches!(byte, b' '..=b'~'))
            );
            // A word that begins with '#' cannot be: its rest would be a comment.
            assert_eq!(collect(words.as_bytes(), &[]), Ok(words));
        }
        Err(error) => assert!(error.to_string().contains(": ")),
    }
});
