//! Reports and the scores that they lead to.

use crate::{Datum, EventTime, Fixed, List, datum};

datum! {
    /// One metric of a report.
    Metric<'a> {
        /// As the producer names it.
        name: &'a str,
        /// As measured, before any normalisation.
        value: Fixed,
    }
}

datum! {
    /// A label that a producer put on a report.
    Tag<'a> {
        /// Its name.
        name: &'a str,
        /// Its value.
        value: &'a str,
    }
}

datum! {
    /// What a producer says about one agent at one time.
    EvalReport<'a> {
        /// The producer's own id; reports of one id count once.
        id: Option<&'a str>,
        /// The agent, model version or other entity that was evaluated.
        agent_id: &'a str,
        /// The division it counts for; else its entity's home.
        division_id: Option<&'a str>,
        /// The product it counts for; else its entity's home.
        product_id: Option<&'a str>,
        /// One to 16 metrics, each name once.
        metrics: List<'a, Metric<'a>>,
        /// Who measured.
        source: &'a str,
        /// When it was measured.
        timestamp: EventTime,
        /// The window that the producer asks about: `1h`, `24h` or `7d`.
        window: Option<&'a str>,
        /// Free labels.
        tags: List<'a, Tag<'a>>,
    }
}

impl EvalReport<'_> {
    /// The id of an encoded report, which comes first in it; none where it has none.
    pub fn id_of(mut encoding: &[u8]) -> Option<&str> {
        Option::get(&mut encoding)?
    }
}

datum! {
    /// Bytes that could not be read as a report.
    RawReport<'a> {
        /// Where they came from.
        source: &'a str,
        /// The rule that they break.
        rule: &'a str,
        /// What was found, for a person.
        detail: &'a str,
        /// The bytes as received.
        bytes: &'a [u8],
    }
}

datum! {
    /// A report that counts.
    ReportAccepted<'a> {
        /// The producer's id, else the id of this record.
        report_id: &'a str,
        /// The entity evaluated.
        agent_id: &'a str,
        /// The division it counts for.
        division_id: &'a str,
        /// The product it counts for.
        product_id: Option<&'a str>,
        /// In the report's order.
        metrics: List<'a, Metric<'a>>,
        /// Who measured.
        source: &'a str,
        /// When it was measured.
        timestamp: EventTime,
        /// When it was received.
        received_at: EventTime,
        /// The report's window, else `1h`.
        window: &'a str,
        /// Offset of the report in its partition of `eval.reports`.
        offset: u64,
    }
}

datum! {
    /// An input that does not count, kept whole with the rule that it breaks.
    Rejected<'a> {
        /// The producer, as far as known.
        source: &'a str,
        /// The rule.
        rule: &'a str,
        /// What was found, for a person.
        detail: &'a str,
        /// Topic of the input.
        topic: &'a str,
        /// Partition of the input.
        partition: u32,
        /// Offset of the input.
        offset: u64,
        /// Record type of the input.
        record_type: &'a str,
        /// Fingerprint of that type's schema.
        schema: [u8; 32],
        /// The input's bytes.
        bytes: &'a [u8],
    }
}

datum! {
    /// A report whose id and content had been accepted before; it counts once.
    ReportDuplicate<'a> {
        /// The producer's id.
        report_id: &'a str,
        /// The entity evaluated.
        agent_id: &'a str,
        /// Offset of the report that counted, in its partition of `eval.reports`; its ScoreUpdated carries the same.
        offset: u64,
    }
}

datum! {
    /// An accepted report that came after its time had been closed; it counts in no window.
    ReportLate<'a> {
        /// The report.
        report_id: &'a str,
        /// The entity evaluated.
        agent_id: &'a str,
        /// When it was measured.
        timestamp: EventTime,
        /// What was closed when it came.
        watermark: EventTime,
    }
}

datum! {
    /// What one metric gives to a window's score.
    Component {
        /// Mean of the metric over the window, normalised by the profile.
        value: Fixed,
        /// Its part of the raw score.
        contribution: Fixed,
    }
}

datum! {
    /// The score of one window.
    WindowScore<'a> {
        /// `1h`, `24h` or `7d`.
        name: &'a str,
        /// Sum of the contributions.
        raw_score: Fixed,
        /// The raw score rounded to the profile's decimals; thresholds compare this.
        score: Fixed,
        /// Reports in the window.
        n: u64,
        /// Standard error of the mean observation; none under two reports.
        standard_error: Option<Fixed>,
        /// In the order of the record's metrics; none where the window has no value of that metric.
        components: List<'a, Option<Component>>,
    }
}

datum! {
    /// The scores of an entity after one report.
    ScoreUpdated<'a> {
        /// The report.
        report_id: &'a str,
        /// The entity evaluated.
        agent_id: &'a str,
        /// The division the report counts for.
        division_id: &'a str,
        /// The product the report counts for.
        product_id: Option<&'a str>,
        /// The report's window.
        window: &'a str,
        /// When the report was measured.
        timestamp: EventTime,
        /// When the report was received.
        received_at: EventTime,
        /// The report's own weighted mean.
        observation: Fixed,
        /// Metric names in the order in which the entity's first appeared.
        metrics: List<'a, &'a str>,
        /// One score a window, shortest first.
        windows: List<'a, WindowScore<'a>>,
        /// Trust in the report's window, 0 to 1.
        confidence: Fixed,
        /// First 8 bytes of the profile's digest.
        profile: [u8; 8],
        /// Offset of the report in its partition of `eval.reports`.
        offset: u64,
    }
}

datum! {
    /// Sums of one metric over a pane.
    MetricSum<'a> {
        /// The metric.
        name: &'a str,
        /// Sum of its values.
        sum: Fixed,
        /// Number of its values.
        count: u64,
    }
}

datum! {
    /// What a division's or product's minute gained since the last delta of that minute.
    AggregateDelta<'a> {
        /// `division:ID` or `product:ID`.
        aggregate_id: &'a str,
        /// A time inside the minute.
        timestamp: EventTime,
        /// Reports.
        n: u64,
        /// Sum of their observations.
        observations: Fixed,
        /// Sum of the squares of their observations, in units of 1e-12.
        squares: u64,
        /// Sums a metric.
        metrics: List<'a, MetricSum<'a>>,
    }
}
