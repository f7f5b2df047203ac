//! What firmware tells boot beside ACPI: memory maps, device paths and the time. Any values are taken.
//! - A memory map comes out in order, without overlaps, in whole pages; what firmware claims twice is of the more
//!   restrictive kind.
//! - A time is after 1970, in the order of the calendar.
//!
//! The input: which of the three u8, then its bytes.

#![no_main]

use base::PAGE_BYTES;
use boot::device_path;
use boot::memory_map::{self, Descriptor};
use boot::wall_clock::CalendarTime;
use fuzz::Bytes;
use libfuzzer_sys::{Corpus, fuzz_target};

/// The longest input: some forty descriptors of memory.
const MAX_BYTES: usize = 512;

/// The last second of the year 10000, by which a time zone cannot exceed.
const END_OF_TIME_S: u64 = 253_433_923_200;

fn memory_map(input: &mut Bytes<'_>) {
    let mut descriptors = Vec::new();
    while !input.is_empty() {
        let (kind, attributes) = (u32::from(input.u8()) % 17, u64::from(input.u8()) << 12);
        let (start, pages) = (input.scaled().wrapping_mul(PAGE_BYTES), input.scaled());
        descriptors.push(Descriptor { kind, start, pages, attributes });
    }
    let map = memory_map::build(&descriptors, &[]);
    let mut end = 0;
    for region in &map {
        let range = region.range;
        assert!(range.start().is_aligned(PAGE_BYTES) && range.len_bytes().is_multiple_of(PAGE_BYTES));
        assert!(!range.is_empty() && range.start().as_u64() >= end, "{map:?}");
        end = range.end_u64();
    }
    let ram_end = map.iter().filter(|region| region.kind.is_ram()).map(|region| region.range.end_u64()).max();
    assert!(ram_end.unwrap_or(0) <= memory_map::ram_end(&descriptors));
}

fn wall_clock(input: &mut Bytes<'_>) {
    let time = CalendarTime {
        year: input.u16(),
        month: input.u8(),
        day: input.u8(),
        hour: input.u8(),
        minute: input.u8(),
        second: input.u8(),
        zone_minutes: (input.u8() % 2 == 1).then(|| input.u16() as i16),
    };
    let Some(seconds) = time.unix_seconds() else { return };
    assert!(seconds <= END_OF_TIME_S);
    let later = CalendarTime { second: time.second + 1, ..time }.unix_seconds();
    assert!(later.is_none_or(|later| later == seconds + 1));
}

fuzz_target!(|data: &[u8]| -> Corpus {
    if data.len() > MAX_BYTES {
        return Corpus::Reject;
    }
    let mut input = Bytes::new(data);
    match input.u8() % 3 {
        0 => memory_map(&mut input),
        1 => wall_clock(&mut input),
        _ => _ = device_path::serial_port(input.rest()),
    }
    Corpus::Keep
});
