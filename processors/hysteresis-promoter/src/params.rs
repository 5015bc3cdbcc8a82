//! Parameters of hysteresis-promoter.

use crate::interval;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use merit_core::profile::{self, ScoreProfile};
use merit_core::record::Approval;
use merit_core::settings::{Reader, join};
use merit_core::{Duration, Fixed, Problem, Settings};

/// One tier above the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// A score from here on earns it.
    pub enter: Fixed,
    /// A score below this loses it. Invariant: exit < enter, and enter rises from tier to tier.
    pub exit: Fixed,
}

/// The longest window: a year. Its end is a time, and far from the largest.
const LONGEST_WINDOW: Duration = Duration(366 * 24 * Duration::HOUR.0);

/// What a promotion asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The pool.
    pub pool: String,
    /// Milli-GPUs.
    pub delta: u64,
}

/// When a score is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluate {
    /// At each report, by its window's sliding score.
    Report,
    /// When a window that overlaps no other has closed, by the mean of its observations.
    Window,
}

/// Valid parameters.
#[derive(Clone, Debug)]
pub struct Params {
    /// How long a pane stays open behind the newest report. Default 10 min: design 4.
    pub grace: Duration,
    /// First 8 bytes of the profile's digest.
    pub profile: [u8; 8],
    /// Digits that a score is rounded to.
    pub decimals: u32,
    /// From low to high; at least one.
    pub tiers: Vec<Tier>,
    /// When a score is judged.
    pub evaluate: Evaluate,
    /// Length of a window that overlaps no other.
    pub window: Duration,
    /// Windows in a row that must say the same.
    pub windows_in_row: u64,
    /// Fewer reports make a window that neither counts nor resets.
    pub min_reports: u64,
    /// ln(2 / alpha) of the confidence sequence.
    pub log_two_over_alpha: f64,
    /// Least time between two changes of tier.
    pub dwell: Duration,
    /// Who approves what a promotion asks for.
    pub approval: Approval,
    /// Who a proposal says it comes from.
    pub requested_by: String,
    /// The reason that a request for allocation gives.
    pub reason: String,
    allocation: Option<Grant>,
    by_division: BTreeMap<String, Grant>,
}

impl Params {
    /// Reads the profile in force and finds everything that is wrong with it.
    pub fn read(settings: &Settings) -> (Params, Vec<Problem>) {
        let path = profile::path(settings);
        let grace = Reader::new(settings, "event-time").duration("grace", Duration(600_000));
        let (score, _) = ScoreProfile::read(settings);
        let mut own = Reader::new(settings, &path);
        let alpha = own.fixed("alpha", Fixed(50_000));
        let params = Params {
            grace,
            profile: score.tag(),
            decimals: score.decimals,
            tiers: Vec::new(),
            evaluate: own.choice("evaluate", Evaluate::Report, &[("report", Evaluate::Report), ("window", Evaluate::Window)]),
            window: own.duration("window", Duration::HOUR),
            windows_in_row: own.whole("windows_in_row", 1),
            min_reports: own.whole("min_reports", 1),
            log_two_over_alpha: interval::log_two_over(alpha.clamp(Fixed(1), Fixed(999_999))),
            dwell: own.duration("dwell", Duration(0)),
            approval: own.choice("approval", Approval::Manual, &[("manual", Approval::Manual), ("automatic", Approval::Automatic)]),
            requested_by: own.text("requested_by", "eval-engine"),
            reason: own.text("reason", "promotion threshold met"),
            allocation: None,
            by_division: BTreeMap::new(),
        };
        if alpha <= Fixed::ZERO || alpha >= Fixed::ONE {
            own.refuse("alpha", "must lie between 0 and 1");
        }
        if params.window < Duration::MINUTE || LONGEST_WINDOW < params.window {
            own.refuse("window", format!("must be 1m to {LONGEST_WINDOW}"));
        }
        for (name, value) in [("windows_in_row", params.windows_in_row), ("min_reports", params.min_reports)] {
            if value == 0 {
                own.refuse(name, "must be 1 or more");
            }
        }
        let mut problems = own.problems;
        let tiers = read_tiers(settings, &path, &mut problems);
        let allocation = read_grant(settings, &join(&path, "allocation"), &mut problems);
        let divisions = format!("{path}.allocation.divisions");
        let by_division = settings.children(&divisions).into_iter();
        let by_division = by_division.map(|name| (name.clone(), read_grant(settings, &join(&divisions, &name), &mut problems))).collect();
        (Params { tiers, allocation: Some(allocation), by_division, ..params }, problems)
    }

    /// What a promotion in a division asks for; none where promotions ask for nothing.
    pub fn grant(&self, division: &str) -> Option<&Grant> {
        self.by_division.get(division).or(self.allocation.as_ref())
    }

    /// The same, but promotions ask for nothing.
    pub fn without_allocation(self) -> Params {
        Params { allocation: None, by_division: BTreeMap::new(), ..self }
    }
}

fn read_tiers(settings: &Settings, path: &str, problems: &mut Vec<Problem>) -> Vec<Tier> {
    let list = format!("{path}.tiers");
    let mut tiers: Vec<Tier> = Vec::new();
    for place in settings.children(&list) {
        let mut reader = Reader::new(settings, &join(&list, &place));
        let tier = Tier {
            name: reader.text("name", "promoted"),
            enter: reader.fixed("enter", Fixed(850_000)),
            exit: reader.fixed("exit", Fixed(750_000)),
        };
        if tier.exit >= tier.enter {
            reader.refuse("exit", "must be below enter: the band between them is what keeps tiers from flapping");
        }
        if tiers.last().is_some_and(|lower| lower.enter >= tier.enter) {
            reader.refuse("enter", "must be above that of the tier before");
        }
        problems.append(&mut reader.problems);
        tiers.push(tier);
    }
    if tiers.is_empty() {
        problems.push(Problem { path: list, message: "there must be at least one tier".into() });
        tiers.push(Tier { name: "promoted".into(), enter: Fixed(850_000), exit: Fixed(750_000) });
    }
    tiers
}

fn read_grant(settings: &Settings, path: &str, problems: &mut Vec<Problem>) -> Grant {
    let mut reader = Reader::new(settings, path);
    let pool = reader.text("pool", "");
    let delta = reader.whole("delta", 0);
    if pool.is_empty() {
        reader.refuse("pool", "must name the pool that a promotion asks for");
    }
    if delta == 0 || delta > 1_000_000 {
        reader.refuse("delta", "must be 1 to 1000000 whole GPUs");
    }
    problems.append(&mut reader.problems);
    Grant { pool, delta: delta.min(1_000_000) * 1_000 }
}
