//! One input file (or stdin): its rows as reports, and how far they were taken.

use crate::csv::CsvReports;
use crate::json::JsonReports;
use crate::mapping::Mapping;
use crate::report::{self, MAX_ROW, Unreadable};
use crate::rows::{Layout, Rows};
use merit_core::record::EvalReport;
use merit_core::time::rfc3339;
use merit_core::{Code, Digest, Duration, EventTime, codes};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use thiserror::Error;

codes! {
    /// Every way in which a source cannot be read.
    ERRORS exits 1 {
        SOURCE_OPEN "source_open" "the file is not there, is a directory, or must not be read", "check the path and its permissions";
        SOURCE_READ "source_read" "reading stopped in the middle: the disk failed, or compressed data is damaged or followed by something else", "what came before was kept; get a whole copy (`gzip -t` tests one) and run the command again";
        SOURCE_CUT_SHORT "source_cut_short" "a compressed file ends in the middle", "what came before was kept; get the whole file and run the command again";
        MAPPING_MISSING "mapping_missing" "a CSV file came without a mapping", "pass --mapping FILE, which says how columns become a report";
        HEADER_DIFFERS "header_differs" "the header lacks a column that the mapping names, or has it twice", "mend the header or the mapping; columns are separated by commas";
        SOURCE_DIFFERS "source_differs" "the rows that were taken before are not those of this file", "pass --source NAME with another name to import it as a new source";
        SOURCE_NAME_TAKEN "source_name_taken" "two files of one import have one name, so their positions could not be told apart", "without --source a file is named by its first row: leave a copy out, or import files that begin alike one after the other, each with its --source NAME";
    }
}

/// Why a source could not be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// It is not there, is a directory, or must not be read.
    #[error("could not open {path:?}")]
    Open {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Reading stopped.
    #[error("could not read {path:?} behind row {rows}")]
    Read {
        /// The file.
        path: String,
        /// Rows that were read whole.
        rows: u64,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A compressed file ends in the middle.
    #[error("could not read {path:?} behind row {rows}: its compressed data is cut short")]
    CutShort {
        /// The file.
        path: String,
        /// Rows that were read whole.
        rows: u64,
    },
    /// A CSV file came without a mapping.
    #[error("could not read {path:?}: CSV needs a mapping file")]
    MappingMissing {
        /// The file.
        path: String,
    },
    /// The header lacks what the mapping names.
    #[error("could not read {path:?} by its mapping: {}", problems.join("; "))]
    HeaderDiffers {
        /// The file.
        path: String,
        /// One a column.
        problems: Vec<String>,
    },
    /// The rows that were taken before are not those of this file.
    #[error("could not continue source {name:?} at row {rows}: the rows of {path:?} before it are not those that were taken")]
    SourceDiffers {
        /// The source.
        name: String,
        /// The file.
        path: String,
        /// Rows that were taken before.
        rows: u64,
    },
    /// Two files of one merge have one name, so their positions could not be told apart.
    #[error("could not merge {path:?}: {other:?} has the same source name {name:?}")]
    NameTaken {
        /// The source.
        name: String,
        /// The file.
        path: String,
        /// The file before it.
        other: String,
    },
}

impl SourceError {
    /// Its code.
    pub fn code(&self) -> &'static Code {
        match self {
            SourceError::Open { .. } => SOURCE_OPEN,
            SourceError::Read { .. } => SOURCE_READ,
            SourceError::CutShort { .. } => SOURCE_CUT_SHORT,
            SourceError::MappingMissing { .. } => MAPPING_MISSING,
            SourceError::HeaderDiffers { .. } => HEADER_DIFFERS,
            SourceError::SourceDiffers { .. } => SOURCE_DIFFERS,
            SourceError::NameTaken { .. } => SOURCE_NAME_TAKEN,
        }
    }
}

/// How far a source was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The source: the name given, else SHA-256 of its first row, a zero byte and the mapping's text, in hex.
    pub name: String,
    /// Rows taken, in the order in which they were taken.
    pub rows: u64,
    /// SHA-256 over the length (u32, big endian) and the bytes of each row taken; of a CSV file's header first.
    pub digest: Digest,
}

/// A report, or why its row is none with the row itself; of a row over [`MAX_ROW`] only the start.
pub type Outcome<'a> = Result<EvalReport<'a>, (Unreadable, &'a [u8])>;

/// What is kept of a row that is too long to be read.
const KEPT: usize = 4_096;

/// A file of reports, read row by row. Blank lines are no rows.
pub struct Source {
    path: String,
    name: String,
    input: Input,
    reports: Reports,
    row: Vec<u8>,
    head: Head,
    fault: Option<Unreadable>,
    /// Event time of the last row read that has one.
    time: EventTime,
    future: Option<Duration>,
    rows_read: u64,
    rows_taken: u64,
    digest: Sha256,
    bytes_read: Arc<AtomicU64>,
    bytes_total: Option<u64>,
}

enum Input {
    Stream(Rows),
    Sorted(Sorted),
}

/// What is known of the row behind those taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Unread,
    Row,
    End,
}

