//! From text to a [`Topology`].
//!
//! A field that is wrong is noted, and reading goes on with an empty value in its place:
//! no such topology gets out, because one finding is enough for an `Err`.

use crate::rule::{self, Rule};
use crate::{Finding, Lines, Partitions, ProcessorSpec, Runtime, SubTopology, Topic, Topology, by_line, path};
use merit_core::record::Kinds;
use merit_core::settings::join;
use merit_core::{Duration, Kind, MAX_NAME, Settings};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use toml::de::{DeTable, DeValue};

/// Reads the file. [`check`](crate::check) tells whether what it says makes sense.
///
/// # Errors
/// Everything that is wrong with its form, by line; only faults of syntax where there are any.
pub fn parse(text: &str) -> Result<Topology, Vec<Finding>> {
    let (table, faults) = DeTable::parse_recoverable(text);
    let newlines = Newlines::of(text);
    if !faults.is_empty() {
        return Err(by_line(faults.iter().map(|fault| syntax(&newlines, fault)).collect()));
    }
    let mut lines = BTreeMap::new();
    note_table(&newlines, table.get_ref(), "", &mut lines);
    let document = Document { lines: Lines(lines), findings: RefCell::default() };
    let topology = read_topology(&document, table.get_ref());
    let findings = by_line(document.findings.into_inner());
    if findings.is_empty() { Ok(Topology { lines: document.lines, ..topology }) } else { Err(findings) }
}

fn syntax(newlines: &Newlines, fault: &toml::de::Error) -> Finding {
    Finding::new(rule::SYNTAX, fault.span().map_or(1, |span| newlines.line_of(span.start)), fault.message().trim())
}

/// Where the lines of a text end.
struct Newlines(Vec<usize>);

