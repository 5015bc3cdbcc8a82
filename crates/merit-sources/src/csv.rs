//! One row of CSV (RFC 4180) read as a report by a [`Mapping`].

use crate::json::metric_value;
use crate::mapping::{Column, Mapping, Measure, MetricColumn, Text};
use crate::report::{self, Draft, Field, Unreadable, shown, text_of};
use merit_core::Fixed;
use merit_core::record::EvalReport;
use std::sync::Arc;

/// Reads reports from the rows of one CSV file, one after another, in memory that it uses again.
pub struct CsvReports {
    mapping: Arc<Mapping>,
    /// Where each column of the mapping stands in a row.
    places: Vec<usize>,
    /// Fields a row has.
    width: usize,
    row: Cells,
    draft: Draft,
    joined: String,
}

impl CsvReports {
    /// Reads rows under this header. Fails with every column that the header lacks or has twice.
    pub fn new(mapping: Arc<Mapping>, header: &[u8]) -> Result<CsvReports, Vec<String>> {
        let mut row = Cells::default();
        text_of(header).and_then(|text| row.split(text)).map_err(|fault| vec![format!("the header: {}", fault.detail)])?;
        let names: Vec<&str> = (0..row.len()).map(|at| row.get(at)).collect();
        let mut problems = Vec::new();
        let mut places = Vec::new();
        for column in mapping.columns() {
            match names.iter().position(|name| name == column) {
                None => problems.push(format!("the header has no column {}", shown(column))),
                Some(at) if names[at + 1..].contains(&column.as_str()) => {
                    problems.push(format!("the header has column {} twice", shown(column)))
                }
                Some(at) => places.push(at),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let width = names.len();
        Ok(CsvReports { mapping, places, width, row, draft: Draft::default(), joined: String::new() })
    }

    /// Reads a row without its line end.
    pub fn parse<'a>(&'a mut self, row: &[u8]) -> Result<EvalReport<'a>, Unreadable> {
        self.read(row)?;
        self.finish()
    }

    pub(crate) fn read(&mut self, row: &[u8]) -> Result<(), Unreadable> {
        self.draft.clear();
        self.row.split(text_of(row)?)?;
        if self.row.len() != self.width {
            return Err(Unreadable::new(report::CSV_FIELDS, format!("{} fields under a header of {}", self.row.len(), self.width)));
        }
        let mapping = Arc::clone(&self.mapping);
        self.read_texts(&mapping);
        // A row without an agent is refused for that, whatever else it lacks: where nothing was measured, all cells tend to be empty.
        self.draft.require_agent()?;
        self.read_timestamp(&mapping)?;
        mapping.metrics.iter().try_for_each(|metric| self.read_metric(metric))
    }

    pub(crate) fn finish(&self) -> Result<EvalReport<'_>, Unreadable> {
        self.draft.finish()
    }

    fn read_texts(&mut self, mapping: &Mapping) {
        let optional = [(Field::Division, &mapping.division), (Field::Product, &mapping.product), (Field::Window, &mapping.window)];
        let optional = optional.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
        for (field, text) in [(Field::Agent, &mapping.agent), (Field::Source, &mapping.source)].into_iter().chain(optional) {
            let value = match text {
                Text::Constant(value) => value,
                Text::Column(column) => self.row.get(self.places[column.0]),
            };
            self.draft.set(field, value);
        }
        self.read_id(&mapping.id);
    }

    /// Joins the cells with `/`. What they hold of it is written otherwise, so that two rows of different cells never share an id.
    fn read_id(&mut self, columns: &[Column]) {
        self.joined.clear();
        for (at, column) in columns.iter().enumerate() {
            let cell = self.row.get(self.places[column.0]);
            if cell.is_empty() {
                return;
            }
            if at > 0 {
                self.joined.push('/');
            }
            if columns.len() > 1 && cell.contains(['/', '%']) {
                self.joined.push_str(&cell.replace('%', "%25").replace('/', "%2F"));
            } else {
                self.joined.push_str(cell);
            }
        }
        self.draft.set(Field::Id, &self.joined);
    }

    fn read_timestamp(&mut self, mapping: &Mapping) -> Result<(), Unreadable> {
        let text = self.row.get(self.places[mapping.timestamp.column.0]);
        if !text.is_empty() {
            let invalid = || {
                Unreadable::new(
                    report::TIMESTAMP_INVALID,
                    format!("{} is not a time of the mapping's format within 1970 to 9999", shown(text)),
                )
            };
            self.draft.set_timestamp(mapping.timestamp.format.read(text).ok_or_else(invalid)?);
        }
        Ok(())
    }

    fn read_metric(&mut self, metric: &MetricColumn) -> Result<(), Unreadable> {
        let cell = self.row.get(self.places[metric.column.0]);
        match (cell.is_empty(), metric.skip_empty) {
            (true, true) => Ok(()),
            (true, false) => Err(Unreadable::new(report::METRICS_MISSING, format!("metric {} is empty", shown(&metric.name)))),
            (false, _) => self.draft.add_metric(&metric.name, measure(metric, cell)?),
        }
    }
}

/// The value that a metric takes from its cell.
fn measure(metric: &MetricColumn, cell: &str) -> Result<Fixed, Unreadable> {
    Ok(match &metric.measure {
        Measure::Number => metric_value(&metric.name, cell)?,
        Measure::Equals(text) => Fixed(Fixed::ONE.0 * i64::from(cell == text)),
        Measure::Linear { zero_at, one_at } => linear(metric_value(&metric.name, cell)?, *zero_at, *one_at),
    })
}

/// `x` on the line that is 0 at `zero_at` and 1 at `one_at`, held within 0..=1. The two differ.
fn linear(x: Fixed, zero_at: Fixed, one_at: Fixed) -> Fixed {
    let span = i128::from(one_at.0) - i128::from(zero_at.0);
    let above = i128::from(x.0) - i128::from(zero_at.0);
    Fixed::ratio(above * span.signum(), span.abs()).clamp(Fixed::ZERO, Fixed::ONE)
}

/// The cells of a row without their quotes.
#[derive(Default)]
struct Cells {
    text: String,
    ends: Vec<usize>,
}

impl Cells {
    fn split(&mut self, row: &str) -> Result<(), Unreadable> {
        self.text.clear();
        self.ends.clear();
        let mut rest = row;
        loop {
            rest = match rest.strip_prefix('"') {
                Some(quoted) => self.take_quoted(quoted)?,
                None => self.take_plain(rest),
            };
            self.ends.push(self.text.len());
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None if rest.is_empty() => return Ok(()),
                None => {
                    return Err(Unreadable::new(report::CSV_INVALID, format!("text follows the closing quote of field {}", self.len())));
                }
            }
        }
    }

    fn take_plain<'r>(&mut self, rest: &'r str) -> &'r str {
        let (cell, rest) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
        self.text.push_str(cell);
        rest
    }

    fn take_quoted<'r>(&mut self, mut rest: &'r str) -> Result<&'r str, Unreadable> {
        loop {
            let open = || Unreadable::new(report::CSV_INVALID, format!("the quote of field {} is not closed", self.ends.len() + 1));
            let (cell, after) = rest.split_once('"').ok_or_else(open)?;
            self.text.push_str(cell);
            match after.strip_prefix('"') {
                None => return Ok(after),
                Some(next) => {
                    self.text.push('"');
                    rest = next;
                }
            }
        }
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start..self.ends[at]]
    }
}
