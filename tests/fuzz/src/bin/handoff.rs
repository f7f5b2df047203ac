//! The handoff: any block gives a handoff or an error that can be shown, and never a panic. What is accepted can be
//! written again, and means the same.
//!
//! The input is a whole block, or with a first byte of 1 a payload that gets a sound header.

#![no_main]

use crc::{CRC_32_ISO_HDLC, Crc};
use libfuzzer_sys::fuzz_target;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// `payload` behind a header as the documentation of `handoff` has it.
fn with_header(payload: &[u8]) -> Vec<u8> {
    let mut block = b"COFRDAM\x1a".to_vec();
    block.extend(handoff::VERSION.to_le_bytes());
    block.extend((handoff::HEADER_BYTES as u16).to_le_bytes());
    block.extend((payload.len() as u32).to_le_bytes());
    block.extend([0; 8]);
    block.extend(CRC.checksum(payload).to_le_bytes());
    block.extend(CRC.checksum(&block).to_le_bytes());
    block.extend(payload);
    block
}

fuzz_target!(|data: &[u8]| {
    let block = match data {
        [1, payload @ ..] => with_header(payload),
        whole => whole.to_vec(),
    };
    match handoff::parse(&block) {
        Ok(parsed) => {
            let again = handoff::encode(&parsed).expect("what was accepted can be written");
            assert_eq!(handoff::parse(&again), Ok(parsed));
        }
        Err(error) => assert!(error.to_string().starts_with("handoff: ")),
    }
});
