//! Bits after bits, the highest first.

use alloc::vec::Vec;

use crate::Damaged;

#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// Bits still free in the last byte.
    free: u32,
}

impl Writer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The lowest `width` bits of `value`.
    pub(crate) fn write(&mut self, value: u64, width: u32) {
        let mut left = width;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = (value >> (left - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::try_from(part << (self.free - take)).unwrap_or(0);
            }
            self.free -= take;
            left -= take;
        }
    }
}

pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn read(&mut self, width: u32) -> Result<u64, Damaged> {
        let mut value = 0;
        let mut left = width;
        while left > 0 {
            let byte = self.bytes.get(self.at / 8).ok_or(Damaged)?;
            let available = 8 - u32::try_from(self.at % 8).unwrap_or(0);
            let take = left.min(available);
            let part = (u64::from(*byte) >> (available - take)) & ((1 << take) - 1);
            value = (value << take) | part;
            self.at += usize::try_from(take).unwrap_or(0);
            left -= take;
        }
        Ok(value)
    }
}
