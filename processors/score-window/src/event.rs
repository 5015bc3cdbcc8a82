//! What reaches score-window and what leaves it.

use merit_core::ports;

ports! {
    /// Ports of score-window.
    ScorePorts
    reads { ReportAccepted<'a>, Tick }
    writes { ScoreUpdated<'a>, ReportLate<'a>, Progress }
}