enum Reports {
    Json(JsonReports),
    Csv(CsvReports),
}

impl Source {
    /// Opens a file, or stdin for `-`, plain or gzip.
    /// It is CSV if its extension (before `.gz`) is `csv`, JSON lines if that is `json`, `jsonl` or `ndjson`, else CSV if there is a mapping.
    pub fn open(path: &Path, mapping: Option<&Arc<Mapping>>, name: Option<&str>) -> Result<Source, SourceError> {
        let label = path.display().to_string();
        let mapping = match format_of(path) {
            Some(Layout::Csv) if mapping.is_none() => return Err(SourceError::MappingMissing { path: label }),
            Some(Layout::Lines) => None,
            Some(Layout::Csv) | None => mapping,
        };
        if label == "-" {
            return Source::from_reader("stdin", io::stdin(), mapping, name);
        }
        let (file, length) = open_file(path).map_err(|cause| SourceError::Open { path: label.clone(), cause })?;
        let mut source = Source::from_reader(&label, file, mapping, name)?;
        source.bytes_total = Some(length);
        Ok(source)
    }

    /// Reads CSV if there is a mapping, else JSON lines. `path` is what messages call it.
    pub fn from_reader(
        path: &str,
        input: impl Read + Send + 'static,
        mapping: Option<&Arc<Mapping>>,
        name: Option<&str>,
    ) -> Result<Source, SourceError> {
        let failed = |cause| read_error(path, 0, cause);
        let layout = if mapping.is_some() { Layout::Csv } else { Layout::Lines };
        let mut rows = Rows::new(input, layout).map_err(failed)?;
        let mut row = Vec::new();
        let mut digest = Sha256::new();
        let mut reports = Reports::Json(JsonReports::default());
        // An empty CSV file has no header and no rows, so what would read them does not matter.
        if let Some(mapping) = mapping
            && rows.next(&mut row).map_err(failed)?
        {
            digest_row(&mut digest, &row);
            let header = CsvReports::new(Arc::clone(mapping), &row);
            reports = Reports::Csv(header.map_err(|problems| SourceError::HeaderDiffers { path: path.into(), problems })?);
        }
        let bytes_read = rows.bytes_read();
        let mut source = Source {
            path: path.into(),
            name: String::new(),
            input: Input::Stream(rows),
            reports,
            row,
            head: Head::Unread,
            fault: None,
            time: EventTime::MIN,
            future: None,
            rows_read: 0,
            rows_taken: 0,
            digest,
            bytes_read,
            bytes_total: None,
        };
        source.name = match name {
            Some(name) => name.into(),
            None => source.own_name(mapping)?,
        };
        Ok(source)
    }

    /// The file, as messages call it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name given, else that of its first row and mapping; see [`Position::name`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far it was taken.
    pub fn position(&self) -> Position {
        Position { name: self.name.clone(), rows: self.rows_taken, digest: self.digest.clone().finalize().into() }
    }

