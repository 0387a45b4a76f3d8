//! The notebook: records appended to one file, each whole or not there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use mainstay_promql::labels::Labels;
use mainstay_rt::files::fsync_dir;

use crate::wire::{Bytes, framed, put, put_labels, unframed};

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;

/// What a record says.
#[derive(Debug)]
pub enum Entry {
    /// From here on the number means these labels.
    Series(u64, Labels),
    /// Number, moment, bits of the value.
    Samples(Vec<(u64, i64, u64)>),
}

#[derive(Debug)]
pub struct Log {
    file: File,
    bytes: u64,
}

impl Log {
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(path)?;
        if let Some(folder) = path.parent() {
            // One that is not durable is not there.
            fsync_dir(folder).inspect_err(|_| drop(std::fs::remove_file(path)))?;
        }
        Ok(Self { file, bytes: 0 })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// After an error the file may end in a torn record: nothing more may be appended to it.
    pub fn append(
        &mut self,
        series: &[(u64, &Labels)],
        samples: &[(u64, i64, u64)],
    ) -> io::Result<()> {
        let mut records = Vec::new();
        for (number, labels) in series {
            let mut content = vec![SERIES];
            put(&mut content, *number);
            put_labels(&mut content, labels);
            records.extend(framed(&content));
        }
        if !samples.is_empty() {
            let mut content = vec![SAMPLES];
            put(&mut content, samples.len() as u64);
            for (number, at, value) in samples {
                put(&mut content, *number);
                content.extend_from_slice(&at.to_le_bytes());
                content.extend_from_slice(&value.to_le_bytes());
            }
            records.extend(framed(&content));
        }
        self.file.write_all(&records)?;
        self.bytes += records.len() as u64;
        Ok(())
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Every whole record, and how many bytes at the end belong to none.
pub fn read(bytes: &[u8]) -> (Vec<Entry>, usize) {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while let Some((content, after)) = unframed(rest) {
        let Some(entry) = entry(content) else { break };
        entries.push(entry);
        rest = after;
    }
    (entries, rest.len())
}

fn entry(content: &[u8]) -> Option<Entry> {
    let (kind, rest) = content.split_first()?;
    let mut bytes = Bytes(rest);
    match *kind {
        SERIES => Some(Entry::Series(bytes.number()?, bytes.labels()?)),
        SAMPLES => {
            let count = bytes.number()?;
            let mut samples = Vec::new();
            for _ in 0..count {
                samples.push((
                    bytes.number()?,
                    bytes.eight()?.cast_signed(),
                    bytes.eight()?,
                ));
            }
            Some(Entry::Samples(samples))
        }
        _ => None,
    }
}
