//! Firmware's tables, soundly summed, with anything inside: a fuzzer does not find checksums by chance.
//!
//! ```text
//! input:   [ signature's number u8 | length of the body u16 | body ] ...
//! memory:  0 RSDP   0x100 XSDT   0x400 first table, second table, ...
//! ```

use crate::Bytes;
use base::Hpa;

const XSDT: usize = 0x100;
/// Where the first table is: a FADT's body can name it as the DSDT.
const TABLES: usize = 0x400;
/// As many as the XSDT has room for.
const TABLES_MAX: usize = (TABLES - XSDT - HEADER_BYTES) / 8;
const HEADER_BYTES: usize = 36;

/// Memory from address 0 on, with an RSDP there that leads to the tables that `input` describes; signatures are counted
/// in `signatures`.
pub fn memory(input: &mut Bytes<'_>, signatures: &[[u8; 4]]) -> Vec<u8> {
    let mut memory = vec![0; TABLES];
    let mut addresses = Vec::new();
    while !input.is_empty() && addresses.len() / 8 < TABLES_MAX {
        let signature = input.pick(signatures);
        let len_bytes = input.u16();
        addresses.extend((memory.len() as u64).to_le_bytes());
        memory.extend(table(signature, input.take(len_bytes.into())));
    }
    for (at, content) in [(0, rsdp()), (XSDT, table(*b"XSDT", &addresses))] {
        memory[at..at + content.len()].copy_from_slice(&content);
    }
    memory
}

/// Sight of `memory` as `machine::acpi` wants it.
pub fn look<'a>(memory: &'a [u8]) -> impl Fn(Hpa, usize) -> Option<&'a [u8]> {
    move |address, len| memory.get(usize::try_from(address.as_u64()).ok()?..)?.get(..len)
}

fn table(signature: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&signature);
    bytes.extend(body);
    let len_bytes = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&len_bytes.to_le_bytes());
    bytes[9] = missing_to_zero(&bytes);
    bytes
}

fn rsdp() -> Vec<u8> {
    let mut bytes = b"RSD PTR \0FUZZER\x02\0\0\0\0".to_vec();
    bytes[8] = missing_to_zero(&bytes);
    bytes.extend(36_u32.to_le_bytes());
    bytes.extend((XSDT as u64).to_le_bytes());
    bytes.extend([0; 4]);
    bytes[32] = missing_to_zero(&bytes);
    bytes
}

/// What makes the sum of all bytes zero.
fn missing_to_zero(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_sub(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::acpi::Tables;

    #[test]
    fn the_tables_described_are_found() {
        let mut input = Bytes::new(&[1, 2, 0, 0xaa, 0xbb, 0, 255, 0, 7]);
        let memory = memory(&mut input, &[*b"SSDT", *b"APIC"]);
        let tables = Tables::find(Hpa::ZERO, &look(&memory)).unwrap();
        let bodies: Vec<_> = tables.iter().map(|table| (table.signature().0, table.body())).collect();
        assert_eq!(bodies, [(*b"APIC", &[0xaa, 0xbb][..]), (*b"SSDT", &[7][..])]);
        assert_eq!(tables.skipped, 0);
    }
}
