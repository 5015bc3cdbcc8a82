//! One report in memory that is used again for the next, and the rules that a row must keep to become one.

use merit_core::record::{EvalReport, Metric, Tag};
use merit_core::{Code, Datum, EventTime, Fixed, List, codes};

/// The longest row that is read, in bytes without its line end. Source: design 5, one value of the log is at most 1 MiB.
pub const MAX_ROW: usize = 1 << 20;

/// The most metrics, and the most tags, that a row may carry: a bound on work. What a report may carry is ingest's to say.
pub const MAX_ITEMS: usize = 64;

codes! {
    /// Every rule that a row can break before it is a report.
    RULES exits 0 {
        AGENT_ID_MISSING "agent_id_missing" "the report names no agent: neither agentId nor entityId, or an empty one", "name the agent";
        CSV_FIELDS "csv_fields" "the row has more or fewer fields than the header", "mend the row; quote a field that holds a comma";
        CSV_INVALID "csv_invalid" "the row's quotes are not balanced, or text follows a closing quote", "mend the row; write a quote within quotes twice";
        FIELD_TYPE "field_type" "a field holds a value of another type", "see the type in `schemas/EvalReport.avsc`";
        FIELD_UNKNOWN "field_unknown" "the report has a field that no report has", "leave it out, or make it a tag";
        JSON_INVALID "json_invalid" "the row is not one JSON object", "write one object a line";
        KEY_DUPLICATE "key_duplicate" "a field, a metric or a tag stands twice, by its name or its other name", "keep the one that counts";
        METRIC_COUNT "metric_count" "more than 64 metrics", "a report has at most 16: send the others in another one";
        METRIC_NOT_A_NUMBER "metric_not_a_number" "a metric's value is not a decimal number", "write it without quotes, with a point; leave out what was not measured";
        METRIC_RANGE "metric_range" "a metric's value does not fit a decimal of 1e-6 in 64 bits", "send it in a larger unit";
        METRICS_MISSING "metrics_missing" "the report has no metrics, or one that it must have is empty", "send what was measured; `skip_empty` in a mapping lets a metric be absent";
        REPORT_TOO_LARGE "report_too_large" "the row is longer than 1 MiB", "look for a quote or a line end that is missing";
        TAGS_COUNT "tags_count" "more than 64 tags", "send fewer";
        TIMESTAMP_FUTURE "timestamp_future" "the timestamp lies further ahead of this machine's clock than `event-time.future` allows", "mend the producer's clock, or this machine's";
        TIMESTAMP_INVALID "timestamp_invalid" "the timestamp is not of its format, or not within 1970 to 9999", "write RFC 3339 with an offset, or as the mapping says";
        TIMESTAMP_MISSING "timestamp_missing" "the report has no timestamp", "say when it was measured";
        UTF8_INVALID "utf8_invalid" "the row is not UTF-8", "convert the file, as by `iconv -t UTF-8`";
    }
}

/// Why a row is no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// One of [`RULES`].
    pub rule: &'static Code,
    /// What was found, for a person; bounded.
    pub detail: String,
}

impl Unreadable {
    pub(crate) fn new(rule: &'static Code, detail: impl Into<String>) -> Unreadable {
        Unreadable { rule, detail: detail.into() }
    }
}

/// Text of a row as a message shows it: quoted, and cut after 64 characters.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(64) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

/// Checks a row's length and reads it as UTF-8.
pub(crate) fn text_of(row: &[u8]) -> Result<&str, Unreadable> {
    if row.len() > MAX_ROW {
        return Err(Unreadable::new(REPORT_TOO_LARGE, format!("the row is longer than {MAX_ROW} bytes")));
    }
    std::str::from_utf8(row).map_err(|cause| Unreadable::new(UTF8_INVALID, format!("not UTF-8 at byte {}", cause.valid_up_to())))
}

/// The texts of a report that stand alone.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    Id,
    Agent,
    Division,
    Product,
    Source,
    Window,
}

