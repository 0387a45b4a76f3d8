//! The write-ahead log of the model: records with a timeline, an end and a payload.

/// One record. Payloads of writes grow along every log, since they are numbered as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pub timeline: u32,
    pub end: u64,
    pub payload: u64,
}

/// Where every log starts.
const ORIGIN: u64 = 0x0100_0000;

#[derive(Clone, Debug)]
pub struct Log {
    records: Vec<Record>,
    /// How many records are flushed.
    flushed: usize,
    first_timeline: u32,
}

impl Log {
    pub fn starting(timeline: u32) -> Self {
        Self {
            records: Vec::new(),
            flushed: 0,
            first_timeline: timeline,
        }
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    pub fn flushed_records(&self) -> &[Record] {
        self.records.get(..self.flushed).unwrap_or_default()
    }

    pub fn timeline(&self) -> u32 {
        self.records
            .last()
            .map_or(self.first_timeline, |record| record.timeline)
    }

    pub fn end(&self) -> u64 {
        self.records.last().map_or(ORIGIN, |record| record.end)
    }

    pub fn flushed_end(&self) -> u64 {
        self.flushed_records()
            .last()
            .map_or(ORIGIN, |record| record.end)
    }

    /// Sizes differ, so that diverged logs differ in positions too.
    pub fn append(&mut self, timeline: u32, payload: u64) {
        let end = self.end() + 48 + 8 * (payload % 7);
        self.records.push(Record {
            timeline,
            end,
            payload,
        });
    }

    /// Appends what a walsender sent, from where this log ends.
    pub fn receive(&mut self, records: &[Record]) {
        for record in records {
            if record.end > self.end() {
                self.records.push(*record);
            }
        }
    }

    pub fn flush(&mut self) {
        self.flushed = self.records.len();
    }

    pub fn lose_unflushed(&mut self) {
        self.records.truncate(self.flushed);
    }

    pub fn flushed_after(&self, after: u64, limit: usize) -> Vec<Record> {
        let flushed = self.flushed_records();
        let start = flushed.partition_point(|record| record.end <= after);
        flushed.iter().skip(start).take(limit).copied().collect()
    }

    /// Whether a write is in the log.
    pub fn contains(&self, write: u64) -> bool {
        holds(&self.records, write)
    }

    pub fn has_flushed(&self, record: &Record) -> bool {
        let flushed = self.flushed_records();
        let at = flushed.partition_point(|other| other.end < record.end);
        flushed.get(at) == Some(record)
    }

    /// The record of a write.
    pub fn find(&self, payload: u64) -> Option<Record> {
        self.records
            .iter()
            .rev()
            .find(|record| record.payload == payload)
            .copied()
    }

    /// Cuts off what is not a part of `other`, and takes the rest over from there.
    pub fn become_copy_of(&mut self, other: &Self) {
        self.records.clone_from(&other.records);
        self.flushed = self.records.len();
        self.first_timeline = other.first_timeline;
    }
}

/// Whether a write stands where it must in a log that is in order: numbers grow along it, those of timelines' first
/// records included. Where it does not, the log may have it all the same, if it is not in order.
pub fn is_in_place(records: &[Record], write: u64) -> bool {
    let at = records.partition_point(|record| record.payload & !super::FIRST_RECORD < write);
    records
        .get(at)
        .is_some_and(|record| record.payload == write)
}

/// At its place, or backwards from the end.
fn holds(records: &[Record], write: u64) -> bool {
    if is_in_place(records, write) {
        return true;
    }
    for record in records.iter().rev() {
        if record.payload == write {
            return true;
        }
        if record.payload < super::FIRST_RECORD && record.payload < write {
            return false;
        }
    }
    false
}
