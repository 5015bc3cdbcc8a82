//! The last score of every agent, their board, and their past.

use super::fold::{Folded, minute};
use super::key::{Key, Table};
use super::row::{HistoryRow, PastWindow, RecordRow};
use foldhash::HashMap;
use merit_core::record::{ScoreUpdated, WindowScore};
use merit_core::{Datum, Fixed, List};
use merit_runtime::RuntimeError;
use merit_runtime::tables::Changes;

/// The window that a score is asked about.
pub(crate) fn asked<'a>(score: &ScoreUpdated<'a>) -> Option<WindowScore<'a>> {
    score.windows.iter().find(|window| window.name == score.window)
}

/// Divisions and products have scores, and no place on the boards of agents.
fn is_aggregate(agent_id: &str) -> bool {
    agent_id.starts_with("division:") || agent_id.starts_with("product:")
}

/// What is known of an agent whose score was folded before.
#[derive(Default)]
struct Last {
    /// Where it stands: on the board of its division, by its score. None for what has no place there.
    place: Option<Fixed>,
    division: String,
    /// Minute of its last score.
    minute: u64,
    /// Encoding of what that score is once another minute follows: a [`HistoryRow`].
    past: Vec<u8>,
}

impl Last {
    fn set(&mut self, score: &ScoreUpdated<'_>) {
        self.place = place(score);
        self.minute = minute(score.timestamp);
        self.division.clear();
        self.division.push_str(score.division_id);
        self.past.clear();
        let past: Vec<PastWindow<'_>> =
            score.windows.iter().map(|window| PastWindow { name: window.name, score: window.score, n: window.n }).collect();
        HistoryRow { timestamp: score.timestamp, windows: List::Slice(&past) }.put(&mut self.past);
    }
}

fn place(score: &ScoreUpdated<'_>) -> Option<Fixed> {
    asked(score).filter(|_| !is_aggregate(score.agent_id)).map(|window| window.score)
}

/// The key of a place on the board of a division.
fn board_key(division: &str, score: Fixed, agent_id: &str) -> Vec<u8> {
    Key::of(Table::Board).name(division).descending(score).name(agent_id).end()
}

/// Agents of which that is kept in memory; some 200 bytes each.
const PLACES: usize = 65_536;

/// Agents whose scores were folded last, so that their rows need not be read again. Nothing follows from what is not here.
#[derive(Default)]
pub(super) struct Places(HashMap<Box<str>, Last>);

impl Places {
    fn keep(&mut self, agent_id: &str, last: Last) {
        if self.0.len() >= PLACES {
            self.0.clear();
        }
        self.0.insert(agent_id.into(), last);
    }
}

pub(super) fn fold(record: &Folded<'_>, rows: &mut Changes<'_>, places: &mut Places) -> Result<(), RuntimeError> {
    let Some(score) = ScoreUpdated::decode(record.frame.payload) else { return Ok(()) };
    let (agent, key) = (score.agent_id, Key::of(Table::Score).name(score.agent_id).end());
    if let Some(last) = places.0.get_mut(agent) {
        follow(&score, last, rows);
    } else {
        // The first of an agent makes nothing history.
        let mut last = Last { minute: minute(score.timestamp), ..Last::default() };
        if let Some(before) = score_in(rows.get(&key)?.as_deref()) {
            last.set(&before);
        }
        follow(&score, &mut last, rows);
        places.keep(agent, last);
    }
    rows.put(&key, &record.row());
    Ok(())
}

/// Puts a score in the place of the last one.
fn follow(score: &ScoreUpdated<'_>, last: &mut Last, rows: &mut Changes<'_>) {
    let (agent, new) = (score.agent_id, place(score));
    if last.place != new || last.division != score.division_id {
        last.place.into_iter().for_each(|old| rows.remove(&board_key(&last.division, old, agent)));
        // It stands on one board, in one place.
        new.into_iter().for_each(|new| rows.mark_new(&board_key(score.division_id, new, agent)));
    }
    // The score of a minute is history once another minute follows: until then it is the last one.
    if last.minute != minute(score.timestamp) {
        rows.put_encoded(&Key::of(Table::History).name(agent).number(last.minute).end(), &last.past);
    }
    last.set(score);
}

/// The score in a row of the tables.
pub(crate) fn score_in(row: Option<&[u8]>) -> Option<ScoreUpdated<'_>> {
    row.and_then(RecordRow::decode).and_then(|row| ScoreUpdated::decode(row.payload))
}
