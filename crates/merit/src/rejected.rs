//! `merit rejected`: inputs that broke a rule.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, log, session};
use clap::{Args, Subcommand};
use merit_core::Datum;
use merit_core::record;
use merit_runtime::layout::Layout;
use merit_runtime::store::Store;
use std::collections::BTreeMap;

#[derive(Subcommand)]
pub(crate) enum Rejected {
    /// Count them by rule, and list the newest of each.
    List(List),
    /// Show one with its bytes.
    Show(Show),
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    place: Place,
    /// Only this rule; lists every one of it.
    #[arg(long)]
    rule: Option<String>,
}

#[derive(Args)]
pub(crate) struct Show {
    /// Partition and offset in `eval.rejected`, as in `2/17`.
    coordinates: String,
    #[command(flatten)]
    place: Place,
}

impl Rejected {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        match self {
            Rejected::List(list) => list.run(out),
            Rejected::Show(show) => show.run(out),
        }
    }
}

/// Gives every Rejected with its place.
fn each(
    store: &Store,
    layout: &Layout,
    mut then: impl FnMut(u32, u64, &record::Rejected<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for partition in layout.all_of("eval.rejected").into_iter().flat_map(|all| &layout.partitions[all]) {
        let mut records = store.records(partition);
        while let Some((offset, frame)) = records.next()? {
            if let Some(rejected) = record::Rejected::decode(frame.payload) {
                then(partition.partition, offset, &rejected)?;
            }
        }
    }
    Ok(())
}

impl List {
    fn run(self, out: &mut Output) -> Result<(), Failure> {
        let (store, layout) = session::read_log(&self.place)?;
        let mut rules: BTreeMap<String, (u64, String)> = BTreeMap::new();
        each(&store, &layout, |partition, offset, rejected| {
            if self.rule.as_deref().is_some_and(|rule| rule != rejected.rule) {
                return Ok(());
            }
            let place = format!("{partition}/{offset}");
            if out.json {
                let value = serde_json::json!({ "at": place, "rule": rejected.rule, "detail": rejected.detail, "source": rejected.source,
                    "topic": rejected.topic, "partition": rejected.partition, "offset": rejected.offset });
                return out.line(value.to_string());
            }
            if self.rule.is_some() {
                return out.line(format!("{place:<10} {}", rejected.detail));
            }
            let entry = rules.entry(rejected.rule.into()).or_default();
            *entry = (entry.0 + 1, format!("{place}: {}", rejected.detail));
            Ok(())
        })?;
        if out.json || self.rule.is_some() {
            return Ok(());
        }
        if rules.is_empty() {
            return out.line("nothing was rejected");
        }
        let mut rows = vec![vec!["rule".into(), "count".into(), "newest".into()]];
        rows.extend(rules.into_iter().map(|(rule, (count, newest))| vec![rule, count.to_string(), newest]));
        out.table(&rows)
    }
}

impl Show {
    fn run(self, out: &mut Output) -> Result<(), Failure> {
        let parsed = self.coordinates.split_once('/').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
        let (partition, offset): (u32, u64) =
            parsed.ok_or_else(|| Failure::new(code::COORDINATES_INVALID, format!("{:?} is not PARTITION/OFFSET", self.coordinates)))?;
        let (store, layout) = session::read_log(&self.place)?;
        let missing = || Failure::new(code::REJECTED_MISSING, format!("nothing was rejected at {}", self.coordinates));
        let at = layout.find("eval.rejected", partition).ok_or_else(missing)?;
        let mut records = store.read(&layout.partitions[at], offset);
        let (_, frame) = records.next()?.filter(|(found, _)| *found == offset).ok_or_else(missing)?;
        if out.json {
            return out.line(log::value(&frame));
        }
        let rejected = record::Rejected::decode(frame.payload).ok_or_else(missing)?;
        out.line(format!("rule:    {}", rejected.rule))?;
        out.line(format!("found:   {}", rejected.detail))?;
        out.line(format!("input:   {} in {}/{} at offset {}", rejected.record_type, rejected.topic, rejected.partition, rejected.offset))?;
        out.line(format!("source:  {}", rejected.source))?;
        out.line(format!("content: {}", content(&rejected)))
    }
}

/// The bytes of a rejected input for a person: its fields where it is a record, its text where it is one.
fn content(rejected: &record::Rejected<'_>) -> String {
    let kind = merit_core::Kind::from_name(rejected.record_type).filter(|kind| *kind != merit_core::Kind::RawReport);
    let mut text = String::new();
    if kind.and_then(|kind| merit_codec::write_json(kind.shape(), rejected.bytes, &mut text)).is_some() {
        return text;
    }
    String::from_utf8_lossy(rejected.bytes).escape_debug().to_string()
}