/// A report under construction. Metrics and tags are kept as they are encoded, so nothing is allocated once the buffers have grown.
/// An empty text is no text.
#[derive(Default)]
pub(crate) struct Draft {
    text: String,
    spans: [(usize, usize); 6],
    timestamp: Option<EventTime>,
    metric_count: usize,
    metrics: Vec<u8>,
    tag_count: usize,
    tags: Vec<u8>,
}

impl Draft {
    /// Starts over.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.spans = Default::default();
        self.timestamp = None;
        (self.metric_count, self.tag_count) = (0, 0);
        self.metrics.clear();
        self.tags.clear();
    }

    /// Sets a text.
    pub(crate) fn set(&mut self, field: Field, value: &str) {
        let start = self.text.len();
        self.text.push_str(value);
        self.spans[field as usize] = (start, self.text.len());
    }

    /// Sets the event time.
    pub(crate) fn set_timestamp(&mut self, timestamp: EventTime) {
        self.timestamp = Some(timestamp);
    }

    /// Adds a metric behind those there are.
    pub(crate) fn add_metric(&mut self, name: &str, value: Fixed) -> Result<(), Unreadable> {
        if self.metric_count == MAX_ITEMS {
            return Err(Unreadable::new(METRIC_COUNT, format!("more than {MAX_ITEMS} metrics")));
        }
        if self.metrics().iter().any(|metric| metric.name == name) {
            return Err(Unreadable::new(KEY_DUPLICATE, format!("metric {} stands twice", shown(name))));
        }
        Metric { name, value }.put(&mut self.metrics);
        self.metric_count += 1;
        Ok(())
    }

    /// Adds a tag behind those there are.
    pub(crate) fn add_tag(&mut self, name: &str, value: &str) -> Result<(), Unreadable> {
        if self.tag_count == MAX_ITEMS {
            return Err(Unreadable::new(TAGS_COUNT, format!("more than {MAX_ITEMS} tags")));
        }
        if self.tags().iter().any(|tag| tag.name == name) {
            return Err(Unreadable::new(KEY_DUPLICATE, format!("tag {} stands twice", shown(name))));
        }
        Tag { name, value }.put(&mut self.tags);
        self.tag_count += 1;
        Ok(())
    }

    /// The report, if it has all that a report must have. Its window is the one set, else the tag `window` (K8).
    pub(crate) fn finish(&self) -> Result<EvalReport<'_>, Unreadable> {
        let tagged_window = || self.tags().iter().find(|tag| tag.name == "window" && !tag.value.is_empty()).map(|tag| tag.value);
        let agent_id = self.require_agent()?;
        if self.metric_count == 0 {
            return Err(missing(METRICS_MISSING, "metrics"));
        }
        Ok(EvalReport {
            id: self.get(Field::Id),
            agent_id,
            division_id: self.get(Field::Division),
            product_id: self.get(Field::Product),
            metrics: self.metrics(),
            source: self.get(Field::Source).unwrap_or_default(),
            timestamp: self.timestamp.ok_or_else(|| missing(TIMESTAMP_MISSING, "timestamp"))?,
            window: self.get(Field::Window).or_else(tagged_window),
            tags: self.tags(),
        })
    }

    /// The agent, which every report has.
    pub(crate) fn require_agent(&self) -> Result<&str, Unreadable> {
        self.get(Field::Agent).ok_or_else(|| missing(AGENT_ID_MISSING, "agentId"))
    }

    fn get(&self, field: Field) -> Option<&str> {
        let (start, end) = self.spans[field as usize];
        Some(&self.text[start..end]).filter(|text| !text.is_empty())
    }

    fn metrics(&self) -> List<'_, Metric<'_>> {
        List::Encoded { count: self.metric_count, bytes: &self.metrics }
    }

    fn tags(&self) -> List<'_, Tag<'_>> {
        List::Encoded { count: self.tag_count, bytes: &self.tags }
    }
}

fn missing(rule: &'static Code, what: &str) -> Unreadable {
    Unreadable::new(rule, format!("the report has no {what}"))
}
