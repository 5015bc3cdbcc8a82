//! `merit log`: records of topics.

mod export;
mod import;
mod prune;

use crate::code;
use crate::decisions::Streams;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, session};
use clap::{Args, Subcommand};
use merit_audit::ParsedLeaf;
use merit_core::record::{AuditLeaf, Headers, SealedLeaf};
use merit_core::{Datum, EventTime, Kind};
use merit_runtime::frame::Frame;
use merit_runtime::layout::Partition;
use std::fmt::Write;

#[derive(Subcommand)]
pub(crate) enum Log {
    /// Print every record of a topic, partition by partition.
    Cat(Cat),
    /// Copy a log, at its offsets: from Kafka into a directory or a file, or from a directory into a file.
    Export(export::Export),
    /// Bring a log back, at its offsets: from a file into a directory or onto Kafka, or from a directory onto Kafka.
    Import(import::Import),
    /// Remove what the retention of topics lets go, and keep a base from which the rest can be computed again.
    Prune(prune::Prune),
}

#[derive(Args)]
pub(crate) struct Cat {
    /// The topic.
    topic: String,
    #[command(flatten)]
    place: Place,
    /// Only this partition.
    #[arg(long)]
    partition: Option<u32>,
    /// From this offset on; by default from the first that is left.
    #[arg(long)]
    from: Option<u64>,
    /// At most so many records a partition.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
}

impl Log {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        match self {
            Log::Cat(cat) => cat.run(out),
            Log::Export(export) => export.run(out),
            Log::Import(import) => import.run(out),
            Log::Prune(prune) => prune.run(out),
        }
    }
}

impl Cat {
    fn run(self, out: &mut Output) -> Result<(), Failure> {
        let (store, layout) = session::read_log(&self.place)?;
        let streams = Streams::new(&store, &layout)?;
        let partitions = layout.all_of(&self.topic).ok_or_else(|| {
            let known: Vec<&str> = layout.topic_names().collect();
            Failure::new(code::TOPIC_UNKNOWN, format!("there is no topic {:?}", self.topic)).hint(format!("one of {}", known.join(", ")))
        })?;
        let count = partitions.len();
        if let Some(unknown) = self.partition.filter(|partition| *partition as usize >= count) {
            return Err(Failure::new(code::PARTITION_UNKNOWN, format!("{} has no partition {unknown}, it has {count}", self.topic)));
        }
        let wanted = |partition: &&Partition| self.partition.is_none_or(|only| only == partition.partition);
        for partition in layout.partitions[partitions].iter().filter(wanted) {
            let start = store.start(partition);
            if start > 0 && self.from.is_none() {
                out.note(&format!("{}/{} begins at offset {start}: what was before is pruned", partition.name, partition.partition));
            }
            let mut records = store.read(partition, self.from.unwrap_or(start));
            let mut left = self.limit;
            while let Some((offset, frame)) = records.next()?.filter(|_| left > 0) {
                left -= 1;
                let text = json(partition, offset, &frame, &streams);
                out.line(if out.json { text } else { plain(partition, offset, &frame) })?;
            }
        }
        Ok(())
    }
}

/// The value of a record as JSON text.
pub(crate) fn value(frame: &Frame<'_>) -> String {
    let mut text = String::new();
    match frame.kind().and_then(|kind| merit_codec::write_json(kind.shape(), frame.payload, &mut text)) {
        Some(()) => with_envelope(frame, text),
        None => "null".into(),
    }
}

/// A leaf's value with its envelope in plain JSON before its bytes.
fn with_envelope(frame: &Frame<'_>, text: String) -> String {
    let leaf = match frame.kind() {
        Some(Kind::AuditLeaf) => AuditLeaf::decode(frame.payload).map(|leaf| leaf.leaf),
        Some(Kind::SealedLeaf) => SealedLeaf::decode(frame.payload).map(|leaf| leaf.leaf),
        _ => None,
    };
    let parsed = leaf.and_then(|leaf| ParsedLeaf::parse(leaf).ok());
    match parsed.as_ref().and_then(|leaf| std::str::from_utf8(leaf.bytes).ok()) {
        Some(envelope) => format!(r#"{{"envelope":{envelope},{}"#, &text[1..]),
        None => text,
    }
}

/// A time as JSON: null where a command carries none.
pub(crate) fn time(time: EventTime) -> String {
    if time == EventTime::MIN { "null".into() } else { format!("\"{time}\"") }
}

fn json(partition: &Partition, offset: u64, frame: &Frame<'_>, streams: &Streams) -> String {
    let mut line = String::new();
    let kind = frame.kind().map_or("unknown", |kind| kind.name());
    let (topic, key) = (serde_json::json!(partition.name), serde_json::json!(frame.key));
    let id = streams.id(partition, offset, frame);
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        r#"{{"topic":{topic},"partition":{},"offset":{offset},"timestamp":{},"key":{key},"type":"{kind}","id":"{id}",{}"value":{}}}"#,
        partition.partition,
        time(frame.time),
        headers(frame),
        value(frame)
    );
    line
}

/// What travels beside a record, where something does.
fn headers(frame: &Frame<'_>) -> String {
    let Some(headers) = &frame.headers else { return String::new() };
    let mut bytes = Vec::new();
    headers.put(&mut bytes);
    let mut text = String::new();
    match merit_codec::write_json(Headers::SHAPE, &bytes, &mut text) {
        Some(()) => format!(r#""headers":{text},"#),
        None => String::new(),
    }
}

fn plain(partition: &Partition, offset: u64, frame: &Frame<'_>) -> String {
    let kind = frame.kind().map_or("unknown", |kind| kind.name());
    let time = if frame.time == EventTime::MIN { "-".into() } else { frame.time.to_string() };
    format!("{}/{offset:<8} {time:<24} {kind:<20} {:<24} {}", partition.partition, frame.key, value(frame))
}
