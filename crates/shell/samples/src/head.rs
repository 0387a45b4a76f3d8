//! What is at hand: a row of packed chunks for each series, found by its labels.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_chunk::Chunk;
use mainstay_promql::labels::{Labels, NAME};
use mainstay_promql::matcher::Matcher;
use mainstay_promql::sample::{Sample, Series, Source, Value};
use mainstay_rt::files;

use crate::log::{Entry, Log};
use crate::{block, log};

/// Samples of one chunk: two minutes of a one-second scrape.
const CHUNK_SAMPLES: u32 = 120;
/// Largest file that is read back.
const FILE_BYTES_MAX: u64 = 1 << 30;

#[derive(Clone, Debug)]
pub struct Limits {
    /// Milliseconds that samples are kept.
    pub retention: i64,
    /// Series that are kept longer.
    pub longer: Option<Longer>,
    /// The log is put away when it is so long.
    pub log_bytes: u64,
    pub series: usize,
}

/// Few series that are wanted for long, such as recorded ones. They have blocks of their own, so that those of the many
/// can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Longer {
    /// Of their names.
    pub prefix: String,
    pub retention: i64,
}

impl Limits {
    fn is_long(&self, labels: &Labels) -> bool {
        let longer = self.longer.as_ref();
        longer.is_some_and(|longer| labels.get("__name__").starts_with(&longer.prefix))
    }

    fn retention_of(&self, labels: &Labels) -> i64 {
        match &self.longer {
            Some(longer) if self.is_long(labels) => longer.retention.max(self.retention),
            _ => self.retention,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retention: 24 * 3_600_000,
            longer: None,
            log_bytes: 32 << 20,
            series: 200_000,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    #[error("{action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("an earlier write failed: the log must be opened again")]
    Broken,
}

/// What was found when the folder was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    pub series: usize,
    pub samples: usize,
    /// Bytes at the ends of logs that were no whole record: writes that were under way.
    pub torn_bytes: usize,
    /// Blocks that are damaged; they are left where they are, and not read.
    pub damaged: Vec<PathBuf>,
}

/// What became of samples that were handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    pub stored: usize,
    /// Not newer than the last one of their series.
    pub old: usize,
    /// Of series beyond the limit.
    pub beyond_limit: usize,
}

#[derive(Debug, Default)]
struct Row {
    chunks: Vec<Chunk>,
    /// How many of the first chunks are in blocks.
    put_away: usize,
    fence: Fence,
}

/// The last moment of a row that a view sees: what was appended since the view was opened is later.
#[derive(Clone, Copy, Debug, Default)]
struct Fence {
    /// The view that it is of; of another one it says nothing.
    view: u64,
    last: i64,
}

impl Row {
    fn last(&self) -> Option<i64> {
        self.chunks.last().map(|chunk| chunk.span().1)
    }

    fn push(&mut self, at: i64, value: f64) -> bool {
        if self.last().is_some_and(|last| at <= last) {
            return false;
        }
        let full = |chunk: &Chunk| chunk.count() >= CHUNK_SAMPLES;
        if self.chunks.last().is_none_or(full) || self.chunks.len() == self.put_away {
            self.chunks.push(Chunk::default());
        }
        self.chunks
            .last_mut()
            .is_some_and(|chunk| chunk.push(at, value).is_ok())
    }
}

#[derive(Debug)]
pub struct Head {
    folder: PathBuf,
    limits: Limits,
    /// Found again by all of its labels, with every sample.
    numbers: HashMap<Labels, u64>,
    /// Labels that came before, by where their pairs stand: found without reading them. They are held, so that nothing
    /// else can come to stand there.
    places: HashMap<(usize, u8), (Labels, u64)>,
    /// By metric, then by labels: what a question goes through.
    metrics: BTreeMap<String, BTreeMap<Labels, u64>>,
    rows: BTreeMap<u64, (Labels, Row)>,
    next_number: u64,
    /// Counts the views; the last one is open or not.
    view: u64,
    view_is_open: bool,
    log: Log,
    /// The number that the next file gets.
    next_file: u64,
    /// Blocks with the moment until which something in them is wanted.
    blocks: Vec<(PathBuf, i64)>,
    broken: bool,
}

