//! The last score of every agent, their board, and their past.

use super::fold::{Folded, Rows, minute};
use super::key::{Key, Table};
use super::row::{HistoryRow, PastWindow, RecordRow};
use merit_core::record::{ScoreUpdated, WindowScore};
use merit_core::{Datum, Fixed, List};
use merit_runtime::RuntimeError;
use std::collections::HashMap;

/// The window that a score is asked about.
pub(crate) fn asked<'a>(score: &ScoreUpdated<'a>) -> Option<WindowScore<'a>> {
    score.windows.iter().find(|window| window.name == score.window)
}

/// Divisions and products have scores, and no place on the boards of agents.
fn is_aggregate(agent_id: &str) -> bool {
    agent_id.starts_with("division:") || agent_id.starts_with("product:")
}

/// An agent's place on the boards.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    division: Box<str>,
    score: Fixed,
}

impl Place {
    fn of(score: &ScoreUpdated<'_>) -> Option<Place> {
        let window = asked(score).filter(|_| !is_aggregate(score.agent_id))?;
        Some(Place { division: score.division_id.into(), score: window.score })
    }

    /// Its key on the board of its division.
    fn key(&self, agent_id: &str) -> Vec<u8> {
        Key::of(Table::Board).name(&self.division).descending(self.score).name(agent_id).end()
    }
}

/// What is known of an agent whose score was folded before.
#[derive(Clone, PartialEq, Eq)]
struct Last {
    place: Option<Place>,
    /// Minute of its last score.
    minute: u64,
}

impl Last {
    fn of(score: &ScoreUpdated<'_>) -> Last {
        Last { place: Place::of(score), minute: minute(score.timestamp) }
    }
}

/// Agents of which that is kept in memory; some 100 bytes each.
const PLACES: usize = 65_536;

/// Agents whose scores were folded last, so that their rows need not be read again. Nothing follows from what is not here.
#[derive(Default)]
pub(super) struct Places(HashMap<Box<str>, Last>);

impl Places {
    fn keep(&mut self, agent_id: &str, last: Last) {
        if let Some(kept) = self.0.get_mut(agent_id) {
            *kept = last;
            return;
        }
        if self.0.len() >= PLACES {
            self.0.clear();
        }
        self.0.insert(agent_id.into(), last);
    }
}

pub(super) fn fold(record: &Folded<'_>, rows: &mut Rows<'_>) -> Result<(), RuntimeError> {
    let Some(score) = ScoreUpdated::decode(record.frame.payload) else { return Ok(()) };
    let key = Key::of(Table::Score).name(score.agent_id).end();
    let old = match rows.places.0.get(score.agent_id) {
        Some(last) => Some(last.clone()),
        None => score_in(rows.get(&key)?.as_deref()).as_ref().map(Last::of),
    };
    let new = Last::of(&score);
    let (old_place, old_minute) = old.map_or((None, None), |last| (last.place, Some(last.minute)));
    if old_place != new.place {
        old_place.iter().for_each(|place| rows.delete(place.key(score.agent_id)));
        new.place.iter().for_each(|place| rows.mark(place.key(score.agent_id)));
    }
    // The score of a minute is history once another minute follows: until then it is the last one.
    if old_minute.is_some_and(|minute| minute != new.minute)
        && let Some(before) = score_in(rows.get(&key)?.as_deref())
    {
        remember(&before, rows);
    }
    rows.places.keep(score.agent_id, new);
    rows.put(key, &record.row());
    Ok(())
}

fn remember(score: &ScoreUpdated<'_>, rows: &mut Rows<'_>) {
    let past: Vec<PastWindow<'_>> =
        score.windows.iter().map(|window| PastWindow { name: window.name, score: window.score, n: window.n }).collect();
    let key = Key::of(Table::History).name(score.agent_id).number(minute(score.timestamp)).end();
    rows.put(key, &HistoryRow { timestamp: score.timestamp, windows: List::Slice(&past) });
}

/// The score in a row of the tables.
pub(crate) fn score_in(row: Option<&[u8]>) -> Option<ScoreUpdated<'_>> {
    row.and_then(RecordRow::decode).and_then(|row| ScoreUpdated::decode(row.payload))
}
