//! Raw rows of a file: lines, or CSV records, which may span lines between quotes.

use crate::report::MAX_ROW;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where rows end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Lines,
    Csv,
}

/// Bytes as they are read and unpacked.
pub(crate) struct Rows {
    input: Box<dyn BufRead + Send>,
    layout: Layout,
    taken: Arc<AtomicU64>,
    first: bool,
}

const BUFFER: usize = 1 << 16;
const GZIP: &[u8] = &[0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl Rows {
    /// Reads rows; unpacks them if the input starts as gzip does, with any number of members.
    pub(crate) fn new(input: impl Read + Send + 'static, layout: Layout) -> io::Result<Rows> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut input = BufReader::with_capacity(BUFFER, Counted { input, taken: Arc::clone(&taken) });
        let mut head = Vec::new();
        (&mut input).take(GZIP.len() as u64).read_to_end(&mut head)?;
        let packed = head == GZIP;
        let input = Cursor::new(head).chain(input);
        let input: Box<dyn BufRead + Send> =
            if packed { Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input))) } else { Box::new(input) };
        Ok(Rows { input, layout, taken, first: true })
    }

    /// Counts the bytes of the input read so far, packed as they are.
    pub(crate) fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// Puts the next row that is not blank into `row`, without its line end; false behind the last.
    /// A row longer than [`MAX_ROW`] is cut to one byte more and ends at the next line end, within quotes or not.
    pub(crate) fn next(&mut self, row: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            if !self.read_record(row)? {
                return Ok(false);
            }
            if !row.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    fn read_record(&mut self, row: &mut Vec<u8>) -> io::Result<bool> {
        row.clear();
        let mut quoted = false;
        loop {
            let start = row.len();
            let more = self.read_line(row)?;
            if std::mem::take(&mut self.first) && row.starts_with(BYTE_ORDER_MARK) {
                row.drain(..BYTE_ORDER_MARK.len());
            }
            quoted = self.layout == Layout::Csv && ends_in_quotes(quoted, &row[start..]);
            if !more || !quoted || row.len() > MAX_ROW {
                break;
            }
        }
        let found = !row.is_empty();
        let end = row.strip_suffix(b"\n").map_or(row.len(), |line| line.strip_suffix(b"\r").unwrap_or(line).len());
        row.truncate(end.min(MAX_ROW + 1));
        Ok(found)
    }

    /// Appends a line with its end, or the start of one that is too long; false at the end of the input.
    fn read_line(&mut self, row: &mut Vec<u8>) -> io::Result<bool> {
        // Room for a byte order mark, a byte too many and the two bytes of a line end.
        let room = (MAX_ROW + 6).saturating_sub(row.len()) as u64;
        let length = (&mut self.input).take(room).read_until(b'\n', row)?;
        if length as u64 == room && !row.ends_with(b"\n") {
            self.input.skip_until(b'\n')?;
        }
        Ok(length > 0)
    }
}

/// Whether a CSV record goes on behind this line of it, `quoted` being whether the line starts between quotes.
fn ends_in_quotes(quoted: bool, line: &[u8]) -> bool {
    if !line.contains(&b'"') {
        return quoted;
    }
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Start,
        Plain,
        Quoted,
        Quote,
    }
    let start = if quoted { At::Quoted } else { At::Start };
    let end = line.iter().fold(start, |at, byte| match (at, byte) {
        (At::Start | At::Quote, b'"') => At::Quoted,
        (At::Quoted, b'"') => At::Quote,
        (At::Quoted, _) => At::Quoted,
        (At::Start | At::Plain | At::Quote, b',') => At::Start,
        (At::Start | At::Plain | At::Quote, _) => At::Plain,
    });
    end == At::Quoted
}

/// Counts what is read from a file, for progress.
struct Counted<R> {
    input: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.taken.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}