fn failed<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> SamplesError + 'p {
    move |source| SamplesError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Files of a folder whose names are numbers, in their order.
fn numbered(folder: &Path) -> Result<Vec<(u64, PathBuf)>, SamplesError> {
    std::fs::create_dir_all(folder).map_err(failed("create", folder))?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed("list", folder))? {
        let path = entry.map_err(failed("list", folder))?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort();
    Ok(files)
}

/// A log that could not be written whole says nothing that the old ones do not. Left there, each attempt on a full disk
/// would take more of whatever room comes back.
fn discard(path: &Path) {
    // One that stays is read like any other, and goes when the next one is whole.
    std::fs::remove_file(path).ok();
}

impl Head {
    pub fn open(folder: &Path, limits: Limits) -> Result<(Self, Opened), SamplesError> {
        let (logs, blocks) = (
            numbered(&folder.join("log"))?,
            numbered(&folder.join("blocks"))?,
        );
        let next_file = logs
            .iter()
            .chain(&blocks)
            .map(|(number, _)| number + 1)
            .max()
            .unwrap_or(0);
        let path = folder.join("log").join(format!("{next_file:08}"));
        let log = Log::create(&path).map_err(failed("create", &path))?;
        let head = Self {
            folder: folder.to_owned(),
            limits,
            numbers: HashMap::new(),
            places: HashMap::new(),
            metrics: BTreeMap::new(),
            rows: BTreeMap::new(),
            next_number: 0,
            view: 0,
            view_is_open: false,
            log,
            next_file: next_file + 1,
            blocks: Vec::new(),
            broken: false,
        };
        let (head, opened) = head
            .take_up(&logs, &blocks)
            .inspect_err(|_| discard(&path))?;
        for (_, path) in &logs {
            std::fs::remove_file(path).map_err(failed("remove", path))?;
        }
        Ok((head, opened))
    }

    /// What the old logs said goes into the new one before they go.
    fn take_up(
        mut self,
        logs: &[(u64, PathBuf)],
        blocks: &[(u64, PathBuf)],
    ) -> Result<(Self, Opened), SamplesError> {
        let mut opened = Opened::default();
        for (_, path) in blocks {
            self.read_block(path, &mut opened)?;
        }
        for (_, path) in logs {
            let bytes = files::read_limited(path, FILE_BYTES_MAX).map_err(failed("read", path))?;
            let (entries, torn) = log::read(&bytes);
            opened.torn_bytes += torn;
            self.replay(entries);
        }
        opened.series = self.rows.len();
        let chunks = self.rows.values().flat_map(|(_, row)| &row.chunks);
        opened.samples = chunks.map(|chunk| chunk.count() as usize).sum();
        self.carry_over()?;
        Ok((self, opened))
    }

    fn read_block(&mut self, path: &Path, opened: &mut Opened) -> Result<(), SamplesError> {
        let bytes = files::read_limited(path, FILE_BYTES_MAX).map_err(failed("read", path))?;
        let Some(series) = block::read(&bytes) else {
            opened.damaged.push(path.to_owned());
            return Ok(());
        };
        // Until when something of the block is wanted.
        let mut until = i64::MIN;
        for (labels, chunks) in series {
            let retention = self.limits.retention_of(&labels);
            let number = self.number(&labels);
            let Some((_, row)) = self.rows.get_mut(&number) else {
                continue;
            };
            for chunk in chunks {
                until = until.max(chunk.span().1.saturating_add(retention));
                if row.last().is_none_or(|last| chunk.span().0 > last) {
                    row.chunks.push(chunk);
                }
            }
            row.put_away = row.chunks.len();
        }
        self.blocks.push((path.to_owned(), until));
        Ok(())
    }