impl Newlines {
    fn of(text: &str) -> Newlines {
        Newlines(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte, from 1.
    fn line_of(&self, byte: usize) -> usize {
        1 + self.0.partition_point(|newline| *newline < byte)
    }
}

fn note_table(newlines: &Newlines, table: &DeTable<'_>, at: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let at = join(at, key.get_ref());
        lines.insert(at.clone(), newlines.line_of(key.span().start));
        note_value(newlines, value.get_ref(), &at, lines);
    }
}

fn note_value(newlines: &Newlines, value: &DeValue<'_>, at: &str, lines: &mut BTreeMap<String, usize>) {
    if let Some(table) = value.as_table() {
        note_table(newlines, table, at, lines);
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        let line = newlines.line_of(item.span().start);
        let item_at = join(at, &index.to_string());
        note_value(newlines, item.get_ref(), &item_at, lines);
        lines.insert(item_at, line);
        if let Some(word) = item.get_ref().as_str() {
            lines.entry(join(at, word)).or_insert(line);
        }
    }
}

fn read_topology(document: &Document, table: &DeTable<'_>) -> Topology {
    let mut file = Fields::new(document, String::new(), Some(table));
    if file.require("version").is_some_and(|version| version.as_integer().is_none_or(|number| number.to_string() != "1")) {
        file.refuse("version", rule::WRONG_VALUE, "version must be 1");
    }
    let application = file.text("application");
    let mut audit = Fields::new(document, "audit".into(), file.table("audit"));
    let (origin, key_name) = (audit.text("origin"), audit.text("key_name"));
    audit.finish();
    let topics: Vec<Topic> = file.tables("topics").into_iter().map(|(name, fields)| read_topic(name, fields)).collect();
    let subs = file.tables("sub-topologies").into_iter().map(|(name, fields)| read_sub_topology(name, fields, &topics));
    let sub_topologies: Vec<SubTopology> = subs.collect();
    check_from(document, &topics, &sub_topologies);
    let settings = file.take("parameters").map(|_| read_settings(file.table("parameters"))).unwrap_or_default();
    let runtime = read_runtime(&mut file);
    file.finish();
    Topology { application, origin, key_name, topics, sub_topologies, settings, runtime, lines: Lines::default() }
}

/// The least and the most of each bound: one batch of the log, and what no machine of today has.
fn read_runtime(file: &mut Fields<'_>) -> Runtime {
    let default = Runtime::default();
    if file.take("runtime").is_none() {
        return default;
    }
    let mut fields = file.fields("runtime");
    let runtime = Runtime {
        commit_bytes: fields.size("commit", default.commit_bytes, 64 << 10..=1 << 30),
        pending_bytes: fields.size("pending", default.pending_bytes, 1 << 20..=4 << 30),
        state_bytes: fields.size("state", default.state_bytes, 16 << 20..=16 << 40),
        checkpoint_inputs: fields.number("checkpoint_inputs", default.checkpoint_inputs, 1..=100_000_000),
    };
    if runtime.pending_bytes < runtime.commit_bytes {
        fields.refuse("pending", rule::WRONG_VALUE, "pending must not be less than commit");
    }
    fields.finish();
    runtime
}

/// Reads `64KiB`, `1MiB` or `2GiB`.
fn bytes_of(text: &str) -> Option<u64> {
    let unit = [("KiB", 10), ("MiB", 20), ("GiB", 30)].into_iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (digits, shift) = unit?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then_some(())?;
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn read_topic(name: &str, mut fields: Fields<'_>) -> Topic {
    let topic = Topic {
        name: name.into(),
        key: fields.text("key"),
        partitions: fields.partitions("partitions"),
        records: fields.filled("records", Fields::kinds),
        source: fields.words("source"),
        json: fields.flag("json"),
        sink: fields.flag("sink"),
        from: fields.words("from"),
        retention: fields.retention("retention"),
        line: fields.line(),
    };
    fields.finish();
    topic
}

fn read_sub_topology(name: &str, mut fields: Fields<'_>, topics: &[Topic]) -> SubTopology {
    let input = fields.text("input");
    let found = topics.iter().position(|topic| topic.name == input);
    if found.is_none() && !input.is_empty() {
        fields.refuse("input", rule::UNKNOWN_NAME, format!("sub-topology {name} takes its input from {input}, which is no topic here"));
    }
    let processors = fields.filled("processors", Fields::words);
    let processors = processors.into_iter().map(|processor| read_processor(fields.listed("processors", &processor), processor)).collect();
    let sub_topology = SubTopology { name: name.into(), input: found.unwrap_or(0), processors, line: fields.line() };
    fields.finish();
    sub_topology
}

fn read_processor(mut fields: Fields<'_>, name: String) -> ProcessorSpec {
    let processor = ProcessorSpec {
        reads: fields.kinds("reads"),
        writes: fields.kinds("writes"),
        feedback: fields.kinds("feedback"),
        stores: fields.words("stores"),
        line: fields.line(),
        name,
    };
    fields.require("reads");
    fields.require("writes");
    fields.finish();
    processor
}

fn check_from(document: &Document, topics: &[Topic], sub_topologies: &[SubTopology]) {
    for topic in topics {
        for from in topic.from.iter().filter(|from| !sub_topologies.iter().any(|sub| sub.name == **from)) {
            let message = format!("topic {} takes records from {from}, which is no sub-topology here", topic.name);
            document.note(rule::UNKNOWN_NAME, &path(&["topics", &topic.name, "from", from]), message);
        }
    }
}

fn read_settings(table: Option<&DeTable<'_>>) -> Settings {
    let mut entries = Vec::new();
    for (key, value) in table.into_iter().flatten() {
        flatten(value.get_ref(), join("", key.get_ref()), &mut entries);
    }
    entries.into_iter().collect()
}

fn flatten(value: &DeValue<'_>, at: String, entries: &mut Vec<(String, String)>) {
    let text = match value {
        DeValue::Table(table) => return table.iter().for_each(|(key, value)| flatten(value.get_ref(), join(&at, key.get_ref()), entries)),
        DeValue::Array(items) => {
            return items.iter().enumerate().for_each(|(index, item)| flatten(item.get_ref(), join(&at, &index.to_string()), entries));
        }
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
    };
    entries.push((at, text));
}

struct Document {
    lines: Lines,
    findings: RefCell<Vec<Finding>>,
}

impl Document {
    fn note(&self, rule: Rule, path: &str, message: impl Into<String>) {
        self.findings.borrow_mut().push(Finding::new(rule, self.lines.at(path), message));
    }
}

/// Reads the fields of one table, and remembers which it was asked for.
struct Fields<'a> {
    document: &'a Document,
    path: String,
    /// None where the table itself is missing or wrong, which is noted already.
    table: Option<&'a DeTable<'a>>,
    known: BTreeSet<String>,
}

impl<'a> Fields<'a> {
    fn new(document: &'a Document, path: String, table: Option<&'a DeTable<'a>>) -> Fields<'a> {
        Fields { document, path, table, known: BTreeSet::new() }
    }

    /// Ends the reading: what nobody asked for is unknown.
    fn finish(self) {
        let unknown = self.table.into_iter().flatten().map(|(key, _)| key.get_ref().as_ref()).filter(|key| !self.known.contains(*key));
        for key in unknown {
            let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
            let message = format!("{key} is unknown {}, where these may stand: {}", self.place(), known.join(", "));
            self.document.note(rule::UNKNOWN_FIELD, &join(&self.path, key), message);
        }
    }

    fn line(&self) -> usize {
        self.document.lines.at(&self.path)
    }

    /// For messages: where this table is.
    fn place(&self) -> String {
        if self.path.is_empty() { "at the top".into() } else { format!("in [{}]", self.path.replace("%2E", ".").replace("%25", "%")) }
    }

    fn refuse(&self, name: &str, rule: Rule, message: impl Into<String>) {
        self.document.note(rule, &join(&self.path, name), message);
    }

    fn take(&mut self, name: &str) -> Option<&'a DeValue<'a>> {
        self.known.insert(name.into());
        self.table?.get(name).map(|value| value.get_ref())
    }

    fn require(&mut self, name: &str) -> Option<&'a DeValue<'a>> {
        let value = self.take(name);
        if value.is_none() && self.table.is_some() {
            self.refuse(name, rule::MISSING_FIELD, format!("{name} is missing {}", self.place()));
        }
        value
    }

    /// Reads a value with `read`; notes where that does not go.
    fn read<T: Default>(&self, name: &str, value: Option<&'a DeValue<'a>>, wanted: &str, read: impl Fn(&'a DeValue<'a>) -> Option<T>) -> T {
        let Some(value) = value else { return T::default() };
        read(value).unwrap_or_else(|| {
            self.refuse(name, rule::WRONG_VALUE, format!("{name} must be {wanted}"));
            T::default()
        })
    }

    fn text(&mut self, name: &str) -> String {
        let value = self.require(name);
        let named = |text: &&str| (1..=MAX_NAME).contains(&text.len());
        self.read(name, value, "a text of 1 to 256 bytes", |value| value.as_str().filter(named).map(str::to_string))
    }

    fn flag(&mut self, name: &str) -> bool {
        let value = self.take(name);
        self.read(name, value, "true or false", DeValue::as_bool)
    }

    /// A number of bytes with its unit.
    fn size(&mut self, name: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(value) = self.take(name) else { return default };
        let wanted = format!("a size of {}KiB to {}GiB, such as 64KiB, 16MiB or 2GiB", range.start() >> 10, range.end() >> 30);
        self.read(name, Some(value), &wanted, |value| value.as_str().and_then(bytes_of).filter(|size| range.contains(size)))
    }

    fn number(&mut self, name: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(value) = self.take(name) else { return default };
        let wanted = format!("a number of {} to {}", range.start(), range.end());
        let read = |value: &DeValue<'_>| value.as_integer()?.to_string().parse().ok().filter(|number| range.contains(number));
        self.read(name, Some(value), &wanted, read)
    }

    fn partitions(&mut self, name: &str) -> Partitions {
        let value = self.require(name);
        let read = |value: &DeValue<'_>| match value.as_integer() {
            Some(number) => number.to_string().parse().ok().map(Partitions::Count).map(Some),
            None => (value.as_str() == Some("input")).then_some(Some(Partitions::Input)),
        };
        self.read(name, value, "a number of 1 to 10000, or \"input\"", read).unwrap_or(Partitions::Input)
    }

