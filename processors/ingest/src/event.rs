//! What reaches ingest and what leaves it.

use merit_core::ports;

ports! {
    /// Ports of ingest.
    IngestPorts
    reads { EvalReport<'a>, RawReport<'a>, ProposePromotion<'a>, AssignEntity<'a>, AllocationOutcome<'a>, Tick, ConfigEpoch<'a> }
    writes { ReportAccepted<'a>, ReportDuplicate<'a>, Rejected<'a>, EvalReport<'a>, EntityAssigned<'a> }
}
