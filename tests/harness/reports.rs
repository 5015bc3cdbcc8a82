//! Reports as a test thinks of them, and as JSON lines.

use crate::dump::{Entry, of_topic};
use merit_core::record::EvalReport;
use merit_core::{Datum, EventTime, Fixed, Kind};
use serde_json::json;

/// One report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The producer's id.
    pub id: Option<String>,
    /// The entity.
    pub agent: String,
    /// Its division.
    pub division: Option<String>,
    /// Name and value, in order.
    pub metrics: Vec<(String, Fixed)>,
    /// When it was measured.
    pub time: EventTime,
    /// The window asked about.
    pub window: Option<String>,
}

impl Report {
    /// The body of `POST /eval/submit` on one line.
    pub fn line(&self) -> String {
        let quoted = |text: &str| json!(text).to_string();
        let metrics: Vec<String> = self.metrics.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
        let optional = |name: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!("{}:{},", quoted(name), quoted(value)))
        };
        format!(
            r#"{{{}{}{}"agentId":{},"source":"test","timestamp":"{}","metrics":{{{}}}}}"#,
            optional("id", &self.id),
            optional("divisionId", &self.division),
            optional("window", &self.window),
            quoted(&self.agent),
            self.time,
            metrics.join(",")
        )
    }
}

/// A file of reports.
pub fn lines(reports: &[Report]) -> String {
    reports.iter().map(|report| report.line() + "\n").collect()
}

/// A report as the log holds it.
pub fn of_entry(entry: &Entry) -> Option<Report> {
    if entry.kind != Kind::EvalReport {
        return None;
    }
    let report = EvalReport::decode(&entry.payload)?;
    Some(Report {
        id: report.id.map(Into::into),
        agent: report.agent_id.into(),
        division: report.division_id.map(Into::into),
        metrics: report.metrics.iter().map(|metric| (metric.name.to_owned(), metric.value)).collect(),
        time: report.timestamp,
        window: report.window.map(Into::into),
    })
}

/// Every report of a log in the order in which they were taken.
pub fn taken(dump: &[Entry]) -> Vec<Report> {
    let mut entries: Vec<&Entry> = of_topic(dump, "eval.reports").filter(|entry| entry.is_outside()).collect();
    entries.sort_by_key(|entry| entry.sequence);
    entries.into_iter().filter_map(of_entry).collect()
}
