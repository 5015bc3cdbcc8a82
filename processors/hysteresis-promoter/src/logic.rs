//! Pure rules of promotion.

use crate::params::{Params, Tier};
use crate::state::{Direction, OpenWindow, Standing};
use alloc::format;
use alloc::string::String;
use merit_core::record::Interval;
use merit_core::{EventTime, Fixed};

/// The name of the tier below all others.
pub const BASE: &str = "base";

/// The tier's name.
pub fn tier_name(params: &Params, tier: u32) -> &str {
    tier.checked_sub(1).and_then(|at| params.tiers.get(at as usize)).map_or(BASE, |tier| &tier.name)
}

/// The tier that the entity could enter, and the one that it could lose.
fn neighbours<'p>(params: &'p Params, standing: &Standing) -> (Option<&'p Tier>, Option<&'p Tier>) {
    let own = standing.tier.checked_sub(1).and_then(|at| params.tiers.get(at as usize));
    (params.tiers.get(standing.tier as usize), own)
}

/// Which way a score points, and the threshold that says so.
pub fn direction(params: &Params, standing: &Standing, score: Fixed) -> (Direction, Option<Fixed>) {
    match neighbours(params, standing) {
        (Some(next), _) if score >= next.enter => (Direction::Up, Some(next.enter)),
        (_, Some(own)) if score < own.exit => (Direction::Down, Some(own.exit)),
        _ => (Direction::Stay, None),
    }
}

/// What to do about a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Stay,
    /// Move one tier.
    Move(Direction),
    /// It would move, but dwell has not passed.
    Held,
    /// The windows say move, the interval does not.
    Review,
}

/// Judges a score that pointed the same way `in_row` times.
pub fn verdict(params: &Params, standing: &Standing, threshold: Option<Fixed>, interval: Option<Interval>, now: EventTime) -> Verdict {
    let (Some(threshold), true) = (threshold, standing.in_row >= params.windows_in_row) else { return Verdict::Stay };
    let proven = match (params.evaluate, standing.direction, interval) {
        (crate::params::Evaluate::Report, _, _) => true,
        (_, Direction::Up, Some(interval)) => interval.low > threshold,
        (_, Direction::Down, Some(interval)) => interval.high < threshold,
        (_, Direction::Stay, _) | (_, _, None) => false,
    };
    match (proven, dwell_passed(params, standing, now)) {
        (false, _) => Verdict::Review,
        (true, false) => Verdict::Held,
        (true, true) => Verdict::Move(standing.direction),
    }
}

/// Whether the entity may change its tier at `now`.
pub fn dwell_passed(params: &Params, standing: &Standing, now: EventTime) -> bool {
    standing.since.is_none_or(|since| now - since >= params.dwell)
}

/// Counts a score towards its direction; a change of direction starts a new crossing.
pub fn count(standing: &mut Standing, direction: Direction) {
    if standing.direction != direction {
        (standing.direction, standing.in_row, standing.announced) = (direction, 0, false);
    }
    if direction != Direction::Stay {
        standing.in_row += 1;
    }
}

/// Adds an observation to its window; true where that window now has exactly the least reports it needs.
pub fn observe(params: &Params, standing: &mut Standing, timestamp: EventTime, watermark: EventTime, observation: Fixed) -> bool {
    let number = timestamp.pane(params.window);
    // One with reports enough was judged, unless its profile was away then: it goes a window later.
    let is_spent = |open: &OpenWindow| end(params, open.number + i64::from(open.n >= params.min_reports)) <= watermark;
    if standing.open.first().is_some_and(is_spent) {
        standing.open.retain(|open| !is_spent(open));
    }
    let place = standing.open.partition_point(|open| open.number < number);
    if standing.open.get(place).is_none_or(|open| open.number != number) {
        standing.open.insert(place, OpenWindow { number, n: 0, sum: Fixed::ZERO });
    }
    let open = &mut standing.open[place];
    open.n += 1;
    open.sum = Fixed(open.sum.0 + observation.0);
    open.n == params.min_reports
}

/// When a window ends.
pub fn end(params: &Params, number: i64) -> EventTime {
    EventTime((number + 1) * params.window.0)
}

/// The score of a closed window: the mean of its observations, rounded to the profile's decimals.
pub fn window_score(params: &Params, open: &OpenWindow) -> Fixed {
    Fixed(merit_core::fixed::divide_rounded(open.sum.0.into(), open.n.into()) as i64).round_to(params.decimals)
}

/// Seed 001's words for a promotion, and the same for a demotion; windows and interval behind them where they count.
pub fn rationale(params: &Params, direction: Direction, score: Fixed, threshold: Fixed, in_row: u64, interval: Option<Interval>) -> String {
    let (sign, bound) = match direction {
        Direction::Down => ("<", interval.map(|interval| format!("upper bound {}", interval.high))),
        Direction::Up | Direction::Stay => (">=", interval.map(|interval| format!("lower bound {}", interval.low))),
    };
    let base = format!("score {score} {sign} threshold {threshold}");
    match (params.evaluate, bound) {
        (crate::params::Evaluate::Window, Some(bound)) => {
            let n = interval.map_or(0, |interval| interval.n);
            format!("{base} in {in_row} windows of {} in a row; {bound} of the mean over {n} reports", params.window)
        }
        _ => base,
    }
}
