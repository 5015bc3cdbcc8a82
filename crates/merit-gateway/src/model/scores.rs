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

    /// Its keys on the board of all and on that of its division.
    fn keys(&self, agent_id: &str) -> [Vec<u8>; 2] {
        ["", &self.division].map(|division| Key::of(Table::Board).name(division).descending(self.score).name(agent_id).end())
    }
}

/// Agents whose places are kept in memory; some 100 bytes each.
const PLACES: usize = 65_536;

/// Where agents stand whose scores were folded last, so that their rows need not be read again. Nothing follows from what is not here.
#[derive(Default)]
pub(super) struct Places(HashMap<Box<str>, Option<Place>>);

impl Places {
    fn keep(&mut self, agent_id: &str, place: Option<Place>) {
        if let Some(kept) = self.0.get_mut(agent_id) {
            *kept = place;
            return;
        }
        if self.0.len() >= PLACES {
            self.0.clear();
        }
        self.0.insert(agent_id.into(), place);
    }
}

pub(super) fn fold(record: &Folded<'_>, rows: &mut Rows<'_>) -> Result<(), RuntimeError> {
    let Some(score) = ScoreUpdated::decode(record.frame.payload) else { return Ok(()) };
    let key = Key::of(Table::Score).name(score.agent_id).end();
    let old = match rows.places.0.get(score.agent_id) {
        Some(place) => place.clone(),
        None => place_in(rows.get(&key)?.as_deref()),
    };
    let new = Place::of(&score);
    if old != new {
        old.iter().flat_map(|place| place.keys(score.agent_id)).for_each(|key| rows.delete(key));
        new.iter().flat_map(|place| place.keys(score.agent_id)).for_each(|key| rows.mark(key));
    }
    rows.places.keep(score.agent_id, new);
    rows.put(key, &record.row());
    let past: Vec<PastWindow<'_>> =
        score.windows.iter().map(|window| PastWindow { name: window.name, score: window.score, n: window.n }).collect();
    let key = Key::of(Table::History).name(score.agent_id).number(minute(score.timestamp)).end();
    rows.put(key, &HistoryRow { timestamp: score.timestamp, windows: List::Slice(&past) });
    Ok(())
}

fn place_in(row: Option<&[u8]>) -> Option<Place> {
    row.and_then(RecordRow::decode).and_then(|row| ScoreUpdated::decode(row.payload)).as_ref().and_then(Place::of)
}
