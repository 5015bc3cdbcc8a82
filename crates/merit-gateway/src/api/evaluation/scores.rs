//! Scores, their past, and the board.

use crate::api::app::{App, failed};
use crate::api::code;
use crate::api::list::{Page, Range, limit, write_cursor};
use crate::api::wire::{AgentScore, Decimal, PastScore, Time};
use crate::call::Call;
use crate::model::fold::minute;
use crate::model::key::{Key, Table, behind, take_name};
use crate::model::row::HistoryRow;
use crate::model::scores::score_in;
use crate::operation::Answer;
use crate::refusal::Refusal;
use crate::reply::Reply;
use hyper::StatusCode;
use merit_core::record::ScoreUpdated;
use merit_core::{Datum, EventTime};
use merit_runtime::tables::Direction;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::ops::ControlFlow;
use std::sync::Arc;

pub(super) fn score(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let agent = call.text("id").unwrap_or_default();
        let row = app.score(agent)?;
        let score = score_in(row.as_deref());
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, code::ENTITY_UNKNOWN, "nothing of that agent was scored");
        let score = score.ok_or_else(unknown)?;
        let window = call.text("window").unwrap_or(score.window);
        let empty = || Refusal::new(StatusCode::NOT_FOUND, code::WINDOW_EMPTY, "the agent has no score of that window");
        let mut shown = AgentScore::of(&score, window).ok_or_else(empty)?;
        if call.text("from").is_some() || call.text("to").is_some() {
            let Page { items, next_cursor } = history(&app, &call, &score, window)?;
            (shown.history, shown.next_cursor) = (Some(items), next_cursor);
        }
        Reply::json(StatusCode::OK, &shown)
    })
}

/// The rows of earlier minutes, and behind the last of them the score that stands.
fn history(app: &App, call: &Call, last: &ScoreUpdated<'_>, window: &str) -> Result<Page<PastScore>, Refusal> {
    let agent = last.agent_id;
    let time = |name: &str| call.text(name).and_then(merit_sources::time::rfc3339);
    let (from, to) = (time("from"), time("to"));
    let key = |time: EventTime| Key::of(Table::History).name(agent).number(time.0.div_euclid(60_000).max(0) as u64).end();
    let range = Range {
        prefix: Key::of(Table::History).name(agent).end(),
        from: from.map(key),
        to: to.map(|to| key(EventTime(to.0.saturating_add(60_000)))),
        direction: Direction::Forward,
    };
    let within = |time: EventTime| from.is_none_or(|from| from <= time) && to.is_none_or(|to| time <= to);
    let mut page = app.page(call, &range, |_, row| {
        let is_over = |row: &HistoryRow<'_>| minute(row.timestamp) != minute(last.timestamp);
        let row = HistoryRow::decode(row).filter(|row| within(row.timestamp) && is_over(row));
        Ok(row.and_then(|row| {
            let past = row.windows.iter().find(|past| past.name == window)?;
            Some(PastScore { timestamp: Time(row.timestamp), score: Decimal(past.score), n: past.n })
        }))
    })?;
    let stands = last.windows.iter().find(|known| known.name == window).filter(|_| within(last.timestamp) && page.next_cursor.is_none());
    if stands.is_some() && page.items.len() >= limit(call) {
        page.next_cursor = Some(write_cursor(&key(last.timestamp)[range.prefix.len()..]));
    } else if let Some(stands) = stands {
        // A report that came late stands before those that it came behind.
        let at = page.items.partition_point(|past| past.timestamp.0 < last.timestamp);
        page.items.insert(at, PastScore { timestamp: Time(last.timestamp), score: Decimal(stands.score), n: stands.n });
    }
    Ok(page)
}

/// An agent's place on the board.
#[derive(Serialize, JsonSchema)]
struct Placed<T> {
    /// From 1.
    rank: u64,
    #[serde(flatten)]
    score: T,
}

/// The best agents.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scoreboard {
    #[serde(skip_serializing_if = "Option::is_none")]
    division_id: Option<String>,
    #[schemars(with = "Vec<Placed<AgentScore<'static>>>")]
    entries: Vec<Value>,
}

pub(super) fn scoreboard(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let division = call.text("divisionId");
        let most = call.count("topK").unwrap_or(10) as usize;
        let agents = match division {
            Some(division) => best_of(&app, division, most)?,
            None => best_of_all(&app, most)?,
        };
        let mut entries = Vec::with_capacity(agents.len());
        for ((_, agent), rank) in agents.iter().zip(1..) {
            let row = app.score(agent)?;
            let score = score_in(row.as_deref());
            if let Some(score) = score.as_ref().and_then(|score| AgentScore::of(score, score.window)) {
                entries.extend(serde_json::to_value(Placed { rank, score }));
            }
        }
        Reply::json(StatusCode::OK, &Scoreboard { division_id: division.map(str::to_owned), entries })
    })
}

/// The best agents of a division: the part of their keys that sorts them, and their ids.
fn best_of(app: &App, division: &str, most: usize) -> Result<Vec<(Vec<u8>, String)>, Refusal> {
    let prefix = Key::of(Table::Board).name(division).end();
    let mut best = Vec::new();
    let walked = app.tables.under(&prefix, None, Direction::Forward, |place, _| {
        if best.len() >= most {
            return ControlFlow::Break(());
        }
        best.extend(take_name(&mut &place[size_of::<u64>()..]).map(|agent| (place.to_vec(), agent)));
        ControlFlow::Continue(())
    });
    walked.map_err(|error| failed(&error))?;
    Ok(best)
}

/// The best agents of all: an agent stands on the board of one division.
fn best_of_all(app: &App, most: usize) -> Result<Vec<(Vec<u8>, String)>, Refusal> {
    let boards = Key::of(Table::Board).end();
    let (mut best, mut from) = (Vec::new(), boards.clone());
    loop {
        let mut division = None;
        let walked = app.tables.under(&boards, Some(&from), Direction::Forward, |mut rest, _| {
            division = take_name(&mut rest);
            ControlFlow::Break(())
        });
        walked.map_err(|error| failed(&error))?;
        let Some(division) = division else { break };
        best.extend(best_of(app, &division, most)?);
        best.sort_unstable();
        best.truncate(most);
        from = behind(Key::of(Table::Board).name(&division).end());
    }
    Ok(best)
}
