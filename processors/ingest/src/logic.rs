//! Pure rules of ingest.

use alloc::format;
use alloc::string::String;
use merit_core::profile::ScoreProfile;
use merit_core::record::{EvalReport, Metric};
use merit_core::{Duration, EventTime, Fixed};
use sha2::{Digest, Sha256};

pub use merit_core::profile::MAX_METRICS;
/// The most tags of a report.
pub const MAX_TAGS: usize = 64;
/// The longest name or id in bytes.
pub const MAX_NAME: usize = 256;
/// The largest metric either way; design 4.
pub const MAX_METRIC: Fixed = Fixed(1_000_000 * 1_000_000);
/// Windows that a report may ask about.
pub const WINDOWS: [&str; 3] = ["1h", "24h", "7d"];

/// A rule that a report breaks, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule's name.
    pub rule: &'static str,
    /// What was found, for a person.
    pub detail: String,
}

fn refuse(rule: &'static str, detail: String) -> Result<(), Refusal> {
    Err(Refusal { rule, detail })
}

/// Checks everything that a report says by itself.
pub fn validate(report: &EvalReport<'_>, received_at: EventTime, future: Duration, profile: &ScoreProfile) -> Result<(), Refusal> {
    name("agent_id_invalid", "agentId", report.agent_id)?;
    let optional = [
        ("id_invalid", "id", report.id),
        ("division_id_invalid", "divisionId", report.division_id),
        ("product_id_invalid", "productId", report.product_id),
    ];
    for (rule, field, value) in optional {
        value.map_or(Ok(()), |value| name(rule, field, value))?;
    }
    time(report.timestamp, received_at, future)?;
    if let Some(window) = report.window.filter(|window| !WINDOWS.contains(window)) {
        refuse("window_unknown", format!("window {window:?} is not one of 1h, 24h, 7d"))?;
    }
    if report.tags.len() > MAX_TAGS {
        refuse("tags_count", format!("{} tags are more than {MAX_TAGS}", report.tags.len()))?;
    }
    metrics(report, profile)
}

fn name(rule: &'static str, field: &str, value: &str) -> Result<(), Refusal> {
    match value.len() {
        0 => refuse(rule, format!("{field} is empty")),
        1..=MAX_NAME => Ok(()),
        length => refuse(rule, format!("{field} of {length} bytes is longer than {MAX_NAME}")),
    }
}

fn time(timestamp: EventTime, received_at: EventTime, future: Duration) -> Result<(), Refusal> {
    if !(EventTime::EPOCH..=EventTime::LATEST).contains(&timestamp) {
        return refuse("timestamp_range", format!("timestamp {} ms is not within 1970 to 9999", timestamp.0));
    }
    if timestamp > received_at + future {
        return refuse("timestamp_future", format!("timestamp {timestamp} is more than {future} after its receipt at {received_at}"));
    }
    Ok(())
}

fn metrics(report: &EvalReport<'_>, profile: &ScoreProfile) -> Result<(), Refusal> {
    let count = report.metrics.len();
    if count == 0 || count > MAX_METRICS {
        return refuse("metric_count", format!("{count} metrics; a report has 1 to {MAX_METRICS}"));
    }
    for (at, Metric { name: metric, value }) in report.metrics.iter().enumerate() {
        name("metric_name_invalid", "a metric's name", metric)?;
        if report.metrics.iter().take(at).any(|earlier| earlier.name == metric) {
            return refuse("metric_duplicate", format!("metric {metric:?} is there twice"));
        }
        let rule = profile.rule(metric);
        if value > MAX_METRIC || value < Fixed(-MAX_METRIC.0) || !rule.admits(value) {
            return refuse("metric_range", format!("metric {metric:?} = {value} is outside {} to {}", rule.from, rule.to));
        }
    }
    Ok(())
}

/// Checks that the entity's metric names stay bounded, and gives how many are new.
pub fn new_metrics(known: &[alloc::boxed::Box<str>], report: &EvalReport<'_>) -> Result<usize, Refusal> {
    let in_order =
        known.len() == report.metrics.len() && known.iter().zip(report.metrics.iter()).all(|(known, metric)| **known == *metric.name);
    if in_order {
        return Ok(0);
    }
    let new = report.metrics.iter().filter(|metric| !known.iter().any(|known| **known == *metric.name)).count();
    if known.len() + new > MAX_METRICS {
        let detail = format!("{} new metric names beside {} known ones; an entity has {MAX_METRICS} at most", new, known.len());
        return Err(Refusal { rule: "metric_names", detail });
    }
    Ok(new)
}

/// What the ring keeps of a report id.
pub fn id_digest(id: &str) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(id).into();
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash[..16]);
    digest
}
