//! How the columns of a CSV file become reports, as a TOML file says it.
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `agent`, `source` | `{ column = "C" }` or `{ constant = "T" }` | the report's agent and source |
//! | `division`, `product`, `window` | the same, or left out | where the report counts, and its window |
//! | `timestamp` | `{ column = "C", format = "F" }` | F: `rfc3339`, `unix_ms`, `unix_s` or a strftime pattern, UTC if it has no offset |
//! | `id` | `{ columns = ["C", ...] }`, or left out | cells joined by `/`; a row in which one is empty has no id |
//! | `[[metrics]]` | `name`, `column` | at least one; the number as it is |
//! | with `equals` | `"T"` | 1 where the cell is T, else 0 |
//! | with `zero_at`, `one_at` | two decimals | (cell - zero_at) / (one_at - zero_at), rounded half away from zero to 1e-6, held within 0 to 1 |
//! | with `skip_empty` | `true` | a row with an empty cell goes without the metric; else it is refused as `metrics_missing` |

use crate::document::{Problems, Section};
use crate::time::TimeFormat;
use merit_core::Fixed;

/// A mapping file. Every column that it names is one of [`Mapping::columns`].
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    text: String,
    columns: Vec<String>,
    pub(crate) agent: Text,
    pub(crate) source: Text,
    pub(crate) division: Option<Text>,
    pub(crate) product: Option<Text>,
    pub(crate) window: Option<Text>,
    pub(crate) timestamp: Timestamp,
    pub(crate) id: Vec<Column>,
    pub(crate) metrics: Vec<MetricColumn>,
}

/// A column, by its index among the mapping's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column(pub(crate) usize);

/// Where a text comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Text {
    Column(Column),
    Constant(String),
}

/// Where the event time comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timestamp {
    pub(crate) column: Column,
    pub(crate) format: TimeFormat,
}

/// Where a metric comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetricColumn {
    pub(crate) name: String,
    pub(crate) column: Column,
    pub(crate) skip_empty: bool,
    pub(crate) measure: Measure,
}

/// How a cell becomes a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measure {
    Number,
    Equals(String),
    Linear { zero_at: Fixed, one_at: Fixed },
}

impl Mapping {
    /// Reads a mapping file. Fails with everything that is wrong with it, by line.
    pub fn parse(text: &str) -> Result<Mapping, Vec<String>> {
        let (document, mut problems) = Problems::parse(text)?;
        let root = Section::root(&document);
        root.allow(&["agent", "source", "division", "product", "window", "timestamp", "id", "metrics"], &mut problems);
        let mut reader = Reader { problems: &mut problems, columns: Vec::new() };
        let agent = reader.required_text(root, "agent");
        let source = reader.required_text(root, "source");
        let [division, product, window] = ["division", "product", "window"].map(|key| reader.text(root, key));
        let timestamp = reader.timestamp(root);
        let id = reader.id(root);
        let metrics = reader.metrics(root);
        let columns = reader.columns;
        let mapping = agent.zip(source).zip(timestamp).map(|((agent, source), timestamp)| Mapping {
            text: text.into(),
            columns,
            agent,
            source,
            division,
            product,
            window,
            timestamp,
            id,
            metrics,
        });
        problems.finish(mapping)
    }

    /// The file's text, which names a source together with its first row.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The columns that it reads, each once.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
}

struct Reader<'p, 't> {
    problems: &'p mut Problems<'t>,
    columns: Vec<String>,
}

impl Reader<'_, '_> {
    fn column(&mut self, name: &str) -> Column {
        let known = self.columns.iter().position(|column| column == name);
        Column(known.unwrap_or_else(|| {
            self.columns.push(name.into());
            self.columns.len() - 1
        }))
    }

    fn required_text(&mut self, root: Section<'_, '_>, key: &str) -> Option<Text> {
        self.text(root, key).or_else(|| root.missing(key, self.problems))
    }

