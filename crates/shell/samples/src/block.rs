//! The folder of finished rows: chunks of many series in one file, written once.

use mainstay_chunk::Chunk;
use mainstay_promql::labels::Labels;

use crate::wire::{Bytes, framed, put, put_bytes, put_labels, unframed};

/// So that a file of another kind is not taken for one.
const MAGIC: &[u8] = b"mainstay samples block 1\n";

/// One record a series.
pub fn write(series: &[(&Labels, Vec<&Chunk>)]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    for (labels, chunks) in series {
        let mut content = Vec::new();
        put_labels(&mut content, labels);
        put(&mut content, chunks.len() as u64);
        for chunk in chunks {
            put(&mut content, u64::from(chunk.count()));
            put_bytes(&mut content, chunk.bytes());
        }
        file.extend(framed(&content));
    }
    // An empty record says that nothing was cut off.
    file.extend(framed(&[]));
    file
}

/// Nothing where any byte is wrong.
pub fn read(file: &[u8]) -> Option<Vec<(Labels, Vec<Chunk>)>> {
    let mut rest = file.strip_prefix(MAGIC)?;
    let mut series = Vec::new();
    loop {
        let (content, after) = unframed(rest)?;
        rest = after;
        if content.is_empty() {
            return rest.is_empty().then_some(series);
        }
        let mut bytes = Bytes(content);
        let labels = bytes.labels()?;
        let mut chunks = Vec::new();
        for _ in 0..bytes.number()? {
            let count = u32::try_from(bytes.number()?).ok()?;
            chunks.push(Chunk::restore(bytes.bytes()?, count).ok()?);
        }
        series.push((labels, chunks));
    }
}