    fn retention(&mut self, name: &str) -> Option<Duration> {
        let value = self.take(name);
        let read = |value: &DeValue<'_>| Duration::parse(value.as_str()?).filter(|span| span.0 > 0).map(Some);
        self.read(name, value, "a span over 0 like \"30d\" or \"12h\"", read)
    }

    /// A list of texts; empty where it is missing.
    fn words(&mut self, name: &str) -> Vec<String> {
        let value = self.take(name);
        let word = |item: &DeValue<'_>| item.as_str().filter(|word| !word.is_empty()).map(str::to_string);
        let words = |value: &'a DeValue<'a>| value.as_array()?.iter().map(|item| word(item.get_ref())).collect::<Option<Vec<String>>>();
        let words = self.read(name, value, "a list of texts, none of them empty", words);
        for (at, word) in words.iter().enumerate().filter(|(at, word)| words[..*at].contains(word)) {
            let message = format!("{name} {} lists {word} twice", self.place());
            self.document.note(rule::LISTED_TWICE, &join(&join(&self.path, name), &at.to_string()), message);
        }
        words
    }

    /// A list that must be there and not be empty.
    fn filled<T>(&mut self, name: &str, read: fn(&mut Self, &str) -> T) -> T {
        let value = self.require(name);
        if value.and_then(DeValue::as_array).is_some_and(|items| items.is_empty()) {
            self.refuse(name, rule::WRONG_VALUE, format!("{name} must not be empty"));
        }
        read(self, name)
    }

