//! Records as messages of Kafka.
//!
//! | part of the message | holds |
//! |---|---|
//! | key | the record's key, UTF-8 |
//! | timestamp | the record's time in milliseconds, 1 where it is before that: for one from outside, when it was received |
//! | value | 0, schema id (u32, big-endian), Avro datum: the framing that clients of a schema registry know |
//! | header `merit` | Avro datum of [`Envelope`]; a message of another producer has none |
//!
//! The header tells the type of a record, so Merit reads what it wrote whatever a registry says; ids are for everyone else.

use super::client::MAX_MESSAGE;
use crate::frame::Frame;
use merit_core::id::Hex;
use merit_core::record::{Headers, RawReport};
use merit_core::{Datum, EventTime, Head, Kind, datum};
use rdkafka::message::{Header, Headers as _, Message, OwnedHeaders};
use sha2::{Digest, Sha256};

/// Name of the header.
pub const HEADER: &str = "merit";

/// Name of the header of a message that stands where the log that it was copied from has no record.
pub const GAP: &str = "merit-gap";

/// Bytes before the datum.
pub(super) const FRAMING: usize = 5;

/// Bytes of the longest key of another program.
const LONGEST_KEY: usize = 1 << 10;

/// Bytes of the largest value of another program that is taken up: what rejects it holds it, and has to be a message, too. A value
/// that was compressed may be larger than any message.
const LARGEST_VALUE: usize = MAX_MESSAGE as usize - (64 << 10);

datum! {
    /// What a message says of its record beside key, time and value.
    Envelope<'a> {
        /// Number of its type.
        kind: u32,
        /// How often what led here was fed back.
        hops: u32,
        /// Number of its stream; 65,535 for a record from outside.
        stream: u32,
        /// Its place in that stream; 0 for a record from outside.
        sequence: u64,
        /// Its time where no timestamp of Kafka can be that.
        time: Option<EventTime>,
        /// What travels beside it.
        headers: Option<Headers<'a>>,
    }
}

/// The timestamp of a message. A client takes 0 for now, and what is before has another meaning or none.
pub fn timestamp(time: EventTime) -> i64 {
    time.0.max(1)
}

/// Buffers of messages on their way out.
#[derive(Default)]
pub struct Writer {
    value: Vec<u8>,
    envelope: Vec<u8>,
}

impl Writer {
    /// The value and the headers of a record, whose schema has that id.
    pub fn write(&mut self, frame: &Frame<'_>, schema: u32) -> (&[u8], OwnedHeaders) {
        self.value.clear();
        self.value.push(0);
        self.value.extend_from_slice(&schema.to_be_bytes());
        self.value.extend_from_slice(frame.payload);
        self.envelope.clear();
        let Frame { kind, hops, stream, sequence, time, headers, .. } = *frame;
        let time = (time.0 != timestamp(time)).then_some(time);
        Envelope { kind, hops, stream, sequence, time, headers }.put(&mut self.envelope);
        let headers = OwnedHeaders::new_with_capacity(1).insert(Header { key: HEADER, value: Some(&self.envelope) });
        (&self.value, headers)
    }
}

/// A message as a record.
pub enum Read<'m> {
    /// A record of Merit.
    Record(Frame<'m>),
    /// Anything else: who sent it is no part of Merit.
    Foreign(Foreign<'m>),
    /// No record.
    Gap,
}

/// A message without a header of Merit, or with one that cannot be read.
pub struct Foreign<'m> {
    /// Its key; empty where it has none.
    pub key: &'m str,
    /// When it was received.
    pub time: EventTime,
    /// Its value.
    pub bytes: &'m [u8],
    /// Why nothing can be made of it, where that shows without its value.
    pub fault: Option<&'static str>,
}

impl Foreign<'_> {
    /// Appends the encoding of the raw report that it is taken for. What is too large for one stays in the topic, and the report tells
    /// its digest.
    pub fn put_raw_report(&self, rule: &str, detail: &str, payload: &mut Vec<u8>) {
        if self.bytes.len() > LARGEST_VALUE {
            let digest = Sha256::digest(self.bytes);
            let detail = format!("the value has {} bytes, too many for a report; their SHA-256 is {}", self.bytes.len(), Hex(&digest));
            RawReport { source: self.key, rule, detail: &detail, bytes: &[] }.put(payload);
        } else {
            RawReport { source: self.key, rule, detail, bytes: self.bytes }.put(payload);
        }
    }

    /// Itself as a record of that type and payload.
    pub fn frame<'a>(&'a self, kind: Kind, payload: &'a [u8]) -> Frame<'a> {
        let Foreign { key, time, .. } = *self;
        Frame { kind: kind as u32, hops: 0, stream: Head::OUTSIDE.into(), sequence: 0, time, key, headers: None, payload }
    }
}

