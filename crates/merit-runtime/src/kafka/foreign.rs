//! What other programs send: reports in Avro under a schema of the registry, or in JSON where the topology allows it. Whatever cannot
//! be read becomes a raw report, which ends in `eval.rejected`.
//!
//! The same message becomes the same record wherever it is read: the schema under an id never changes, and that nobody had one is
//! kept as well as the schema. While it is not known, the partition waits at the message.

use super::native::Fetched;
use super::reader::LastError;
use super::schemas::Other;
use super::topics::Topics;
use super::wire::{self, FRAMING, Foreign, Read};
use crate::code::{SCHEMA_INVALID, SCHEMA_UNKNOWN};
use crate::frame::Frame;
use crate::layout::Layout;
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use merit_core::record::EvalReport;
use merit_core::{Code, Datum, Kind};
use merit_sources::JsonReports;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Between two looks whether a schema has come.
const PAUSE: Duration = Duration::from_millis(20);

/// The most bytes that one value of another program makes its reader ask for at once: sixteen times the longest row.
const MAX_ALLOCATION: usize = 16 << 20;

/// Merit's own schema of a report.
static REPORT: LazyLock<Option<Schema>> = LazyLock::new(|| {
    apache_avro::util::max_allocation_bytes(MAX_ALLOCATION);
    Schema::parse_str(&merit_codec::schema(Kind::EvalReport).to_string()).ok()
});

/// A reader of such messages.
pub struct Intake {
    topics: Arc<Topics>,
    /// Partitions of reports, and whether they take JSON.
    reports: std::ops::Range<usize>,
    takes_json: bool,
    last_error: LastError,
    json: JsonReports,
    /// Schemas of other programs, by id.
    schemas: BTreeMap<u32, Result<Schema, String>>,
    /// Until when a partition is left alone.
    held: BTreeMap<usize, Instant>,
    payload: Vec<u8>,
}

/// Why a message is no report.
struct Refusal {
    rule: &'static Code,
    detail: String,
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal { rule: SCHEMA_INVALID, detail: detail.into() }
}

impl Intake {
    /// One for a topology.
    pub fn new(layout: &Layout, topics: &Arc<Topics>, last_error: &LastError) -> Intake {
        let first = layout.tasks.first().map_or(0, |task| task.input);
        Intake {
            topics: Arc::clone(topics),
            reports: first..first + layout.report_partitions as usize,
            takes_json: layout.takes_json,
            last_error: last_error.clone(),
            json: JsonReports::default(),
            schemas: BTreeMap::new(),
            held: BTreeMap::new(),
            payload: Vec::new(),
        }
    }

    /// Whether a partition waits for a schema: nothing is to be read of it now.
    pub fn is_held(&self, partition: usize) -> bool {
        self.held.get(&partition).is_some_and(|until| Instant::now() < *until)
    }

