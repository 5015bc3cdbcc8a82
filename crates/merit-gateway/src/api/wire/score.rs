//! Scores in JSON.

use super::*;
use merit_core::record::ScoreUpdated;
use schemars::JsonSchema;
use serde::Serialize;

/// What one metric gives to a score.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Component<'a> {
    metric: &'a str,
    /// Mean over the window, normalised by the profile.
    value: Decimal,
    /// Its part of the raw score.
    contribution: Decimal,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Components<'a> {
    components: Vec<Component<'a>>,
}

/// A score at a time in the past.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PastScore {
    pub(crate) timestamp: Time,
    pub(crate) score: Decimal,
    /// Reports in the window.
    pub(crate) n: u64,
}

/// The score of an agent, division or product over one window.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentScore<'a> {
    agent_id: &'a str,
    /// Rounded to the profile's decimals; thresholds compare this.
    score: Decimal,
    /// Trust in the window that the last report asked about, 0 to 1; none for another window.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<Decimal>,
    components: Components<'a>,
    window: &'a str,
    /// When the report behind it was received.
    computed_at: Time,
    /// Sum of the contributions.
    raw_score: Decimal,
    /// Reports in the window.
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    standard_error: Option<Decimal>,
    division_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_id: Option<&'a str>,
    /// When the report behind it was measured.
    timestamp: Time,
    /// Scores of this window in the time that was asked for, the latest of each minute, from the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) history: Option<Vec<PastScore>>,
    /// Where the history goes on; none at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

impl<'a> AgentScore<'a> {
    /// The score of a window; none where it has none.
    pub(crate) fn of(score: &ScoreUpdated<'a>, window: &str) -> Option<AgentScore<'a>> {
        let found = score.windows.iter().find(|known| known.name == window)?;
        let components = score.metrics.iter().zip(found.components).filter_map(|(metric, component)| {
            component.map(|part| Component { metric, value: Decimal(part.value), contribution: Decimal(part.contribution) })
        });
        Some(AgentScore {
            agent_id: score.agent_id,
            score: Decimal(found.score),
            confidence: (found.name == score.window).then_some(Decimal(score.confidence)),
            components: Components { components: components.collect() },
            window: found.name,
            computed_at: Time(score.received_at),
            raw_score: Decimal(found.raw_score),
            n: found.n,
            standard_error: found.standard_error.map(Decimal),
            division_id: score.division_id,
            product_id: score.product_id,
            timestamp: Time(score.timestamp),
            history: None,
            next_cursor: None,
        })
    }
}
