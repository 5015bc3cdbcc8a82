//! Tables and properties, by boundary.

mod csv;
mod documents;
mod examples;
mod json;
mod merge;
mod source;

use merit_core::record::EvalReport;
use std::io::Write;

/// A report in one line: agent, milliseconds, `name=value` of each metric.
fn line(report: &EvalReport<'_>) -> String {
    let metrics: Vec<String> = report.metrics.iter().map(|metric| format!("{}={}", metric.name, metric.value)).collect();
    format!("{} {} {}", report.agent_id, report.timestamp.0, metrics.join(" "))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}