/// Reads a message.
pub fn read(message: &impl Message) -> Read<'_> {
    let header = |name: &str| message.headers().and_then(|headers| headers.iter().find(|header| header.key == name));
    let time = EventTime(message.timestamp().to_millis().unwrap_or(0));
    let envelope = header(HEADER).and_then(|header| header.value);
    if envelope.is_none() && header(GAP).is_some() {
        return Read::Gap;
    }
    of_parts(message.key().unwrap_or_default(), message.payload().unwrap_or_default(), time, envelope)
}

fn of_parts<'m>(key: &'m [u8], bytes: &'m [u8], time: EventTime, envelope: Option<&'m [u8]>) -> Read<'m> {
    let foreign = |key, fault| Read::Foreign(Foreign { key, time, bytes, fault });
    let Ok(key) = std::str::from_utf8(key) else { return foreign("unreadable", Some("the key is not UTF-8")) };
    let Some(envelope) = envelope else {
        return match (key.len() > LONGEST_KEY, bytes.len() > LARGEST_VALUE) {
            (true, _) => foreign("unreadable", Some("the key has more than 1,024 bytes")),
            (_, true) => foreign(key, Some("the value is too large")),
            _ => foreign(key, None),
        };
    };
    let Some(Envelope { kind, hops, stream, sequence, time: exact, headers }) = Envelope::decode(envelope) else {
        return foreign(key, Some("the header `merit` cannot be read"));
    };
    let known = u8::try_from(kind).ok().and_then(Kind::from_number);
    let Some((([0, ..], payload), _)) = bytes.split_first_chunk::<FRAMING>().zip(known) else {
        return foreign(key, Some("the value is not what its header `merit` says"));
    };
    Read::Record(Frame { kind, hops, stream, sequence, time: exact.unwrap_or(time), key, headers, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_anything_else_is_foreign() {
        let payload = [7, 8, 9];
        let frame = Frame {
            kind: Kind::Tick as u32,
            hops: 2,
            stream: 4,
            sequence: 77,
            time: EventTime(5),
            key: "agent",
            headers: Some(Headers { trace: "00-1", actor: "local", auth: "loopback", reply_to: None, once: None }),
            payload: &payload,
        };
        let mut writer = Writer::default();
        for time in [EventTime(5), EventTime(1), EventTime::EPOCH, EventTime(-1), EventTime::MIN, EventTime::LATEST] {
            let frame = Frame { time, ..frame };
            let (value, headers) = writer.write(&frame, 77);
            let value = value.to_vec();
            let envelope = headers.get(0).value.map(<[u8]>::to_vec);
            let stamped = timestamp(time);
            assert!(stamped > 0, "{time:?}");
            match of_parts(b"agent", &value, EventTime(stamped), envelope.as_deref()) {
                Read::Record(read) => assert_eq!(read, frame),
                _ => panic!("a record"),
            }
        }
        let (value, headers) = writer.write(&frame, 77);
        let (value, envelope) = (value.to_vec(), headers.get(0).value.map(<[u8]>::to_vec));
        let cases = [
            (&b"agent"[..], &value[..], None, false),
            (b"agent", &value, Some(&b"?"[..]), true),
            (b"agent", b"", envelope.as_deref(), true),
            (b"agent", b"{\"a\":1}", envelope.as_deref(), true),
            (&[0xff], &value, envelope.as_deref(), true),
        ];
        for (key, value, envelope, is_faulty) in cases {
            let Read::Foreign(foreign) = of_parts(key, value, EventTime(5), envelope) else { panic!("{value:?} is no record") };
            assert_eq!((foreign.bytes, foreign.fault.is_some()), (value, is_faulty), "{:?}", foreign.fault);
        }
    }

    #[test]
    fn what_is_too_large_to_be_rejected_with_its_bytes_is_rejected_with_their_digest() {
        let (value, key) = (vec![7; LARGEST_VALUE + 1], "k".repeat(LONGEST_KEY + 1));
        for (key, value, bytes) in
            [("agent", &value[1..], LARGEST_VALUE), ("agent", &value[..], 0), (&key, &value[..9], 9), (&key[1..], &value[..9], 9)]
        {
            let Read::Foreign(foreign) = of_parts(key.as_bytes(), value, EventTime(5), None) else { panic!("it is no record") };
            let mut payload = Vec::new();
            foreign.put_raw_report("schema_invalid", "no report", &mut payload);
            let report = RawReport::decode(&payload).expect("a raw report");
            assert_eq!(report.bytes.len(), bytes);
            assert_eq!(report.detail.contains("SHA-256"), bytes == 0, "{}", report.detail);
            assert!(report.source.len() <= LONGEST_KEY && payload.len() < MAX_MESSAGE as usize - (32 << 10));
        }
    }
}
