//! The payload: CBOR maps with numbered fields. Numbers are never used again for another meaning.

use crate::error::{Field, HandoffError};
use crate::model::{EntropySource, File, Handoff, Image, MemoryRegion, Protection, RegionKind, Segment};
use alloc::{string::String, vec::Vec};
use base::{Hpa, PhysRange};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

#[derive(Encode, Decode)]
#[cbor(map)]
struct WireHandoff {
    #[n(0)]
    memory_map: Vec<WireRegion>,
    #[n(1)]
    rsdp: Option<u64>,
    #[n(2)]
    smbios: Option<u64>,
    #[n(3)]
    entropy: ByteArray<64>,
    #[n(4)]
    entropy_source: u8,
    #[n(5)]
    wall_clock_s: Option<u64>,
    #[n(6)]
    files: Vec<WireFile>,
    #[n(7)]
    boot_build_id: String,
    #[n(8)]
    image: WireImage,
    #[n(9)]
    boot_stack: WireRange,
    #[n(10)]
    boot_tables: WireRange,
    #[n(11)]
    overrides: String,
    #[n(12)]
    preserved: Vec<WireRange>,
    #[n(13)]
    tsc_at_start: u64,
    #[n(14)]
    tsc_at_exit: u64,
}

#[derive(Clone, Copy, Encode, Decode)]
#[cbor(map)]
struct WireRange {
    #[n(0)]
    start: u64,
    #[n(1)]
    len_bytes: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct WireRegion {
    #[n(0)]
    range: WireRange,
    #[n(1)]
    kind: u8,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct WireFile {
    #[n(0)]
    path: String,
    #[n(1)]
    range: WireRange,
    #[n(2)]
    sha256: ByteArray<32>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct WireImage {
    #[n(0)]
    range: WireRange,
    #[n(1)]
    virtual_start: u64,
    #[n(2)]
    segments: Vec<WireSegment>,
    #[n(3)]
    sha256: ByteArray<32>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct WireSegment {
    #[n(0)]
    offset_bytes: u64,
    #[n(1)]
    len_bytes: u64,
    #[n(2)]
    protection: u8,
}

/// The payload for `handoff`.
pub(crate) fn encode(handoff: &Handoff) -> Vec<u8> {
    let mut payload = Vec::new();
    // Writing into a `Vec` cannot fail: its error type is `Infallible`.
    let _ = minicbor::encode(to_wire(handoff), &mut payload);
    payload
}

/// The handoff in `payload`, its addresses and numbers checked one by one but not against each other.
pub(crate) fn decode(payload: &[u8]) -> Result<Handoff, HandoffError> {
    let mut decoder = minicbor::Decoder::new(payload);
    let wire: WireHandoff = decoder.decode().map_err(|error| HandoffError::Malformed {
        offset_bytes: error.position().unwrap_or_else(|| decoder.position()),
    })?;
    if decoder.position() != payload.len() {
        return Err(HandoffError::Malformed { offset_bytes: decoder.position() });
    }
    from_wire(wire)
}

fn to_wire(handoff: &Handoff) -> WireHandoff {
    let range = |r: PhysRange| WireRange { start: r.start().as_u64(), len_bytes: r.len_bytes() };
    let region = |r: &MemoryRegion| WireRegion { range: range(r.range), kind: r.kind as u8 };
    let file = |f: &File| WireFile { path: f.path.clone(), range: range(f.range), sha256: f.sha256.into() };
    let segment = |s: &Segment| WireSegment {
        offset_bytes: s.offset_bytes,
        len_bytes: s.len_bytes,
        protection: s.protection as u8,
    };
    WireHandoff {
        memory_map: handoff.memory_map.iter().map(region).collect(),
        rsdp: handoff.rsdp.map(Hpa::as_u64),
        smbios: handoff.smbios.map(Hpa::as_u64),
        entropy: handoff.entropy.into(),
        entropy_source: handoff.entropy_source as u8,
        wall_clock_s: handoff.wall_clock_s,
        files: handoff.files.iter().map(file).collect(),
        boot_build_id: handoff.boot_build_id.clone(),
        image: WireImage {
            range: range(handoff.image.range),
            virtual_start: handoff.image.virtual_start,
            segments: handoff.image.segments.iter().map(segment).collect(),
            sha256: handoff.image.sha256.into(),
        },
        boot_stack: range(handoff.boot_stack),
        boot_tables: range(handoff.boot_tables),
        overrides: handoff.overrides.clone(),
        preserved: handoff.preserved.iter().copied().map(range).collect(),
        tsc_at_start: handoff.tsc_at_start,
        tsc_at_exit: handoff.tsc_at_exit,
    }
}

fn from_wire(wire: WireHandoff) -> Result<Handoff, HandoffError> {
    Ok(Handoff {
        memory_map: wire.memory_map.into_iter().map(region).collect::<Result<_, _>>()?,
        rsdp: wire.rsdp.map(|a| address(Field::Rsdp, a)).transpose()?,
        smbios: wire.smbios.map(|a| address(Field::Smbios, a)).transpose()?,
        entropy: wire.entropy.into(),
        entropy_source: entropy_source(wire.entropy_source)?,
        wall_clock_s: wire.wall_clock_s,
        files: wire.files.into_iter().map(file).collect::<Result<_, _>>()?,
        boot_build_id: wire.boot_build_id,
        image: Image {
            range: range(Field::Image, wire.image.range)?,
            virtual_start: wire.image.virtual_start,
            segments: wire.image.segments.into_iter().map(segment).collect::<Result<_, _>>()?,
            sha256: wire.image.sha256.into(),
        },
        boot_stack: range(Field::BootStack, wire.boot_stack)?,
        boot_tables: range(Field::BootTables, wire.boot_tables)?,
        overrides: wire.overrides,
        preserved: wire
            .preserved
            .into_iter()
            .map(|r| range(Field::Preserved, r))
            .collect::<Result<_, _>>()?,
        tsc_at_start: wire.tsc_at_start,
        tsc_at_exit: wire.tsc_at_exit,
    })
}

fn address(field: Field, value: u64) -> Result<Hpa, HandoffError> {
    Hpa::new(value).map_err(|error| HandoffError::BadAddress(field, error))
}

fn range(field: Field, wire: WireRange) -> Result<PhysRange, HandoffError> {
    let start = address(field, wire.start)?;
    PhysRange::new(start, wire.len_bytes).map_err(|error| HandoffError::BadAddress(field, error))
}

fn region(wire: WireRegion) -> Result<MemoryRegion, HandoffError> {
    let kind = RegionKind::ALL.get(usize::from(wire.kind)).copied();
    let kind = kind.ok_or(HandoffError::UnknownNumber(Field::RegionKind, wire.kind.into()))?;
    Ok(MemoryRegion { range: range(Field::MemoryMap, wire.range)?, kind })
}

fn file(wire: WireFile) -> Result<File, HandoffError> {
    Ok(File { path: wire.path, range: range(Field::Files, wire.range)?, sha256: wire.sha256.into() })
}

fn segment(wire: WireSegment) -> Result<Segment, HandoffError> {
    let protection = match wire.protection {
        0 => Protection::ReadOnly,
        1 => Protection::ReadWrite,
        2 => Protection::ReadExecute,
        other => return Err(HandoffError::UnknownNumber(Field::Protection, other.into())),
    };
    Ok(Segment { offset_bytes: wire.offset_bytes, len_bytes: wire.len_bytes, protection })
}

fn entropy_source(number: u8) -> Result<EntropySource, HandoffError> {
    match number {
        0 => Ok(EntropySource::Firmware),
        1 => Ok(EntropySource::Rdrand),
        2 => Ok(EntropySource::Timing),
        other => Err(HandoffError::UnknownNumber(Field::EntropySource, other.into())),
    }
}
