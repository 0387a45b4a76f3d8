//! Numbers, texts and labels as bytes, and back; nothing is believed that has a wrong checksum.

use mainstay_promql::labels::Labels;

/// Largest record that is read back.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// CRC-32 (IEEE 802.3), bit by bit over a table of nibbles.
pub fn checksum(bytes: &[u8]) -> u32 {
    const NIBBLES: [u32; 16] = [
        0x0000_0000,
        0x1db7_1064,
        0x3b6e_20c8,
        0x26d9_30ac,
        0x76dc_4190,
        0x6b6b_51f4,
        0x4db2_6158,
        0x5005_713c,
        0xedb8_8320,
        0xf00f_9344,
        0xd6d6_a3e8,
        0xcb61_b38c,
        0x9b64_c2b0,
        0x86d3_d2d4,
        0xa00a_e278,
        0xbdbd_f21c,
    ];
    let step = |crc: u32, nibble: u32| NIBBLES[((crc ^ nibble) & 15) as usize] ^ (crc >> 4);
    !bytes.iter().fold(!0, |crc, byte| {
        let byte = u32::from(*byte);
        step(step(crc, byte & 15), byte >> 4)
    })
}

/// Seven bits a byte, the lowest first.
pub fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub fn put_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    put(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

pub fn put_labels(bytes: &mut Vec<u8>, labels: &Labels) {
    put(bytes, labels.len() as u64);
    for (name, value) in labels.iter() {
        put_bytes(bytes, name.as_bytes());
        put_bytes(bytes, value.as_bytes());
    }
}

/// A record with its length and checksum in front.
pub fn framed(content: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(content.len() + 8);
    record.extend_from_slice(&(content.len() as u32).to_le_bytes());
    record.extend_from_slice(&checksum(content).to_le_bytes());
    record.extend_from_slice(content);
    record
}

/// The first record, and what follows it; nothing where it is torn or damaged.
pub fn unframed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(8)?;
    let length = u32::from_le_bytes(head.get(..4)?.try_into().ok()?) as usize;
    let wanted = u32::from_le_bytes(head.get(4..)?.try_into().ok()?);
    if length > RECORD_BYTES_MAX {
        return None;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    (checksum(content) == wanted).then_some((content, rest))
}

pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn eight(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    pub fn labels(&mut self) -> Option<Labels> {
        let count = self.number()?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.text()?, self.text()?));
        }
        Some(Labels::new(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_damaged_is_not_read() {
        let record = framed(b"hello");
        assert_eq!(unframed(&record), Some((&b"hello"[..], &b""[..])));
        for at in 0..record.len() {
            let mut damaged = record.clone();
            damaged[at] ^= 1;
            assert_eq!(unframed(&damaged), None, "byte {at}");
            assert_eq!(unframed(&record[..at]), None, "cut at {at}");
        }
    }
}
