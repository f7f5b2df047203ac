//! Configuration space for tests: registers with bits that stick or do not, and a record of what was written.

use super::{Address, ConfigSpace};
use core::ops::RangeInclusive;
use std::collections::BTreeMap;
use std::vec::Vec;

#[derive(Default)]
pub struct FakeConfig {
    /// Value, and which bits of it can be written.
    registers: BTreeMap<(Address, u16), (u32, u32)>,
    writes: Vec<(Address, u16, u32)>,
}

impl FakeConfig {
    /// Puts registers that can be written from `offset` on.
    pub fn put(&mut self, at: Address, offset: u16, values: &[u32]) {
        for (index, value) in values.iter().enumerate() {
            self.put_masked(at, offset + 4 * index as u16, *value, u32::MAX);
        }
    }

    pub fn put_masked(&mut self, at: Address, offset: u16, value: u32, writable: u32) {
        self.registers.insert((at, offset & !3), (value, writable));
    }

    /// What was written: address, offset, value.
    pub fn writes(&self) -> &[(Address, u16, u32)] {
        &self.writes
    }
}

impl ConfigSpace for FakeConfig {
    fn buses(&self) -> impl Iterator<Item = (u16, RangeInclusive<u8>)> {
        core::iter::once((0, 0..=0xff))
    }

    fn read32(&self, at: Address, offset: u16) -> u32 {
        let here = self.registers.get(&(at, offset & !3));
        let absent = if self.registers.contains_key(&(at, 0)) { 0 } else { u32::MAX };
        here.map_or(absent, |(value, _)| *value)
    }

    fn write32(&mut self, at: Address, offset: u16, value: u32) {
        self.writes.push((at, offset & !3, value));
        if let Some((now, writable)) = self.registers.get_mut(&(at, offset & !3)) {
            *now = *now & !*writable | value & *writable;
        }
    }
}
