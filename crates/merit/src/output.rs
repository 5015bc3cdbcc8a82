//! Text for people, JSON for machines.

use crate::failure::Failure;
use std::borrow::Cow;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};

/// Standard output.
pub(crate) struct Output {
    /// Whether machines read it.
    pub(crate) json: bool,
    out: BufWriter<StdoutLock<'static>>,
    progress: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Output {
        Output { json, out: BufWriter::with_capacity(1 << 16, std::io::stdout().lock()), progress: std::io::stderr().is_terminal() }
    }

    /// One line, or several.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        let text = text.as_ref();
        Ok(writeln!(self.out, "{}", if self.json { text.into() } else { printable(text) })?)
    }

    /// Aligned rows; the first is the head.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) -> Result<(), Failure> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            self.line(format!("  {}", cells.join("  ").trim_end()))?;
        }
        Ok(())
    }

    /// Shows how far a long work is, to a person that waits for it.
    pub(crate) fn progress(&mut self, text: &str) {
        if self.progress {
            // A terminal that went away needs no progress.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }

    /// Tells standard error what a reader of the output should know.
    pub(crate) fn note(&mut self, text: &str) {
        let line = if self.json { serde_json::json!({ "note": text }).to_string() } else { format!("note: {text}") };
        // Nobody is left to be told that standard error is closed.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Writes out what is buffered.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

/// The text with its control characters written out, all but line ends: what a name holds must not steer a terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let steers = |character: char| character.is_control() && character != '\n';
    if !text.contains(steers) {
        return text.into();
    }
    let written = |character: char| if steers(character) { character.escape_default().to_string() } else { character.into() };
    text.chars().map(written).collect()
}