    /// Gives what stands there as a record, or none where it is none; false where the partition has to wait before it.
    pub(super) fn give(&mut self, partition: usize, offset: u64, message: &Fetched, take: impl FnOnce(Option<&Frame<'_>>)) -> bool {
        match wire::read(message) {
            Read::Record(frame) => take(Some(&frame)),
            Read::Gap => take(None),
            Read::Foreign(foreign) => match self.frame(partition, offset, &foreign) {
                Some(frame) => take(Some(&frame)),
                None => return false,
            },
        }
        true
    }

    /// A message as a record; none where the partition has to wait: it is to be read again from there.
    pub fn frame<'a>(&'a mut self, partition: usize, offset: u64, foreign: &'a Foreign<'_>) -> Option<Frame<'a>> {
        self.payload.clear();
        self.held.remove(&partition);
        let read = match foreign.fault {
            Some(fault) => Err(invalid(fault)),
            None if !self.reports.contains(&partition) => Err(invalid("the header `merit` is missing")),
            None => self.read(partition, offset, foreign.bytes)?,
        };
        let kind = match read {
            Ok(()) => Kind::EvalReport,
            Err(Refusal { rule, detail }) => {
                self.payload.clear();
                foreign.put_raw_report(rule.name, &detail, &mut self.payload);
                Kind::RawReport
            }
        };
        Some(foreign.frame(kind, &self.payload))
    }

    /// Reads a value into `payload`.
    fn read(&mut self, partition: usize, offset: u64, value: &[u8]) -> Option<Result<(), Refusal>> {
        if value.first() == Some(&b'{') {
            return Some(self.read_json(value));
        }
        let Some(([0, id @ ..], datum)) = value.split_first_chunk::<FRAMING>() else {
            return Some(Err(invalid("the value does not begin with 0 and the id of a schema")));
        };
        let id = u32::from_be_bytes(*id);
        if id == self.topics.schema(partition, Kind::EvalReport as u32) {
            if EvalReport::decode(datum).is_some() {
                self.payload.extend_from_slice(datum);
                return Some(Ok(()));
            }
            // A client may write what means the same otherwise, as an array in several blocks.
            return Some(REPORT.as_ref().map_or_else(|| Err(invalid("no schema")), |own| translate(own, datum, &mut self.payload)));
        }
        if !self.schemas.contains_key(&id) {
            match self.topics.schemas().other(id) {
                Other::Text(text) => drop(self.schemas.insert(id, report_schema(&text))),
                Other::Absent => {
                    return Some(Err(Refusal { rule: SCHEMA_UNKNOWN, detail: format!("nobody knows a schema under id {id}") }));
                }
                Other::Asked(trouble) => {
                    if let Some(trouble) = trouble {
                        let (topic, number) = self.topics.place(partition);
                        self.last_error.say(format!("{topic}/{number} waits at offset {offset} for schema {id}: {trouble}"));
                    }
                    self.held.insert(partition, Instant::now() + PAUSE);
                    return None;
                }
            }
        }
        Some(match &self.schemas[&id] {
            Ok(schema) => translate(schema, datum, &mut self.payload),
            Err(detail) => Err(Refusal { rule: SCHEMA_UNKNOWN, detail: format!("schema {id} {detail}") }),
        })
    }

    fn read_json(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if !self.takes_json {
            return Err(invalid("the topology takes no JSON here"));
        }
        let report = self.json.parse(value).map_err(|unreadable| Refusal { rule: unreadable.rule, detail: unreadable.detail })?;
        report.put(&mut self.payload);
        Ok(())
    }
}

/// A schema that somebody writes reports with, or why it is none.
fn report_schema(text: &str) -> Result<Schema, String> {
    let schema = Schema::parse_str(text).map_err(|error| format!("cannot be read: {error}"))?;
    let own = REPORT.as_ref().and_then(Schema::name);
    match schema.name() {
        name if name != own => Err("is not that of a report".into()),
        _ if is_recursive(&schema, &mut Vec::new()) => Err("contains itself".into()),
        _ => Ok(schema),
    }
}

/// Whether values of a schema may be nested without end.
fn is_recursive<'s>(schema: &'s Schema, within: &mut Vec<&'s apache_avro::schema::Name>) -> bool {
    match schema {
        Schema::Ref { name } => within.contains(&name),
        Schema::Array(array) => is_recursive(&array.items, within),
        Schema::Map(map) => is_recursive(&map.types, within),
        Schema::Union(union) => union.variants().iter().any(|variant| is_recursive(variant, within)),
        Schema::Record(record) => {
            within.push(&record.name);
            let found = record.fields.iter().any(|field| is_recursive(&field.schema, within));
            within.pop();
            found
        }
        _ => false,
    }
}

/// Reads a datum that was written with a schema, and writes it with Merit's own.
fn translate(schema: &Schema, datum: &[u8], payload: &mut Vec<u8>) -> Result<(), Refusal> {
    let no_report = |error: apache_avro::Error| invalid(format!("the value is no EvalReport: {error}"));
    let own = REPORT.as_ref().ok_or_else(|| invalid("no schema"))?;
    let mut rest = datum;
    let reader = GenericDatumReader::builder(schema).reader_schema(own).build().map_err(no_report)?;
    let value = reader.read_value(&mut rest).map_err(no_report)?;
    if !rest.is_empty() {
        return Err(invalid(format!("{} bytes stand behind the report", rest.len())));
    }
    let writer = GenericDatumWriter::builder(own).build().map_err(no_report)?;
    let written = writer.write_value_to_vec(value).map_err(no_report)?;
    match EvalReport::decode(&written) {
        Some(_) => payload.extend_from_slice(&written),
        None => return Err(invalid("the value is no EvalReport")),
    }
    Ok(())
}