    fn replay(&mut self, entries: Vec<Entry>) {
        let mut meant: BTreeMap<u64, u64> = BTreeMap::new();
        for entry in entries {
            match entry {
                Entry::Series(theirs, labels) => {
                    meant.insert(theirs, self.number(&labels));
                }
                Entry::Samples(samples) => {
                    for (theirs, at, value) in samples {
                        let row = meant
                            .get(&theirs)
                            .and_then(|number| self.rows.get_mut(number));
                        if let Some((_, row)) = row {
                            // What a block has already is not newer, and is left out.
                            row.push(at, f64::from_bits(value));
                        }
                    }
                }
            }
        }
    }

    fn number(&mut self, labels: &Labels) -> u64 {
        if let Some(number) = self.numbers.get(labels) {
            return *number;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(labels.clone(), number);
        let metric = self.metrics.entry(labels.name().to_owned()).or_default();
        metric.insert(labels.clone(), number);
        self.rows.insert(number, (labels.clone(), Row::default()));
        number
    }

    /// Stores what is newer than what its series has. An open view does not see it.
    pub fn append<'l>(
        &mut self,
        samples: impl IntoIterator<Item = (&'l Labels, i64, f64)>,
    ) -> Result<Appended, SamplesError> {
        let fenced = self.view_is_open.then_some(self.view);
        self.store(samples, fenced, true)
    }

    /// As [`Head::append`], by whoever looks through the view: what they write they see.
    pub fn append_in_view<'l>(
        &mut self,
        samples: impl IntoIterator<Item = (&'l Labels, i64, f64)>,
    ) -> Result<Appended, SamplesError> {
        // Rules make their labels anew each time.
        self.store(samples, None, false)
    }

    fn store<'l>(
        &mut self,
        samples: impl IntoIterator<Item = (&'l Labels, i64, f64)>,
        fenced: Option<u64>,
        remember: bool,
    ) -> Result<Appended, SamplesError> {
        if self.broken {
            return Err(SamplesError::Broken);
        }
        let mut appended = Appended::default();
        let mut new = Vec::new();
        let mut taken: Vec<(u64, i64, u64)> = Vec::new();
        for (labels, at, value) in samples {
            let number = match self.known(labels, remember) {
                Some(number) => number,
                None if self.rows.len() >= self.limits.series => {
                    appended.beyond_limit += 1;
                    continue;
                }
                None => {
                    let number = self.number(labels);
                    new.push((number, labels));
                    number
                }
            };
            let Some((_, row)) = self.rows.get_mut(&number) else {
                continue;
            };
            if let Some(view) = fenced.filter(|view| row.fence.view != *view) {
                let last = row.last().unwrap_or(i64::MIN);
                row.fence = Fence { view, last };
            }
            if row.push(at, value) {
                taken.push((number, at, value.to_bits()));
                appended.stored += 1;
            } else {
                appended.old += 1;
            }
        }
        let written = self.log.append(&new, &taken);
        self.broken = written.is_err();
        written.map_err(failed("append to", &self.folder))?;
        Ok(appended)
    }

    /// Whoever gives samples gives the same labels each time, mostly the very same ones.
    fn known(&mut self, labels: &Labels, remember: bool) -> Option<u64> {
        if let Some((_, number)) = self.places.get(&labels.address()) {
            return Some(*number);
        }
        let number = *self.numbers.get(labels)?;
        if remember {
            let place = (labels.clone(), number);
            self.places.insert(labels.address(), place);
        }
        Some(number)
    }

    /// From here on, [`Head::view`] shows what there is now, until the view is opened anew.
    pub fn open_view(&mut self) {
        self.view += 1;
        self.view_is_open = true;
    }

    pub fn close_view(&mut self) {
        self.view_is_open = false;
    }

    /// What there was when the view was opened, and what was written by whoever looks through it.
    pub fn view(&self) -> View<'_> {
        View(self)
    }

