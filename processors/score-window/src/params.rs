//! Parameters of score-window.

use alloc::vec::Vec;
use merit_core::profile::ScoreProfile;
use merit_core::settings::Reader;
use merit_core::{Duration, Problem, Settings};

/// Valid parameters.
#[derive(Clone, Debug)]
pub struct Params {
    /// How long a pane stays open behind the newest report. Default 10 min: design 4.
    pub grace: Duration,
    /// Weights, ranges and decimals.
    pub profile: ScoreProfile,
}

impl Params {
    /// Reads the parameters and finds everything that is wrong with them.
    pub fn read(settings: &Settings) -> (Params, Vec<Problem>) {
        let mut time = Reader::new(settings, "event-time");
        let grace = time.duration("grace", Duration(600_000));
        if grace > Duration(24 * Duration::HOUR.0) {
            time.refuse("grace", "must be 24h or less");
        }
        let (profile, mut problems) = ScoreProfile::read(settings);
        problems.append(&mut time.problems);
        (Params { grace, profile }, problems)
    }
}
