//! Parameters of ingest.

use alloc::vec::Vec;
use merit_core::profile::ScoreProfile;
use merit_core::recent::CHUNK;
use merit_core::settings::Reader;
use merit_core::{Duration, Problem, Settings};

/// Valid parameters.
#[derive(Clone, Debug)]
pub struct Params {
    /// How far ahead of its receipt a report may be. Default 5 min: design 4.
    pub future: Duration,
    /// Report ids remembered; a multiple of [`CHUNK`]. Default 262,144: design 4.
    pub recent_reports: usize,
    /// Ranges of metrics.
    pub profile: ScoreProfile,
}

impl Params {
    /// Reads the parameters and finds everything that is wrong with them.
    pub fn read(settings: &Settings) -> (Params, Vec<Problem>) {
        let mut time = Reader::new(settings, "event-time");
        let future = time.duration("future", Duration(300_000));
        if future > Duration(86_400_000) {
            time.refuse("future", "must be 24h or less");
        }
        let mut own = Reader::new(settings, "ingest");
        let recent_reports = own.whole("recent_reports", 262_144);
        let chunk = CHUNK as u64;
        if recent_reports == 0 || !recent_reports.is_multiple_of(chunk) || recent_reports > 4_194_304 {
            own.refuse("recent_reports", "must be a multiple of 4096, up to 4194304");
        }
        let (profile, mut problems) = ScoreProfile::read(settings);
        problems.append(&mut time.problems);
        problems.append(&mut own.problems);
        let recent_reports = recent_reports.clamp(chunk, 4_194_304) as usize;
        (Params { future, recent_reports, profile }, problems)
    }
}
