//! The envelope: what a leaf says about a record, as one RFC 8785 JSON object.
//!
//! | key | value |
//! |---|---|
//! | `actor` | who acted, as authenticated; `merit` where a processor decided |
//! | `auth` | how the actor was authenticated; `internal` for a processor |
//! | `ct` | `avro/binary` |
//! | `epoch` | number of the ConfigEpoch in force |
//! | `id` | the record's id: UUIDv8 of what `src` names |
//! | `log` | name of the audit log |
//! | `parents` | ids of the records that led to this one |
//! | `payload` | commitment to the record's bytes, [`crate::payload_commit`] |
//! | `plen` | how many bytes these are |
//! | `policy` | the policy that decided; left out where none did |
//! | `prev` | event hash of the chain's envelope before this one, else the chain's genesis |
//! | `schema` | SHA-256 of the Parsing Canonical Form of the record's schema |
//! | `seq` | place in the chain, gapless from 0 |
//! | `src` | where the record stands: `topic/partition/offset` from outside, `stream#sequence` of a processor |
//! | `stream` | the chain: `sub-topology/partition/lineage` |
//! | `subject` | the record's key: an opaque id of an entity or pool |
//! | `ts` | the record's time, RFC 3339 in UTC with milliseconds |
//! | `type` | the record's type, [`leaf_type`] |
//! | `v` | 1 |
//!
//! Keys stand in this order and no other. Numbers are at most 2^53 - 1; there are no floats, no `null` and no spaces, so one
//! envelope is one byte string.

use crate::json::{ObjectReader, ObjectWriter};
use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use merit_core::{Digest, EventTime, Kind, Uuid};

const CONTENT_TYPE: &str = "avro/binary";
const VERSION: u64 = 1;

/// What a leaf says about a record; the table above explains each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `actor`
    pub actor: Cow<'a, str>,
    /// `auth`
    pub auth: Cow<'a, str>,
    /// `epoch`
    pub epoch: u64,
    /// `log`
    pub log: Cow<'a, str>,
    /// `parents`
    pub parents: Cow<'a, [Uuid]>,
    /// `payload`
    pub payload: Digest,
    /// `plen`
    pub payload_length: u64,
    /// `policy`
    pub policy: Option<Cow<'a, str>>,
    /// `prev`
    pub prev: Digest,
    /// `schema`
    pub schema: Digest,
    /// `seq`
    pub sequence: u64,
    /// `src`; `id` follows from it
    pub source: Source<'a>,
    /// `stream`
    pub stream: Cow<'a, str>,
    /// `subject`
    pub subject: Cow<'a, str>,
    /// `ts`, between [`EventTime::EPOCH`] and [`EventTime::LATEST`]
    pub time: EventTime,
    /// `type`
    pub leaf_type: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Appends the canonical bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut object = ObjectWriter::new(out);
        object.text("actor", &self.actor);
        object.text("auth", &self.auth);
        object.plain("ct", CONTENT_TYPE);
        object.number("epoch", self.epoch);
        object.uuid("id", self.source.id());
        object.text("log", &self.log);
        object.uuids("parents", &self.parents);
        object.digest("payload", &self.payload);
        object.number("plen", self.payload_length);
        if let Some(policy) = &self.policy {
            object.text("policy", policy);
        }
        object.digest("prev", &self.prev);
        object.digest("schema", &self.schema);
        object.number("seq", self.sequence);
        object.text("src", &self.source.to_string());
        object.text("stream", &self.stream);
        object.text("subject", &self.subject);
        object.plain("ts", self.time);
        object.text("type", &self.leaf_type);
        object.number("v", VERSION);
        object.end();
    }

    /// Reads canonical bytes; what it takes, [`Envelope::write`] gives back byte for byte.
    pub fn parse(bytes: &'a [u8]) -> Result<Envelope<'a>, Misshapen> {
        let text = core::str::from_utf8(bytes).map_err(|error| Misshapen { at: error.valid_up_to(), expected: "UTF-8" })?;
        let mut object = ObjectReader::new(text);
        let (actor, auth) = (object.text("actor")?, object.text("auth")?);
        object.parsed("ct", |text| (text == CONTENT_TYPE).then_some(()))?;
        let epoch = object.number("epoch")?;
        object.uuid("id")?;
        let envelope = Envelope {
            actor,
            auth,
            epoch,
            log: object.text("log")?,
            parents: object.uuids("parents")?.into(),
            payload: object.digest("payload")?,
            payload_length: object.number("plen")?,
            policy: object.optional_text("policy")?,
            prev: object.digest("prev")?,
            schema: object.digest("schema")?,
            sequence: object.number("seq")?,
            source: object.parsed("src", Source::parse)?,
            stream: object.text("stream")?,
            subject: object.text("subject")?,
            time: object.parsed("ts", |text| parse_time(text.as_bytes()))?,
            leaf_type: object.text("type")?,
        };
        object.number("v")?;
        object.end()?;
        envelope.is_written_as(bytes).map(|()| envelope)
    }

    /// Finds an `id` that is not that of `src`, another `v`, and any value that has two spellings.
    fn is_written_as(&self, bytes: &[u8]) -> Result<(), Misshapen> {
        let mut canonical = Vec::with_capacity(bytes.len());
        self.write(&mut canonical);
        match canonical.iter().zip(bytes).position(|(canonical, byte)| canonical != byte) {
            None if canonical.len() == bytes.len() => Ok(()),
            at => Err(Misshapen { at: at.unwrap_or(canonical.len().min(bytes.len())), expected: "the canonical form" }),
        }
    }
}

