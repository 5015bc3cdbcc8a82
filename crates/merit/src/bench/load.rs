//! The load: reports as a pure function of their number, in time order but for the late ones.

use crate::code;
use crate::failure::Failure;
use merit_core::record::{EvalReport, Metric, Tag};
use merit_core::{Datum, EventTime, Fixed, List};
use merit_sources::JsonReports;
use std::io::Write;

/// Event time of the first report: 2026-01-05T00:00:00Z.
const START: i64 = 1_767_571_200_000;
/// Event time between two reports, in tenths of a millisecond: 2,000,000 reports fill 7 days.
const STEP: u64 = 3_024;
/// How long an agent keeps its quality, in milliseconds.
const QUALITY: i64 = 36 * 3_600_000;
/// Reports that are made at once. Few, so that reading what was made costs the measured pipeline little.
pub(super) const CHUNK: u64 = 1_000;

/// How reports reach the pipeline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines of JSON, as `POST /eval/submit` takes them.
    Json,
    /// Encodings of EvalReport.
    Avro,
}

/// One report.
#[derive(Clone, Copy)]
pub struct Report {
    number: u64,
    agent: u64,
    group: u64,
    /// When it was made.
    pub time: EventTime,
    metrics: [Metric<'static>; 3],
}

/// The finaliser of SplitMix64.
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// The report of a number, about one of so many agents: 2 % come up to 8.7 minutes late; 98 % succeed; an agent's rating moves every 36 h; a task takes 11 to 91 s, most of them few.
pub fn report(number: u64, agents: u64) -> Report {
    let draw = mix(number);
    let late = if number % 50 == 7 { (draw >> 1 & 0x7_ffff) as i64 } else { 0 };
    let time = EventTime(START + (number * STEP / 10) as i64 - late);
    let agent = mix(number + 1) % agents;
    let rating = mix(agent * 31 + (time.0 / QUALITY) as u64) % 10_000;
    let share = (draw >> 20) % 1_000;
    let seconds = 11_000 + 80 * share.pow(4) / 1_000_000_000;
    let values = [
        ("task_success", if draw % 1_000 < 984 { 1_000_000 } else { 0 }),
        ("user_rating", rating as i64 * 100),
        ("latency_score", (1_000_000 - seconds as i64 * 1_000 / 120) / 100 * 100),
    ];
    Report { number, agent, group: draw % 2_000, time, metrics: values.map(|(name, value)| Metric { name, value: Fixed(value) }) }
}

impl Report {
    /// Its agent.
    pub fn agent(&self) -> String {
        format!("agent-{:06}", self.agent)
    }

    /// Appends its body.
    pub fn write(&self, format: Format, out: &mut Vec<u8>) {
        match format {
            Format::Json => self.write_json(out),
            Format::Avro => self.write_avro(out),
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let Report { number, agent, group, time, metrics: [success, rating, latency] } = self;
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "{{\"id\":\"report-{number:010}\",\"agentId\":\"agent-{agent:06}\",\"metrics\":{{\"{}\":{},\"{}\":{},\"{}\":{}}},\
             \"source\":\"eval-harness\",\"timestamp\":\"{time}\",\"tags\":{{\"group\":\"G{group:04}\",\"type\":\"TXT_2_IMG\"}}}}",
            success.name, success.value, rating.name, rating.value, latency.name, latency.value
        );
    }

    fn write_avro(&self, out: &mut Vec<u8>) {
        let (id, agent_id) = (format!("report-{:010}", self.number), self.agent());
        let group = format!("G{:04}", self.group);
        let tags = [Tag { name: "group", value: &group }, Tag { name: "type", value: "TXT_2_IMG" }];
        EvalReport {
            id: Some(&id),
            agent_id: &agent_id,
            division_id: None,
            product_id: None,
            metrics: List::Slice(&self.metrics),
            source: "eval-harness",
            timestamp: self.time,
            window: None,
            tags: List::Slice(&tags),
        }
        .put(out);
    }
}

/// Bodies of some reports in a row, one behind the other.
#[derive(Default)]
pub(super) struct Bodies {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Bodies {
    /// Makes those of these numbers instead.
    pub(super) fn fill(&mut self, numbers: std::ops::Range<u64>, agents: u64, format: Format) {
        self.bytes.clear();
        self.ends.clear();
        for number in numbers {
            report(number, agents).write(format, &mut self.bytes);
            self.ends.push(self.bytes.len());
        }
    }

    /// Each body.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.ends.iter().enumerate().map(|(at, end)| &self.bytes[at.checked_sub(1).map_or(0, |before| self.ends[before])..*end])
    }
}

/// Reads bodies.
pub(super) struct Decoder {
    format: Format,
    json: JsonReports,
}

impl Decoder {
    pub(super) fn new(format: Format) -> Decoder {
        Decoder { format, json: JsonReports::default() }
    }

    #[inline]
    pub(super) fn read<'a>(&'a mut self, body: &'a [u8]) -> Result<EvalReport<'a>, Failure> {
        let unreadable = || Failure::new(code::BENCH_LOAD, "a report of the load cannot be read");
        match self.format {
            Format::Json => self.json.parse(body).map_err(|cause| unreadable().because(cause.detail)),
            Format::Avro => EvalReport::decode(body).ok_or_else(unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(numbers: std::ops::Range<u64>, format: Format) -> Bodies {
        let mut bodies = Bodies::default();
        bodies.fill(numbers, 10_000, format);
        bodies
    }

    #[test]
    fn json_and_avro_say_the_same() {
        let (json, avro) = (bodies(0..5_000, Format::Json), bodies(0..5_000, Format::Avro));
        let (mut from_json, mut from_avro) = (Decoder::new(Format::Json), Decoder::new(Format::Avro));
        for (line, datum) in json.iter().zip(avro.iter()) {
            assert_eq!(from_json.read(line).expect("JSON"), from_avro.read(datum).expect("Avro"));
        }
        assert_eq!((json.iter().len(), avro.iter().len()), (5_000, 5_000));
    }

    #[test]
    fn a_report_has_the_size_and_the_lateness_that_the_docs_name() {
        let reports: Vec<Report> = (0..100_000).map(|number| report(number, 10_000)).collect();
        let mut newest = reports[0].time;
        let mut late = 0;
        for report in &reports {
            late += u64::from(report.time < newest);
            assert!(newest.0 - report.time.0 < 524_288, "later than 8.7 minutes");
            newest = newest.max(report.time);
        }
        assert!((1_900..=2_000).contains(&late), "{late} late");
        let bytes = |format| bodies(0..1_000, format).iter().map(<[u8]>::len).sum::<usize>() / 1_000;
        assert_eq!((bytes(Format::Json), bytes(Format::Avro)), (230, 132));
    }

    #[test]
    fn an_agent_is_rated_anew_every_36_hours() {
        let of_agent = (0..2_000_000).map(|number| report(number, 10_000)).filter(|report| report.agent == 7);
        let ratings: std::collections::BTreeSet<i64> = of_agent.map(|report| report.metrics[1].value.0).collect();
        assert_eq!(ratings.len(), 6, "7 days touch 6 spans of 36 h");
    }
}