    fn kinds(&mut self, name: &str) -> Kinds {
        let words = self.words(name);
        for word in words.iter().filter(|word| Kind::from_name(word).is_none()) {
            let message = format!("{name} {} names {word}, which is no record type", self.place());
            self.document.note(rule::UNKNOWN_RECORD_TYPE, &join(&join(&self.path, name), word), message);
        }
        Kinds::of(&words.iter().filter_map(|word| Kind::from_name(word)).collect::<Vec<Kind>>())
    }

    fn table(&mut self, name: &str) -> Option<&'a DeTable<'a>> {
        let value = self.require(name);
        self.as_table(name, value)
    }

    fn as_table(&self, name: &str, value: Option<&'a DeValue<'a>>) -> Option<&'a DeTable<'a>> {
        self.read(name, value, "a table", |value| value.as_table().map(Some))
    }

    /// The table of a name that a list holds.
    fn listed(&mut self, list: &str, name: &str) -> Fields<'a> {
        let value = self.take(name);
        if value.is_none() {
            let message = format!("{list} {} lists {name}, which has no table there", self.place());
            self.document.note(rule::MISSING_FIELD, &join(&join(&self.path, list), name), message);
        }
        Fields::new(self.document, join(&self.path, name), self.as_table(name, value))
    }

    fn fields(&mut self, name: &str) -> Fields<'a> {
        let table = self.table(name);
        Fields::new(self.document, join(&self.path, name), table)
    }

    /// The tables in a table, in file order.
    fn tables(&mut self, name: &str) -> Vec<(&'a str, Fields<'a>)> {
        let mut outer = self.fields(name);
        let mut keys: Vec<_> = outer.table.into_iter().flatten().map(|(key, _)| key).collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter().map(|key| (key.get_ref().as_ref(), outer.fields(key.get_ref()))).collect()
    }
}