    fn text(&mut self, root: Section<'_, '_>, key: &str) -> Option<Text> {
        let section = root.section(key, self.problems)?;
        section.allow(&["column", "constant"], self.problems);
        let column = section.text("column", self.problems).map(|name| Text::Column(self.column(name)));
        let constant = section.text("constant", self.problems).map(|text| Text::Constant(text.into()));
        if section.has("column") == section.has("constant") {
            self.problems.add(section.at, format!("`{key}` must have either `column` or `constant`"));
        }
        column.or(constant)
    }

    fn timestamp(&mut self, root: Section<'_, '_>) -> Option<Timestamp> {
        let Some(section) = root.section("timestamp", self.problems) else { return root.missing("timestamp", self.problems) };
        section.allow(&["column", "format"], self.problems);
        let column = section.text("column", self.problems).or_else(|| section.missing("column", self.problems));
        let format = section.text("format", self.problems).or_else(|| section.missing("format", self.problems))?;
        let read = TimeFormat::parse(format);
        if read.is_none() {
            self.problems
                .add(section.at("format"), format!("{format:?} is not rfc3339, unix_ms, unix_s or a strftime pattern that gives a date"));
        }
        Some(Timestamp { column: self.column(column?), format: read? })
    }

    fn id(&mut self, root: Section<'_, '_>) -> Vec<Column> {
        let Some(section) = root.section("id", self.problems) else { return Vec::new() };
        section.allow(&["columns"], self.problems);
        let names = section.texts("columns", self.problems).or_else(|| section.missing("columns", self.problems));
        names.unwrap_or_default().into_iter().map(|name| self.column(name)).collect()
    }

    fn metrics(&mut self, root: Section<'_, '_>) -> Vec<MetricColumn> {
        let sections = root.sections("metrics", self.problems).or_else(|| root.missing("metrics", self.problems));
        let mut metrics: Vec<MetricColumn> = Vec::new();
        for section in sections.unwrap_or_default() {
            let Some(metric) = self.metric(section) else { continue };
            if metrics.iter().any(|other| other.name == metric.name) {
                self.problems.add(section.at("name"), format!("metric {:?} is there twice", metric.name));
            }
            metrics.push(metric);
        }
        metrics
    }

    fn metric(&mut self, section: Section<'_, '_>) -> Option<MetricColumn> {
        section.allow(&["name", "column", "equals", "zero_at", "one_at", "skip_empty"], self.problems);
        let name = section.text("name", self.problems).or_else(|| section.missing("name", self.problems));
        let column = section.text("column", self.problems).or_else(|| section.missing("column", self.problems));
        let skip_empty = section.flag("skip_empty", self.problems).unwrap_or(false);
        let measure = self.measure(section)?;
        Some(MetricColumn { name: name?.into(), column: self.column(column?), skip_empty, measure })
    }

    fn measure(&mut self, section: Section<'_, '_>) -> Option<Measure> {
        let equals = section.text("equals", self.problems);
        let zero_at = section.number("zero_at", self.problems);
        let one_at = section.number("one_at", self.problems);
        match (section.has("equals"), section.has("zero_at"), section.has("one_at")) {
            (false, false, false) => Some(Measure::Number),
            (true, false, false) => Some(Measure::Equals(equals?.into())),
            (false, true, true) if zero_at == one_at && zero_at.is_some() => {
                self.problems.add(section.at("one_at"), "`one_at` must differ from `zero_at`");
                None
            }
            (false, true, true) => Some(Measure::Linear { zero_at: zero_at?, one_at: one_at? }),
            (false, true, false) | (false, false, true) => {
                self.problems.add(section.at, "`zero_at` and `one_at` must stand together");
                None
            }
            (true, _, _) => {
                self.problems.add(section.at("equals"), "`equals` must stand without `zero_at` and `one_at`");
                None
            }
        }
    }
}
