//! Scores, their past, and the board.

use crate::api::app::{App, failed, record_in};
use crate::api::code;
use crate::api::list::{Page, Range};
use crate::api::wire::{AgentScore, Decimal, PastScore, Time};
use crate::call::Call;
use crate::model::key::{Key, Table, take_name};
use crate::model::row::HistoryRow;
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
use std::sync::Arc;

pub(super) fn score(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let agent = call.text("id").unwrap_or_default();
        let row = app.score(agent)?;
        let score = row.as_deref().and_then(record_in).and_then(|(_, row)| ScoreUpdated::decode(row.payload));
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, code::ENTITY_UNKNOWN, "nothing of that agent was scored");
        let score = score.ok_or_else(unknown)?;
        let window = call.text("window").unwrap_or(score.window);
        let empty = || Refusal::new(StatusCode::NOT_FOUND, code::WINDOW_EMPTY, "the agent has no score of that window");
        let mut shown = AgentScore::of(&score, window).ok_or_else(empty)?;
        if call.text("from").is_some() || call.text("to").is_some() {
            let Page { items, next_cursor } = history(&app, &call, agent, window)?;
            (shown.history, shown.next_cursor) = (Some(items), next_cursor);
        }
        Reply::json(StatusCode::OK, &shown)
    })
}

fn history(app: &App, call: &Call, agent: &str, window: &str) -> Result<Page<PastScore>, Refusal> {
    let time = |name: &str| call.text(name).and_then(merit_sources::time::rfc3339);
    let (from, to) = (time("from"), time("to"));
    let key = |time: EventTime| Key::of(Table::History).name(agent).number(time.0.div_euclid(60_000).max(0) as u64).end();
    let range = Range {
        prefix: Key::of(Table::History).name(agent).end(),
        from: from.map(key),
        to: to.map(|to| key(EventTime(to.0.saturating_add(60_000)))),
        direction: Direction::Forward,
    };
    app.page(call, &range, |_, row| {
        let within = |time: EventTime| from.is_none_or(|from| from <= time) && to.is_none_or(|to| time <= to);
        let row = HistoryRow::decode(row).filter(|row| within(row.timestamp));
        Ok(row.and_then(|row| {
            let past = row.windows.iter().find(|past| past.name == window)?;
            Some(PastScore { timestamp: Time(row.timestamp), score: Decimal(past.score), n: past.n })
        }))
    })
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
        let prefix = Key::of(Table::Board).name(division.unwrap_or_default()).end();
        let most = call.count("topK").unwrap_or(10) as usize;
        let mut agents = Vec::new();
        let end = crate::model::key::behind(prefix.clone());
        let scanned = app.tables.scan(&prefix, Direction::Forward, |key, _| {
            if *key >= *end || agents.len() >= most {
                return std::ops::ControlFlow::Break(());
            }
            let mut rest = &key[prefix.len() + size_of::<u64>()..];
            agents.extend(take_name(&mut rest));
            std::ops::ControlFlow::Continue(())
        });
        scanned.map_err(|error| failed(&error))?;
        let mut entries = Vec::with_capacity(agents.len());
        for (agent, rank) in agents.iter().zip(1..) {
            let row = app.score(agent)?;
            let score = row.as_deref().and_then(record_in).and_then(|(_, row)| ScoreUpdated::decode(row.payload));
            if let Some(score) = score.as_ref().and_then(|score| AgentScore::of(score, score.window)) {
                entries.extend(serde_json::to_value(Placed { rank, score }));
            }
        }
        Reply::json(StatusCode::OK, &Scoreboard { division_id: division.map(str::to_owned), entries })
    })
}