/// Bytes that are no leaf or no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// Where, in bytes from the start of the leaf or of the envelope.
    pub at: usize,
    /// What should stand there; in an envelope mostly the key.
    pub expected: &'static str,
}

impl fmt::Display for Misshapen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.at)
    }
}

impl core::error::Error for Misshapen {}

/// Where a record stands. Topics hold no `/` and no `#`, streams no `#`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A producer, a command or the runtime wrote it.
    Outside {
        /// Its topic.
        topic: Cow<'a, str>,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
    },
    /// A processor emitted it.
    Inner {
        /// `sub-topology/processor/partition/lineage`
        stream: Cow<'a, str>,
        /// Its place in that stream.
        sequence: u64,
    },
}

impl<'a> Source<'a> {
    /// The record's id; for a record from outside that of the stream `topic/partition` at its offset.
    pub fn id(&self) -> Uuid {
        match self {
            Source::Outside { topic, partition, offset } => Uuid::of_record(&alloc::format!("{topic}/{partition}"), *offset),
            Source::Inner { stream, sequence } => Uuid::of_record(stream, *sequence),
        }
    }

    fn parse(text: Cow<'a, str>) -> Option<Source<'a>> {
        if let Some((stream, sequence)) = text.rsplit_once('#') {
            let (length, sequence) = (stream.len(), sequence.parse().ok()?);
            return Some(Source::Inner { stream: first(text, length), sequence });
        }
        let (partition, offset) = text.rsplit_once('/')?;
        let (topic, partition) = partition.rsplit_once('/')?;
        let (length, partition, offset) = (topic.len(), partition.parse().ok()?, offset.parse().ok()?);
        Some(Source::Outside { topic: first(text, length), partition, offset })
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Outside { topic, partition, offset } => write!(f, "{topic}/{partition}/{offset}"),
            Source::Inner { stream, sequence } => write!(f, "{stream}#{sequence}"),
        }
    }
}

fn first(text: Cow<'_, str>, length: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..length]),
        Cow::Owned(mut text) => {
            text.truncate(length);
            Cow::Owned(text)
        }
    }
}

/// Reads `2025-01-17T18:00:00.000Z`; a day or hour that does not exist gives a time that is written otherwise.
fn parse_time(text: &[u8]) -> Option<EventTime> {
    if text.len() != 24 {
        return None;
    }
    let number = |from: usize, to: usize| core::str::from_utf8(&text[from..to]).ok()?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, milli) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    let minutes = (days_from_civil(year, month, day) * 24 + hour) * 60 + minute;
    let time = EventTime((minutes * 60 + second) * 1_000 + milli);
    (EventTime::EPOCH <= time && time <= EventTime::LATEST).then_some(time)
}

/// Days since 1970-01-01 of a day of the proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// What `type` says for a record type: its name in lower case, a dot between the words.
pub const fn leaf_type(kind: Kind) -> &'static str {
    match kind {
        Kind::ConfigEpoch => "config.epoch",
        Kind::Tick => "tick",
        Kind::Progress => "progress",
        Kind::EvalReport => "eval.report",
        Kind::RawReport => "raw.report",
        Kind::ProposePromotion => "propose.promotion",
        Kind::AssignEntity => "assign.entity",
        Kind::AllocationOutcome => "allocation.outcome",
        Kind::ReportAccepted => "report.accepted",
        Kind::Rejected => "rejected",
        Kind::ReportLate => "report.late",
        Kind::ScoreUpdated => "score.updated",
        Kind::AggregateDelta => "aggregate.delta",
        Kind::PromotionProposed => "promotion.proposed",
        Kind::DemotionProposed => "demotion.proposed",
        Kind::Held => "held",
        Kind::ReviewRequired => "review.required",
        Kind::EntityAssigned => "entity.assigned",
        Kind::RequestAllocation => "request.allocation",
        Kind::Approve => "approve",
        Kind::Reject => "reject",
        Kind::Release => "release",
        Kind::DefinePool => "define.pool",
        Kind::SetQuota => "set.quota",
        Kind::PolicyBundle => "policy.bundle",
        Kind::Recheck => "recheck",
        Kind::Acked => "acked",
        Kind::Observed => "observed",
        Kind::Refused => "refused",
        Kind::PolicyDecided => "policy.decided",
        Kind::PoolDefined => "pool.defined",
        Kind::QuotaSet => "quota.set",
        Kind::CommandRefused => "command.refused",
        Kind::AllocationRequested => "allocation.requested",
        Kind::AllocationPended => "allocation.pended",
        Kind::AllocationApproved => "allocation.approved",
        Kind::AllocationDispatched => "allocation.dispatched",
        Kind::AllocationApplied => "allocation.applied",
        Kind::AllocationConfirmed => "allocation.confirmed",
        Kind::AllocationRejected => "allocation.rejected",
        Kind::AllocationDraining => "allocation.draining",
        Kind::AllocationReleased => "allocation.released",
        Kind::ReportDuplicate => "report.duplicate",
        Kind::Preempt => "preempt",
        Kind::AllocationPreempted => "allocation.preempted",
        Kind::CreateRetrain => "create.retrain",
        Kind::RetrainQueued => "retrain.queued",
        Kind::RetrainUpdated => "retrain.updated",
        Kind::AuditLeaf => "audit.leaf",
        Kind::SealedLeaf => "sealed.leaf",
        Kind::StreamSeal => "stream.seal",
        Kind::StreamHeads => "stream.heads",
        Kind::AuditIncident => "audit.incident",
    }
}
