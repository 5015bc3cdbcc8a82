//! The last score of every agent, their board, and their past.

use super::fold::{Folded, Rows, minute};
use super::key::{Key, Table};
use super::row::{HistoryRow, PastWindow, RecordRow};
use merit_core::record::{ScoreUpdated, WindowScore};
use merit_core::{Datum, List};
use merit_runtime::RuntimeError;

/// The window that a score is asked about.
pub(crate) fn asked<'a>(score: &ScoreUpdated<'a>) -> Option<WindowScore<'a>> {
    score.windows.iter().find(|window| window.name == score.window)
}

/// Divisions and products have scores, and no place on the boards of agents.
fn is_aggregate(agent_id: &str) -> bool {
    agent_id.starts_with("division:") || agent_id.starts_with("product:")
}

fn board_keys(score: &ScoreUpdated<'_>) -> Vec<Vec<u8>> {
    let Some(window) = asked(score).filter(|_| !is_aggregate(score.agent_id)) else { return Vec::new() };
    let key = |division: &str| Key::of(Table::Board).name(division).descending(window.score).name(score.agent_id).end();
    vec![key(""), key(score.division_id)]
}

pub(super) fn fold(record: &Folded<'_>, rows: &mut Rows<'_>) -> Result<(), RuntimeError> {
    let Some(score) = ScoreUpdated::decode(record.frame.payload) else { return Ok(()) };
    let key = Key::of(Table::Score).name(score.agent_id).end();
    let before = rows.get(&key)?;
    let before = before.as_deref().and_then(RecordRow::decode).and_then(|row| ScoreUpdated::decode(row.payload));
    let (old, new) = (before.as_ref().map(board_keys).unwrap_or_default(), board_keys(&score));
    if old != new {
        old.into_iter().for_each(|key| rows.delete(key));
        new.into_iter().for_each(|key| rows.mark(key));
    }
    rows.put(key, &record.row());
    let past: Vec<PastWindow<'_>> =
        score.windows.iter().map(|window| PastWindow { name: window.name, score: window.score, n: window.n }).collect();
    let key = Key::of(Table::History).name(score.agent_id).number(minute(score.timestamp)).end();
    rows.put(key, &HistoryRow { timestamp: score.timestamp, windows: List::Slice(&past) });
    Ok(())
}
