//! Pure rules of ingest.

use alloc::format;
use alloc::string::{String, ToString};
use merit_core::profile::ScoreProfile;
use merit_core::record::{EvalReport, Metric};
use merit_core::{Code, Duration, EventTime, Payload, codes, record};

pub use merit_core::profile::MAX_METRICS;
/// The most tags of a report.
pub const MAX_TAGS: usize = 64;
/// Windows that a report may ask about.
pub const WINDOWS: [&str; 3] = ["1h", "24h", "7d"];

codes! {
    /// Every rule that ingest refuses a record by.
    RULES exits 0 {
        AGENT_ID_INVALID "agent_id_invalid" "agentId is empty or longer than 256 bytes", "shorten it";
        ID_INVALID "id_invalid" "id is empty or longer than 256 bytes", "shorten it, or leave it out";
        DIVISION_ID_INVALID "division_id_invalid" "divisionId is empty or longer than 256 bytes", "shorten it, or leave it out";
        PRODUCT_ID_INVALID "product_id_invalid" "productId is empty or longer than 256 bytes", "shorten it, or leave it out";
        TIMESTAMP_RANGE "timestamp_range" "the timestamp is not within 1970 to 9999", "send the time of the measurement in milliseconds since 1970";
        TIMESTAMP_FUTURE "timestamp_future" "the timestamp lies further behind the receipt than `event-time.future` allows", "mend the producer's clock";
        WINDOW_UNKNOWN "window_unknown" "window is not one of 1h, 24h, 7d", "name one of these, or leave it out";
        TAGS_COUNT "tags_count" "more than 64 tags", "send fewer";
        METRIC_COUNT "metric_count" "no metric, or more than 16", "send 1 to 16; split a report that has more";
        METRIC_NAME_INVALID "metric_name_invalid" "a metric's name is empty or longer than 256 bytes", "shorten it";
        METRIC_DUPLICATE "metric_duplicate" "a metric is there twice", "keep the one that counts";
        METRIC_RANGE "metric_range" "a metric is outside the range that its profile gives it", "mend the value, or give the metric `from` and `to` in the profile";
        METRIC_NAMES "metric_names" "the agent would have more than 16 metric names over its life", "use one name for one thing";
        TEXT_INVALID "text_invalid" "a command's rationale is longer than 4096 bytes, its requestedBy or pool longer than 256, or its pool empty", "shorten it";
        DELTA_NOT_POSITIVE "delta_not_positive" "a command asks for no GPUs of a pool", "ask for at least one GPU, or leave pool and delta out";
        ID_REUSED "id_reused" "the id was taken by a report of other content", "give every report its own id; a copy under the same id counts once";
        FEEDBACK_DEPTH "feedback_depth" "the record was fed back more than 32 times", "this is a bug of Merit: keep the directory and report it";
    }
}

/// A rule that a report breaks, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule.
    pub rule: &'static Code,
    /// What was found, for a person.
    pub detail: String,
}

fn refuse(rule: &'static Code, detail: String) -> Result<(), Refusal> {
    Err(Refusal { rule, detail })
}

/// Checks everything that a report says by itself.
pub fn validate(report: &EvalReport<'_>, received_at: EventTime, future: Duration, profile: &ScoreProfile) -> Result<(), Refusal> {
    name(AGENT_ID_INVALID, "agentId", report.agent_id)?;
    let optional = [
        (ID_INVALID, "id", report.id),
        (DIVISION_ID_INVALID, "divisionId", report.division_id),
        (PRODUCT_ID_INVALID, "productId", report.product_id),
    ];
    for (rule, field, value) in optional {
        value.map_or(Ok(()), |value| name(rule, field, value))?;
    }
    time(report.timestamp, received_at, future)?;
    if let Some(window) = report.window.filter(|window| !WINDOWS.contains(window)) {
        refuse(WINDOW_UNKNOWN, format!("window {window:?} is not one of 1h, 24h, 7d"))?;
    }
    if report.tags.len() > MAX_TAGS {
        refuse(TAGS_COUNT, format!("{} tags are more than {MAX_TAGS}", report.tags.len()))?;
    }
    metrics(report, profile)
}

fn name(rule: &'static Code, field: &'static str, value: &str) -> Result<(), Refusal> {
    record::name(field, value).map_or(Ok(()), |flaw| refuse(rule, flaw.to_string()))
}

/// Checks a command by itself.
pub fn validate_command(command: &Payload<'_>) -> Result<(), Refusal> {
    let Some(flaw) = command.flaw() else { return Ok(()) };
    let rule = match flaw.field() {
        "agentId" => AGENT_ID_INVALID,
        "divisionId" => DIVISION_ID_INVALID,
        "productId" => PRODUCT_ID_INVALID,
        "delta" => DELTA_NOT_POSITIVE,
        _ => TEXT_INVALID,
    };
    refuse(rule, flaw.to_string())
}

fn time(timestamp: EventTime, received_at: EventTime, future: Duration) -> Result<(), Refusal> {
    if !(EventTime::EPOCH..=EventTime::LATEST).contains(&timestamp) {
        return refuse(TIMESTAMP_RANGE, format!("timestamp {} ms is not within 1970 to 9999", timestamp.0));
    }
    if timestamp > received_at + future {
        return refuse(TIMESTAMP_FUTURE, format!("timestamp {timestamp} is more than {future} after its receipt at {received_at}"));
    }
    Ok(())
}

fn metrics(report: &EvalReport<'_>, profile: &ScoreProfile) -> Result<(), Refusal> {
    let count = report.metrics.len();
    if count == 0 || count > MAX_METRICS {
        return refuse(METRIC_COUNT, format!("{count} metrics; a report has 1 to {MAX_METRICS}"));
    }
    for (at, Metric { name: metric, value }) in report.metrics.iter().enumerate() {
        name(METRIC_NAME_INVALID, "a metric's name", metric)?;
        if report.metrics.iter().take(at).any(|earlier| earlier.name == metric) {
            return refuse(METRIC_DUPLICATE, format!("metric {metric:?} is there twice"));
        }
        let rule = profile.rule(metric);
        if !rule.admits(value) {
            return refuse(METRIC_RANGE, format!("metric {metric:?} = {value} is outside {} to {}", rule.from, rule.to));
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
        return Err(Refusal { rule: METRIC_NAMES, detail });
    }
    Ok(new)
}