    /// Bytes read of all there are; these are not known of stdin. Compressed bytes count as they are.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.bytes_read.load(Ordering::Relaxed), self.bytes_total)
    }

    /// Refuses rows whose event time is further than this ahead of the machine's clock when they are read, as one that comes live is.
    /// Such a row has no time of its own, so it moves neither the merge nor the log. To be called before the first row is taken.
    pub fn refuse_future(&mut self, future: Duration) {
        self.future = Some(future);
        self.time = EventTime::MIN;
        if self.head == Head::Row {
            self.judge();
        }
    }

    /// Takes the rows that were taken before, which must be the same. Rows are read again for it, not kept.
    pub fn resume(&mut self, position: &Position) -> Result<(), SourceError> {
        while self.rows_taken < position.rows && self.peek()?.is_some() {
            self.count();
        }
        let at = self.position();
        if (at.rows, at.digest) != (position.rows, position.digest) {
            return Err(SourceError::SourceDiffers { name: at.name, path: self.path.clone(), rows: position.rows });
        }
        Ok(())
    }

    /// Reads all rows and gives them by event time from here on, rows of one time in the order of the file.
    /// Memory: the bytes of the rows, unpacked, and 24 bytes a row.
    pub fn sort(&mut self) -> Result<(), SourceError> {
        let mut sorted = Sorted::default();
        while let Some(time) = self.peek()? {
            sorted.push(time, &self.row);
            self.head = Head::Unread;
        }
        // The start makes it a stable order.
        sorted.rows.sort_unstable_by_key(|row| (row.time, row.start));
        self.input = Input::Sorted(sorted);
        self.time = EventTime::MIN;
        self.head = Head::Unread;
        Ok(())
    }

    /// The event time of the next row; one that cannot be read has that of the row before it. `None` behind the last.
    pub fn peek(&mut self) -> Result<Option<EventTime>, SourceError> {
        if self.head == Head::Unread {
            self.head = if self.read()? { Head::Row } else { Head::End };
        }
        Ok((self.head == Head::Row).then_some(self.time))
    }

    /// Takes the next row. `None` behind the last.
    pub fn take(&mut self) -> Result<Option<Outcome<'_>>, SourceError> {
        if self.peek()?.is_none() {
            return Ok(None);
        }
        self.count();
        let kept = if self.row.len() > MAX_ROW { &self.row[..KEPT] } else { &self.row };
        let report = match self.fault.take() {
            Some(fault) => Err(fault),
            None => self.reports.finish(),
        };
        Ok(Some(report.map_err(|fault| (fault, kept))))
    }

    /// Memory that the longest row has taken.
    #[cfg(test)]
    pub(crate) fn row_capacity(&self) -> usize {
        self.row.capacity()
    }

    fn own_name(&mut self, mapping: Option<&Arc<Mapping>>) -> Result<String, SourceError> {
        let mut digest = Sha256::new();
        if self.peek()?.is_some() {
            digest.update(&self.row);
        }
        digest.update([0]);
        digest.update(mapping.map_or("", |mapping| mapping.text()));
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn read(&mut self) -> Result<bool, SourceError> {
        let found = match &mut self.input {
            Input::Stream(rows) => rows.next(&mut self.row).map_err(|cause| read_error(&self.path, self.rows_read, cause))?,
            Input::Sorted(sorted) => sorted.next(&mut self.row),
        };
        if found {
            self.rows_read += 1;
            self.judge();
        }
        Ok(found)
    }

    fn judge(&mut self) {
        match self.reports.read(&self.row).and_then(|time| not_future(time, self.future)) {
            Ok(time) => (self.time, self.fault) = (time, None),
            Err(fault) => self.fault = Some(fault),
        }
    }

    fn count(&mut self) {
        digest_row(&mut self.digest, &self.row);
        self.rows_taken += 1;
        self.head = Head::Unread;
    }
}

impl Reports {
    fn read(&mut self, row: &[u8]) -> Result<EventTime, Unreadable> {
        let report = match self {
            Reports::Json(reports) => reports.parse(row),
            Reports::Csv(reports) => reports.parse(row),
        };
        report.map(|report| report.timestamp)
    }

    fn finish(&self) -> Result<EvalReport<'_>, Unreadable> {
        match self {
            Reports::Json(reports) => reports.finish(),
            Reports::Csv(reports) => reports.finish(),
        }
    }
}

/// Rows in memory, by event time.
#[derive(Default)]
struct Sorted {
    bytes: Vec<u8>,
    rows: Vec<SortedRow>,
    next: usize,
}

struct SortedRow {
    time: EventTime,
    start: usize,
    length: u32,
}

impl Sorted {
    fn push(&mut self, time: EventTime, row: &[u8]) {
        self.rows.push(SortedRow { time, start: self.bytes.len(), length: row_length(row) });
        self.bytes.extend_from_slice(row);
    }

    fn next(&mut self, row: &mut Vec<u8>) -> bool {
        let Some(SortedRow { start, length, .. }) = self.rows.get(self.next) else { return false };
        row.clear();
        row.extend_from_slice(&self.bytes[*start..start + *length as usize]);
        self.next += 1;
        true
    }
}

fn not_future(time: EventTime, future: Option<Duration>) -> Result<EventTime, Unreadable> {
    let Some(future) = future else { return Ok(time) };
    let now = now();
    if time <= now + future {
        return Ok(time);
    }
    // The day is enough to see a clock that is wrong, and a run again says the same.
    let detail = format!("timestamp {time} is more than {future} after the clock of this machine, on {:.10}", rfc3339(now));
    Err(Unreadable::new(report::TIMESTAMP_FUTURE, detail))
}

fn now() -> EventTime {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    EventTime(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

fn digest_row(digest: &mut Sha256, row: &[u8]) {
    digest.update(row_length(row).to_be_bytes());
    digest.update(row);
}

/// A row is at most a byte over [`MAX_ROW`].
fn row_length(row: &[u8]) -> u32 {
    row.len() as u32
}

fn read_error(path: &str, rows: u64, cause: io::Error) -> SourceError {
    let path = path.to_string();
    match cause.kind() {
        io::ErrorKind::UnexpectedEof => SourceError::CutShort { path, rows },
        _ => SourceError::Read { path, rows, cause },
    }
}

fn open_file(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok((file, metadata.len()))
}

fn format_of(path: &Path) -> Option<Layout> {
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let plain = if packed { path.with_extension("") } else { path.to_path_buf() };
    match plain.extension()?.to_str()? {
        "csv" => Some(Layout::Csv),
        "json" | "jsonl" | "ndjson" => Some(Layout::Lines),
        _ => None,
    }
}