    /// From here on, what was appended survives the machine.
    pub fn sync(&self) -> Result<(), SamplesError> {
        self.log.sync().map_err(failed("sync", &self.folder))
    }

    /// Puts away a long log, and forgets what is older than the retention.
    pub fn maintain(&mut self, now: i64) -> Result<(), SamplesError> {
        if self.log.bytes() >= self.limits.log_bytes {
            self.put_away()?;
        }
        for (labels, row) in self.rows.values_mut() {
            let oldest = now.saturating_sub(self.limits.retention_of(labels));
            let old = row
                .chunks
                .iter()
                .take_while(|chunk| chunk.span().1 < oldest)
                .count();
            row.chunks.drain(..old);
            row.put_away = row.put_away.saturating_sub(old);
        }
        let (numbers, metrics) = (&mut self.numbers, &mut self.metrics);
        self.rows.retain(|_, (labels, row)| {
            let keep = !row.chunks.is_empty();
            if !keep {
                numbers.remove(labels);
                if let Some(metric) = metrics.get_mut(labels.name()) {
                    metric.remove(labels);
                }
            }
            keep
        });
        metrics.retain(|_, series| !series.is_empty());
        self.forget_places();
        let (old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.blocks)
            .into_iter()
            .partition(|(_, until)| *until < now);
        self.blocks = kept;
        for (path, _) in old {
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(())
    }

    /// Labels are held for series that are there, and not for every set of them that ever came.
    fn forget_places(&mut self) {
        if self.places.len() > self.rows.len().saturating_mul(2) {
            self.places.clear();
        }
        let rows = &self.rows;
        self.places
            .retain(|_, (_, number)| rows.contains_key(number));
    }

    /// Full chunks into a block; a new log with the rest; then the old log may go.
    fn put_away(&mut self) -> Result<(), SamplesError> {
        let finished = self.rows.values().filter_map(|(labels, row)| {
            let rest = row.chunks.get(row.put_away..).unwrap_or(&[]);
            let chunks: Vec<&Chunk> = rest
                .iter()
                .filter(|chunk| chunk.count() >= CHUNK_SAMPLES)
                .collect();
            (!chunks.is_empty()).then_some((labels, chunks))
        });
        let finished: Vec<(&Labels, Vec<&Chunk>)> = finished.collect();
        let log_number = self.next_file - 1;
        let (long, short): (Vec<_>, Vec<_>) = finished
            .into_iter()
            .partition(|(labels, _)| self.limits.is_long(labels));
        let mut written = Vec::new();
        for series in [short, long] {
            let newest = series.iter().flat_map(|(_, chunks)| chunks);
            let newest = newest.map(|chunk| chunk.span().1).max();
            if let (Some(newest), Some((labels, _))) = (newest, series.first()) {
                let until = newest.saturating_add(self.limits.retention_of(labels));
                written.push((block::write(&series), until));
            }
        }
        for (bytes, until) in &written {
            let path = self
                .folder
                .join("blocks")
                .join(format!("{:08}", self.next_file));
            self.next_file += 1;
            files::write_atomic(&path, bytes).map_err(failed("write", &path))?;
            self.blocks.push((path, *until));
        }
        if !written.is_empty() {
            for (_, row) in self.rows.values_mut() {
                let full = row
                    .chunks
                    .iter()
                    .take_while(|chunk| chunk.count() >= CHUNK_SAMPLES)
                    .count();
                row.put_away = row.put_away.max(full);
            }
        }
        let path = self
            .folder
            .join("log")
            .join(format!("{:08}", self.next_file));
        self.next_file += 1;
        self.log = Log::create(&path).map_err(failed("create", &path))?;
        self.carry_over().inspect_err(|_| discard(&path))?;
        for (number, path) in numbered(&self.folder.join("log"))? {
            if number <= log_number {
                std::fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Writes every series and whatever is in no block into the present log, durably.
    fn carry_over(&mut self) -> Result<(), SamplesError> {
        let series: Vec<(u64, &Labels)> = self
            .rows
            .iter()
            .map(|(n, (labels, _))| (*n, labels))
            .collect();
        let mut samples = Vec::new();
        for (number, (_, row)) in &self.rows {
            for chunk in row.chunks.get(row.put_away..).unwrap_or(&[]) {
                let found = chunk.samples().unwrap_or_default();
                samples.extend(
                    found
                        .into_iter()
                        .map(|(at, value)| (*number, at, value.to_bits())),
                );
            }
        }
        let written = self
            .log
            .append(&series, &samples)
            .and_then(|()| self.log.sync());
        self.broken = written.is_err();
        written.map_err(failed("write", &self.folder))
    }

    /// Labels of the series that have a sample within these moments, without looking at the samples.
    pub fn series<'s, 'm>(
        &'s self,
        matchers: &'m [Matcher],
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = &'s Labels> + use<'s, 'm> {
        let within = move |chunk: &Chunk| chunk.span().1 >= from && chunk.span().0 <= to;
        self.rows
            .values()
            .filter(move |(_, row)| row.chunks.iter().any(within))
            .map(|(labels, _)| labels)
            .filter(move |labels| Matcher::all(matchers, labels))
    }

    /// The moment of the last sample of any series of a metric.
    pub fn newest(&self, metric: &str) -> Option<i64> {
        let series = self.metrics.get(metric)?.values();
        let rows = series.filter_map(|number| self.rows.get(number));
        rows.filter_map(|(_, row)| row.last()).max()
    }

    /// Series, samples and packed bytes at hand.
    pub fn size(&self) -> (usize, usize, usize) {
        let chunks = || self.rows.values().flat_map(|(_, row)| &row.chunks);
        let samples = chunks().map(|chunk| chunk.count() as usize).sum();
        (
            self.rows.len(),
            samples,
            chunks().map(|chunk| chunk.bytes().len()).sum(),
        )
    }
}

impl Head {
    fn pick(
        &self,
        matchers: &[Matcher],
        (from, to): (i64, i64),
        last_of: impl Fn(&Row) -> i64,
    ) -> Vec<Arc<Series>> {
        let (of_name, others): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|matcher| matcher.label == NAME);
        let chosen = self
            .metrics
            .iter()
            .filter(|(name, _)| of_name.iter().all(|matcher| matcher.holds(name)))
            .flat_map(|(_, series)| series)
            .filter(|(labels, _)| {
                let holds = |matcher: &&Matcher| matcher.holds(labels.get(&matcher.label));
                others.iter().all(holds)
            });
        let series = chosen.filter_map(|(labels, number)| {
            let (_, row) = self.rows.get(number)?;
            let to = to.min(last_of(row));
            let within = |chunk: &&Chunk| chunk.span().1 >= from && chunk.span().0 <= to;
            let mut samples = Vec::new();
            for chunk in row.chunks.iter().filter(within) {
                let take = |at, value| {
                    if (from..=to).contains(&at) {
                        let value = Value::Float(value);
                        samples.push(Sample { at, value });
                    }
                };
                // What is in memory was packed here, or was checked when it was read.
                chunk.each(take).ok();
            }
            let labels = labels.clone();
            (!samples.is_empty()).then(|| {
                Arc::new(Series {
                    labels,
                    samples,
                    ..Series::default()
                })
            })
        });
        series.collect()
    }
}

impl Source for Head {
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Arc<Series>> {
        self.pick(matchers, (from, to), |_| i64::MAX)
    }
}

/// The samples as they were at one moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'h>(&'h Head);

impl Source for View<'_> {
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Arc<Series>> {
        let last_of = |row: &Row| {
            let is_fenced = row.fence.view == self.0.view;
            if is_fenced { row.fence.last } else { i64::MAX }
        };
        self.0.pick(matchers, (from, to), last_of)
    }
}
