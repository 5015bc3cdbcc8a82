//! What reaches score-window and what leaves it.

use merit_core::ports;

ports! {
    /// Ports of score-window.
    ScorePorts
    reads { ReportAccepted<'a>, Tick }
    writes { ScoreUpdated<'a>, ReportLate<'a>, AggregateDelta<'a>, Progress }
}

/// What reaches aggregate-window and what leaves it.
pub mod aggregate {
    use merit_core::ports;

    ports! {
        /// Ports of aggregate-window.
        AggregatePorts
        reads { AggregateDelta<'a>, Progress }
        writes { ScoreUpdated<'a> }
    }
}
